"""Labels that are late, on a stand-in cluster: the round goes on, and they join the data of the next one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamflow.config import load
from lamflow.data.graph import Graph
from lamflow.data.results import Iteration
from lamflow.driver.argo_executor import ArgoExecutor
from lamflow.driver.loop import run as run_here
from lamflow.driver.run_location import RunLocation
from lamflow.driver.rundir import RunDirectory
from tests.conftest import ROOT
from tests.driver.test_remote import Place, Quiet, place, until  # noqa: F401  a fixture

pytestmark = pytest.mark.slow


def early(rounds: Path, iterations: int = 3) -> tuple[tuple[str, str], ...]:
    """Changes of the study: three labels an iteration, two of which are enough, and one that waits; see HeldEMT."""
    return (
        ("iterations: 2", f"iterations: {iterations}"), ("limit: 6", "limit: 3\n  enough: 0.6"),
        ("copies: 10", "copies: 5"), ("models: 3", "models: 2"),
        ("label: {engine: emt}", "label: {engine: ase, calculator: tests.stand_ins.held.HeldEMT}"),
        ("label: {parallel: 1}",
         f"label: {{parallel: 3, work_per_job: 1, environment: {{LAMFLOW_HELD: '{rounds}', PYTHONPATH: '{ROOT}'}}}}"),
    )  # fmt: skip


def changed(text: str, changes: tuple[tuple[str, str], ...]) -> str:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def what_came_late_is_in_the_data(records: list[Iteration], folder: Path) -> None:
    """Of iteration 1 one label of three was late; every frame that was chosen is in the data in the end."""
    assert records[1].selected is not None
    assert records[1].merged is not None
    assert (len(records[1].selected.chosen), records[1].late, len(records[1].merged.jobs)) == (3, 1, 2)
    assert records[2].merged_late is not None
    assert (records[2].merged_late.added, records[2].late) == (1, 0)
    chosen = {item.hash for record in records if record.selected for item in record.selected.chosen}
    known = {
        frame["hash"]
        for file in (folder / "data" / "index").glob("*/manifest.json")
        for frame in json.loads(file.read_text())["frames"]
    }
    assert chosen <= known


def label_pods(place: Place, number: int) -> list[str]:  # noqa: F811  the fixture
    """Pods of the label jobs of a round, and how they ended."""
    return sorted(pod for pod in place.argo.pods if f"tiny-{number:03d}" in pod and "-label-" in pod)


def test_an_iteration_goes_on_with_a_part_of_its_labels(
    place: Place,  # noqa: F811  the fixture
) -> None:
    """One label of iteration 1 waits until iteration 2 has trained: its frame is in the data before iteration 3."""
    run = place.folder / "run"
    study = load(place.study(lambda text: changed(text, early(run / "iterations"))))
    run_here(study, run, Quiet(), ArgoExecutor(RunDirectory(run), RunLocation.of(study)))
    directory = RunDirectory(run)
    what_came_late_is_in_the_data(directory.iterations(), run)
    assert label_pods(place, 1) == [f"tiny-001-2-label-{job}: 0" for job in range(3)], "nothing runs twice"
    assert [name for name in place.kubernetes.workflows if name.startswith("tiny-001")] == [
        "tiny-001", "tiny-001-2", "tiny-001-3",
    ]  # fmt: skip
    graph = Graph.read(directory.round(1) / "graph.json")
    assert (graph.late, graph.remaining()) == ("label", [])
