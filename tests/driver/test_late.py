"""Labels that are late, on a stand-in cluster: the round goes on, and they join the data of the next one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lamflow.batch.step_state import StepState
from lamflow.config import load
from lamflow.data.graph import Graph
from lamflow.data.layout import WORK
from lamflow.data.results import Iteration
from lamflow.driver import cluster_runs
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
    printing = [line.split(":")[0] for line in cluster_runs.logs(run, RunLocation.of(study), 1)]
    for pod in ("tiny-001-train-0", "tiny-001-2-label-2", "tiny-001-3-merge-0"):
        assert any(name.startswith(pod) for name in printing), "logs are of all Workflows of the round"
    graph = Graph.read(directory.round(1) / "graph.json")
    assert (graph.late, graph.remaining()) == ("label", [])


def while_one_is_late(place: Place, act: Callable[[], None]) -> threading.Thread:  # noqa: F811  the fixture
    """Have a label of iteration 1 wait, and do something when iteration 2 has begun; then the label may end."""
    held = place.folder / "held"

    def work() -> None:
        for mark, name in (("001/selected/selected.json", "tiny-001"), ("002/models/0/model.json", "tiny-002")):
            until(lambda name=name: name in place.kubernetes.workflows)  # type: ignore[misc]
            if name == "tiny-002":
                act()
            (held / mark).parent.mkdir(parents=True)
            (held / mark).touch()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_driver_and_a_late_label_that_lose_their_nodes_cost_nothing(
    place: Place,  # noqa: F811  the fixture
) -> None:
    def lose() -> None:
        until(lambda: any("tiny-002-train" in name for name in place.argo.running))
        assert place.argo.kill("label")
        assert place.argo.kill("driver")

    def lose_while_merging() -> None:
        until(lambda: any("tiny-001-3-merge" in name for name in place.argo.running))
        assert place.argo.kill("driver")

    place.submit(lambda text: changed(text, early(place.folder / "held")))
    threads = [while_one_is_late(place, lose), threading.Thread(target=lose_while_merging)]
    threads[1].start()
    assert place.end().state == "ended"
    for thread in threads:
        thread.join()
    directory = RunDirectory(place.folder / "run")
    what_came_late_is_in_the_data(directory.iterations(), directory.path)
    steps = [step.name for step in directory.iterations()[1].steps]
    assert steps == ["train", "explore", "select", "label", "merge"], "pieces that the first driver has seen, too"
    ended = [pod.rsplit(": ", 1) for pod in label_pods(place, 1)]
    assert sorted(code for _, code in ended) == ["0", "0", "0", "137"], "Argo starts what was lost again"
    assert {pod for pod, _ in ended} == {f"tiny-001-2-label-{job}" for job in range(3)}


def test_stop_ends_late_labels_and_resume_does_them_again(
    place: Place,  # noqa: F811  the fixture
) -> None:
    made = place.submit(lambda text: changed(text, early(place.folder / "held")))
    thread = while_one_is_late(place, lambda: cluster_runs.stop(place.folder / "run", made))
    thread.join()
    assert place.end().state == "stopped"
    assert all(each["status"]["phase"] in ("Succeeded", "Failed") for each in place.kubernetes.workflows.values())
    cluster_runs.resume(place.folder / "run", made)
    assert place.end().state == "ended"
    directory = RunDirectory(place.folder / "run")
    what_came_late_is_in_the_data(directory.iterations(), directory.path)
    assert [pod.endswith(": 0") for pod in label_pods(place, 1)].count(True) == 3
    assert "tiny-001-4" in place.kubernetes.workflows, "-3 has merged what was there"


def test_a_late_label_that_has_failed_is_said_and_tried_again(
    place: Place,  # noqa: F811  the fixture
) -> None:
    place.argo.failing = ["tiny-001-2-label-1"]
    changes = early(place.folder / "held")
    study = load(
        place.study(lambda text: changed(text, changes).replace("work_per_job: 1", "work_per_job: 1, retries: 0"))
    )
    run, quiet = place.folder / "run", Quiet()
    run_here(study, run, quiet, ArgoExecutor(RunDirectory(run), RunLocation.of(study)))
    what_came_late_is_in_the_data(RunDirectory(run).iterations(), run)
    assert any("Workflow tiny-001-2, label 1: the disk is full" in said for said in quiet.said)
    assert label_pods(place, 1) == [
        "tiny-001-2-label-0: 0", "tiny-001-2-label-1: 1", "tiny-001-2-label-2: 0", "tiny-001-4-label-1: 0",
    ]  # fmt: skip


def test_labels_at_a_site_of_a_run_on_kubernetes_may_be_late_too(
    place: Place,  # noqa: F811  the fixture
) -> None:
    """The late one is still in its queue, and what it reads stays, when its round is cleaned up."""
    run = place.folder / "run"
    changes = (*early(run / "iterations"), ("work_per_job: 1", "work_per_job: 1, site: shell1"))
    sites = "sites: {shell1: {system: shell, poll: 1}}\n"
    study = load(place.study(lambda text: changed(text, changes) + sites))
    run_here(study, run, Quiet(), ArgoExecutor(RunDirectory(run), RunLocation.of(study)))
    what_came_late_is_in_the_data(RunDirectory(run).iterations(), run)
    standing = StepState.of_step(run / WORK / "sites" / WORK / "batch" / "001" / "label")
    assert [len(tried) for tried in standing.tries.values()] == [1, 1, 1], "nothing runs twice"
    assert not list((run / WORK / "sites" / "iterations").glob("00[12]")), "what is in the store is removed here"
