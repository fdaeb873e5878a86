"""A third party's engine, installed into an environment of its own beside lamflow, which does not know it."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from lamflow.config.kinds import Kind
from lamflow.data.graph import Key
from lamflow.ops.merge import merge
from lamflow.superops.steps import add
from tests.conftest import ROOT

STUDY = """\
name: shaken
elements: [Cu]
structures:
  - {name: crystal, crystal: {formula: Cu, lattice: fcc, a: 3.6, cubic: true}, copies: 6, rattle: 0.05}
  - {name: unseen, crystal: {formula: Cu, lattice: fcc, a: 3.6, cubic: true}, copies: 3, rattle: 0.08}
start: {label: [crystal]}
heldout: {label: [unseen]}
train: {engine: pair, models: 2}
stages:
  - {name: shake, explore: [{engine: shaker, structures: [crystal], amplitudes: [0.1, 0.2], frames: 8, starts: 2}]}
select: {window: {low: 0.0, high: 10.0}, limit: 5}
label: {engine: emt}
budget: {iterations: 2}
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with lamflow and the plug-in; packages of this one serve as they are."""
    folder = tmp_path_factory.mktemp("plugin")
    venv.create(folder / "venv", with_pip=False)
    site = next((folder / "venv" / "lib").glob("python*/site-packages"))
    here = next(path for path in map(Path, sys.path) if path.name == "site-packages" and (path / "numpy").is_dir())
    (site / "packages.pth").write_text(f"{here}\n{ROOT}\n")
    source = folder / "source"
    shutil.copytree(ROOT / "tests" / "plugin", source)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(source)],
        check=True,
    )  # fmt: skip
    return folder / "venv" / "bin"


def lamflow(environment: Path, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [environment / "python", "-m", "lamflow", *arguments], cwd=cwd, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_lamflow_does_not_know_it() -> None:
    sources = [*(ROOT / "lamflow").rglob("*"), ROOT / "pyproject.toml"]
    assert not [path for path in sources if path.is_file() and b"shaker" in path.read_bytes()]


def test_it_is_found_checked_and_listed(environment: Path, tmp_path: Path) -> None:
    assert "shaker" in lamflow(environment, "doctor", cwd=tmp_path)
    assert '"amplitudes"' in lamflow(environment, "schema", cwd=tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY.replace("amplitudes: [0.1, 0.2]", "amplitudes: [-1]"))
    done = subprocess.run(
        [environment / "python", "-m", "lamflow", "check", "study.yaml"], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert re.search(r"line 10 .*amplitudes", done.stderr)


def test_it_runs_in_the_loop(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    assert "good" in lamflow(environment, "check", "study.yaml", cwd=tmp_path)
    said = lamflow(environment, "run", "study.yaml", cwd=tmp_path)
    assert "iteration 2" in said
    status = lamflow(environment, "status", "runs/shaken", cwd=tmp_path)
    assert "shake" in status


def test_it_keeps_the_promises_of_an_explorer(environment: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            environment / "python", "-m", "pytest", "-q", "-p", "lamflow.engines.pytest_plugin", "-p", "no:cacheprovider",
            "--lamflow-engine", "shaker",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout, "four promises of an explorer, and that it has an example"


def test_without_it_the_engine_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    done = subprocess.run(
        [sys.executable, "-m", "lamflow", "check", "study.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "shaker" in done.stderr
    assert "lammps" in done.stderr  # those that there are


CENSUS = STUDY[: STUDY.index("train:")] + "label: {engine: emt}\nworkflow: census\nsmallest: 2\n"


def test_a_kind_of_workflow_runs_is_resumed_planned_and_rendered(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "census.yaml").write_text(CENSUS)
    assert "good" in lamflow(environment, "check", "census.yaml", cwd=tmp_path)
    assert '"smallest"' in lamflow(environment, "schema", cwd=tmp_path)
    assert "count" in lamflow(environment, "plan", "census.yaml", cwd=tmp_path)
    manifest = yaml.safe_load(lamflow(environment, "render", "census.yaml", cwd=tmp_path))
    assert [step[0]["name"] for step in manifest["spec"]["templates"][0]["steps"]] == ["census-count"]
    said = lamflow(environment, "run", "census.yaml", cwd=tmp_path)
    assert "24 atoms counted" in said
    assert (tmp_path / "runs" / "shaken" / "census.txt").read_text() == "Cu 24"
    assert "24 atoms counted" in lamflow(environment, "resume", "runs/shaken", cwd=tmp_path)
    assert "count" in lamflow(environment, "status", "runs/shaken", cwd=tmp_path)


def test_what_a_kind_forgets_is_said(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "census.yaml").write_text(CENSUS.replace("smallest: 2", "smalest: 2"))
    done = subprocess.run(
        [environment / "python", "-m", "lamflow", "check", "census.yaml"], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, "did you mean 'smallest'?" in done.stderr) == (2, True)
    for field in dataclasses.fields(Kind):
        if field.default is dataclasses.MISSING:
            given: dict[str, Any] = {other.name: None for other in dataclasses.fields(Kind) if other.name != field.name}
            with pytest.raises(TypeError, match=field.name):
                Kind(**given)


def test_what_a_step_forgets_is_said() -> None:
    with pytest.raises(TypeError, match=r"step merge: lamflow.ops.merge:merge needs \['input', 'iteration'\]"):
        add("merge", merge, writes={name: name for name in merge.artifacts})
    with pytest.raises(
        TypeError, match=r"step merge: lamflow.ops.merge:merge needs \['heldout', 'known', 'merged', 'train'\]"
    ):
        add("merge", merge, writes={"train": "x"}, input=Key(key="input"), iteration=1)
    ports = {"input": Key(key="input"), "iteration": 1, "reads_nothing": Key(key="y")}
    with pytest.raises(ValidationError, match="reads_nothing"):
        add("merge", merge, writes={name: name for name in merge.artifacts}, **ports)
