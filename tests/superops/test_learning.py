"""Which round of learning comes next."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lamflow.config import load, parse
from lamflow.config.batch import BatchSystem
from lamflow.config.engines import DynamicsSettings
from lamflow.config.pods import Pod
from lamflow.driver.plan import planned_graph
from lamflow.errors import InputError
from lamflow.superops.capacity import ClusterCapacity, LocalCapacity
from lamflow.superops.learning import BYTES_OF_AN_ATOM, iteration_graph, next_graph
from lamflow.superops.state import RunState
from tests.conftest import STUDY
from tests.records import iteration


def test_a_budget_that_was_lowered_to_what_is_done_lets_the_labels_be_trained_on(study: Path) -> None:
    study.write_text(study.read_text(encoding="utf-8").replace("iterations: 2", "iterations: 1"), encoding="utf-8")
    state = RunState(LocalCapacity(2), [iteration(0), iteration(1, "label")], {"crystal": 3})
    graph = next_graph(load(study), state)
    assert graph is not None
    assert graph.round == 2
    with pytest.raises(InputError, match="round 2: a run of tiny has the start, round 0, and at most 1 after it"):
        planned_graph(load(study), 2, LocalCapacity(2))


def test_explore_jobs_say_how_much_they_write(study: Path) -> None:
    state = RunState(LocalCapacity(2), [iteration(0)], {"crystal": 3}, {"crystal": 1000})
    graph = next_graph(load(study), state)
    assert graph is not None
    explored = graph.step("explore")
    walks, jobs = explored.work, explored.jobs
    [settings] = load(study).stages[0].explore
    assert isinstance(settings, DynamicsSettings)
    assert isinstance(jobs, int)
    assert explored.disk == walks * (settings.steps // settings.every + 1) * 1000 * BYTES_OF_AN_ATOM // jobs
    assert graph.step("select").disk == walks * (settings.steps // settings.every + 1) * 1000 * BYTES_OF_AN_ATOM
    assert graph.step("train").disk is None


def test_labels_that_are_late_are_merged_after_the_next_ones_and_the_last_labels_are_waited_for(study: Path) -> None:
    text = study.read_text(encoding="utf-8")
    text = text.replace("iterations: 2", "iterations: 4").replace("limit: 6", "limit: 6\n  enough: 0.8")
    study.write_text(text, encoding="utf-8")
    config, sizes = load(study), {"crystal": 3}
    done = [iteration(0), iteration(1, "label", late=2)]
    graph = next_graph(config, RunState(LocalCapacity(2), done, sizes, {"crystal": 1000}))
    assert graph is not None
    assert [step.name for step in graph.steps] == ["train", "explore", "select", "label", "late", "merge"]
    late = graph.step("late")
    assert (graph.step("label").enough, late.when) == (0.8, None)
    assert (late.reads["labeled"].key, late.reads["before"].key) == ("iterations/001/labeled", "iterations/001/merged")
    assert set(late.writes.values()).isdisjoint(graph.step("merge").writes.values())
    done.append(iteration(2, "label"))
    graph = next_graph(config, RunState(LocalCapacity(2), done, sizes, {"crystal": 1000}))
    assert graph is not None
    assert graph.step("label").enough == 1.0, "the iteration after this one is the last, and trains on all labels"
    assert "late" not in [step.name for step in graph.steps]


def test_processes_of_this_machine_are_as_many_as_it_has_cores() -> None:
    """A batch system that only starts processes has no scheduler that would let the others wait."""
    here = ClusterCapacity.of(BatchSystem(system="shell"))
    assert here.slots("label", Pod()) == LocalCapacity.of_this_machine().slots("label", Pod())
    assert here.slots("label", Pod(parallel=7)) == 7
    elsewhere = [BatchSystem(system="slurm"), BatchSystem(system="shell", host="node", root="/scratch")]
    assert [ClusterCapacity.of(system).slots("label", Pod()) for system in elsewhere] == [12, 12]


def test_searches_read_the_history_where_channels_are_put_on_the_scale_of_a_calibrated_window() -> None:
    group = "{engine: calypso, ranges: {Cu: [1, 3]}, max_atoms: 3, population: 4, generations: 1, mode: split}"
    text = re.sub(r"- \{engine: ase.*\}", f"- {group}", STUDY)
    calibrated = text.replace("rule: fixed, low: 0.001, high: 2.0", "rule: calibrated, error: 0.2, risk: 0.1")
    channels = calibrated.replace("  limit: 6", "  limit: 6\n  channels: [{metric: energy, error: 0.02}]")
    state = RunState(LocalCapacity(2), [iteration(0)], {"crystal": 3})
    graphs = [iteration_graph(parse(each, files=False), 1, 0, state) for each in (calibrated, channels)]
    assert [sorted(graph.step("relax1").reads) for graph in graphs] == [
        ["input", "models", "proposed"], ["history", "input", "models", "proposed"],
    ]  # fmt: skip
    assert [[use.name for use in graph.step("select").engines] for graph in graphs] == [[], ["pair"]]
