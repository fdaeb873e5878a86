"""Every benchmark runs in its small mode and says what it measured on. How fast anything is, is no test's business."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.real_models import real_dpa4

FOLDER = ROOT / "benchmarks"
BENCHMARKS = sorted(file.stem for file in FOLDER.glob("[!_]*.py"))
PYXTAL = pytest.mark.skipif(
    importlib.util.find_spec("pyxtal") is None, reason='PyXtal is missing: pip install "lamflow[calypso]"'
)
VESIN = pytest.mark.skipif(
    importlib.util.find_spec("vesin") is None, reason='vesin is missing: pip install "lamflow[cleaning]"'
)
MARKS: dict[str, list[pytest.MarkDecorator]] = {
    "batch_system": [pytest.mark.slow],
    "beside_dpgen2": [pytest.mark.deepmd, pytest.mark.slow],
    "cleaning": [VESIN, pytest.mark.slow],
    "cleaning_curve": [VESIN, pytest.mark.deepmd, pytest.mark.slow],
    "cleaning_rare": [VESIN],
    "cleaning_scale": [VESIN, pytest.mark.slow],
    "cleaning_training": [VESIN, pytest.mark.deepmd, pytest.mark.slow],
    "hundred_heads": [VESIN, pytest.mark.deepmd, pytest.mark.slow],
    "explore": [pytest.mark.deepmd, pytest.mark.slow],
    "label_efficiency": [pytest.mark.slow],
    "lammps_frames": [pytest.mark.deepmd],
    "loop_efficiency": [pytest.mark.slow],
    "large_models": [pytest.mark.deepmd, pytest.mark.slow],
    "multitask": [pytest.mark.deepmd, pytest.mark.slow],
    "spin": [pytest.mark.slow],
    "startup": [pytest.mark.deepmd],
    "properties_cost": [pytest.mark.slow],
    "structure_search": [PYXTAL, pytest.mark.slow],
    "teaching": [pytest.mark.deepmd, pytest.mark.slow],
    "training": [pytest.mark.deepmd, pytest.mark.slow],
}
"""Programs that a benchmark needs, and whether its small mode takes more than ten seconds."""


def small(name: str, folder: Path, *options: str) -> dict[str, Any]:
    """The JSON of a benchmark's small mode, run in an empty folder that it must leave empty."""
    work = folder / "work"
    work.mkdir()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    answer = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", "--small", "--output", folder / "output", *options], cwd=work,
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert list(work.iterdir()) == []
    [file] = (folder / "output").iterdir()
    document: dict[str, Any] = json.loads(file.read_text())
    assert all(key in answer.stdout for key in list(document["rows"][0])[:1]), "the table is printed"
    return document


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, ())) for name in BENCHMARKS])
def test_a_benchmark_runs_and_says_on_what(name: str, tmp_path: Path) -> None:
    if name == "large_models":
        real_dpa4()
    before = datetime.now(UTC).replace(microsecond=0)
    document = small(name, tmp_path)
    assert document["settings"]["small"] is True
    assert document["title"]
    assert document["rows"]
    assert before <= datetime.fromisoformat(document["date"]) <= datetime.now(UTC)
    assert document["machine"]["cpu"]
    assert document["machine"]["cores"] >= 1
    assert document["machine"]["memory (GB)"] > 0
    assert {"python", "lamflow", "numpy"} <= set(document["versions"])


def test_the_marks_are_those_of_benchmarks() -> None:
    assert set(MARKS) <= set(BENCHMARKS)


def test_every_benchmark_is_listed_with_a_line() -> None:
    lines = (FOLDER / "README.md").read_text().splitlines()
    listed = [line.split("`")[1] for line in lines if line.startswith("| `")]
    assert listed == [f"{name}.py" for name in BENCHMARKS]


def test_the_house_finds_cycles_and_lengths(tmp_path: Path) -> None:
    """Two modules that import each other, one of them in a function and one for its types, and a third that does not."""
    package = tmp_path / "tree" / "lamflow"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "data" / "__init__.py").write_text("from lamflow.data.a import A\n")
    (package / "data" / "a.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import B\nclass A:\n    pass\n"
    )
    (package / "data" / "b.py").write_text("def function():\n    from lamflow.data import a\n    return a\nB = 1\n")
    (package / "cli.py").write_text("import lamflow.data.b\n")
    document = small("house", tmp_path, "--tree", str(tmp_path / "tree"), "--name", "before")
    measured = {row["measure"]: row["value"] for row in document["rows"]}
    assert measured["import cycles"] == 1
    assert document["cycles"] == [{"modules": 2, "names": "lamflow.data.a, lamflow.data.b"}]
    assert (measured["functions"], measured["function, median lines"], measured["modules"]) == (1, 3.0, 5)
    assert document["layers"][0] == {"layer": "data", "modules": 3, "lines": 10}


def test_the_trend_says_what_moved_against_the_runs_before(tmp_path: Path) -> None:
    """Three nights on one machine and one on another, whose figures are other figures."""
    for night, cores, slow, still in ((1, 2, 10.0, 5.0), (2, 2, 12.0, 5.0), (3, 2, 22.0, 5.1), (4, 8, 1.0, 1.0)):
        folder = tmp_path / "nights" / f"{night}"
        folder.mkdir(parents=True)
        rows = [{"way": "lamflow", "CPU (s)": slow, "log": "x"}, {"way": "dp", "CPU (s)": still, "log": None}]
        machine, settings = {"cpu": "A", "cores": cores}, {"steps": 800}
        result = {"date": f"2026-01-0{night}T02:00:00+00:00", "machine": machine, "settings": settings, "rows": rows}
        (folder / "training.json").write_text(json.dumps(result))
    subprocess.run([sys.executable, FOLDER / "_trend.py", tmp_path / "nights", tmp_path / "trend"], check=True)
    lines = (tmp_path / "trend" / "trend.md").read_text().splitlines()[2:]
    assert lines[0] == "| training: lamflow, CPU (s) | 22 | 11 | +100% **!** | 3 | A, 2 cores |"
    assert lines[1] == "| training: dp, CPU (s) | 5.1 | 5 | +2% | 3 | A, 2 cores |"
    assert lines[2] == "| training: dp, CPU (s) | 1 |  |  | 1 | A, 8 cores |"
    assert (tmp_path / "trend" / "trend.png").read_bytes().startswith(b"\x89PNG")
