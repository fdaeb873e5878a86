"""What every test may use. Tests of codes that are not installed say so; none is skipped silently."""

from __future__ import annotations

import importlib.util
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import HealthCheck, settings

from lamflow.data import Frame
from tests.stand_ins.kubernetes import Kubernetes, kubernetes_server
from tests.stand_ins.s3 import ACCESS, SECRET, S3Server, s3_server

pytest_plugins = [
    "lamflow.engines.pytest_plugin",
    "tests.stand_ins.grid_engine",
    "tests.stand_ins.slurm",
    "tests.stand_ins.accounts",
    "tests.stand_ins.ssh",
]

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

ROOT = Path(__file__).parent.parent
MISSING = {
    "cp2k": None if shutil.which("cp2k.psmp") else "CP2K is missing: apt-get install cp2k cp2k-data",
    "gpaw": None if importlib.util.find_spec("gpaw") else "GPAW is missing: make gpaw",
    "deepmd": None if importlib.util.find_spec("deepmd") else 'DeePMD-kit is missing: pip install "lamflow[deepmd]"',
    "qe": None if shutil.which("pw.x") else "pw.x is missing: apt-get install quantum-espresso quantum-espresso-data",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cluster", "tests marked `cluster`, on a real Kubernetes")
    group.addoption("--kubeconfig", help="kubeconfig of the cluster; without it these tests are skipped")
    group.addoption("--namespace", default="lamflow-test", help="is made and deleted")
    group.addoption("--registry", default="lamflow", help="what the names of the images begin with")
    group.addoption("--install-argo", action="store_true", help="install Argo Workflows into the namespace, too")
    group.addoption("--argo-version", help="of the Argo Workflows that is installed; the chart's own if absent")
    group.addoption(
        "--s3-endpoint", help="an object store in the place of the chart's, with AWS_ACCESS_KEY_ID and -SECRET-"
    )
    group.addoption(
        "--storage-class", help="of the volume of the chart's object store; without one data go with its pod"
    )
    group.addoption("--gpus", type=int, default=0, help="that trainings and explorations ask for")
    group.addoption("--host-network", action="store_true", help="pods use their node's network")
    group.addoption("--keep", action="store_true", help="leave the namespace when the tests are done")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    none = None if config.getoption("--kubeconfig") else "no cluster: name a kubeconfig with --kubeconfig"
    for item in items:
        for marker, reason in {**MISSING, "cluster": none}.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _own_label_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds labels of another, or of the person who runs the tests."""
    monkeypatch.setenv("LAMFLOW_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def copper() -> list[Frame]:
    """Twelve rattled and strained frames of 8 copper atoms."""
    rng = np.random.default_rng(1)
    frames = []
    for _ in range(12):
        atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat((2, 1, 1))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(scale=0.08, size=atoms.positions.shape)
        frames.append(Frame.from_ase(atoms))
    return frames


def examples() -> list[Path]:
    """Every workflow file that a user would run; the golden manifests beside them are not."""
    return [file for file in sorted((ROOT / "workflows").glob("*/*.yaml")) if not file.name.endswith(".golden.yaml")]


def require_pseudopotentials(file: Path) -> None:
    """Skip a test whose workflow names pseudopotentials of a package that is not installed here."""
    for path in re.findall(r"/usr/share/espresso/\S+?\.UPF", file.read_text(encoding="utf-8")):
        if not Path(path).is_file():
            pytest.skip(f"{path} is missing: apt-get install quantum-espresso-data")


STUDY = """\
name: tiny
seed: 3
elements: [Cu]
structures:
  - {name: rattled, crystal: {formula: Cu, lattice: fcc, a: 3.6, cubic: true}, supercell: [2, 1, 1], copies: 10,
     strain: 0.02, rattle: 0.05}
  - {name: crystal, crystal: {formula: Cu, lattice: fcc, a: 3.6, cubic: true}, supercell: [2, 2, 1], copies: 3}
start: {label: [rattled]}
heldout: {fraction: 0.2}
train: {engine: pair, models: 3, functions: 8}
stages:
  - name: warm
    explore:
      - {engine: ase, structures: [crystal], method: langevin, temperatures: [300, 900], steps: 40, timestep: 0.002, every: 4}
select:
  window: {rule: fixed, low: 0.001, high: 2.0}
  limit: 6
label: {engine: emt}
converge: {accurate: 0.999}
budget: {iterations: 2}
pods: {train: {parallel: 1}, label: {parallel: 1}}
"""
"""A whole loop in seconds: linear pair potentials instead of neural networks, everything else as always."""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """STUDY in a file."""
    file = tmp_path / "tiny.yaml"
    file.write_text(STUDY)
    return file


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A new bucket, with the credentials for it in the environment; removed afterwards, for each holds 7 volumes."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    s3.client.make_bucket(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    yield name
    s3.client.remove_bucket(name)


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubernetes]:
    """A stand-in for Kubernetes' API, which the environment points at."""
    with kubernetes_server(tmp_path) as (cluster, kubeconfig):
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield cluster
