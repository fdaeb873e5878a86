"""The graph of a round as a value."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow.data.graph import Condition, Graph, Output, Step, sufficient
from lamflow.errors import StateError

DECISION = Output(step="select", name="decision")
GRAPH = Graph(
    kind="learning", round=3, name="iteration-3", stage="warm",
    steps=[
        Step(name="select", op="", writes={}, records=["selected.json"]),
        Step(name="label", op="", writes={}, when=Condition(output=DECISION, equals="label")),
    ],
)  # fmt: skip


@pytest.mark.parametrize(
    "text", ['{"decision": "la', "{}", "[]", "3"], ids=["cut off", "without it", "a list", "a number"]
)
def test_a_record_that_cannot_be_read_is_named_with_the_way_back(text: str, tmp_path: Path) -> None:
    assert not GRAPH.is_complete(tmp_path)
    (tmp_path / "selected.json").write_text(text)
    with pytest.raises(StateError, match=r"selected\.json: .* step select .* --redo begins iteration 3 again"):
        GRAPH.again({"select": [0]}, tmp_path)


EARLY = Graph(
    kind="learning", round=3, name="iteration-3", stage="warm",
    steps=[
        Step(name="select", op="", writes={}, records=["selected.json"]),
        Step(
            name="label", op="", writes={}, records=["labeled/*/labeled.json"], enough=0.6,
            jobs=Output(step="select", name="batches"), when=Condition(output=DECISION, equals="label"),
        ),
        Step(name="merge", op="", writes={}, records=["merged.json"], when=Condition(output=DECISION, equals="label")),
    ],
)  # fmt: skip
"""A round whose label step may be left when enough of its jobs are done."""


@pytest.mark.parametrize(("share", "jobs", "done"), [(0.9, 10, 9), (0.9, 2, 2), (0.6, 3, 2), (1.0, 7, 7), (0.1, 3, 1)])
def test_how_many_jobs_are_a_share_of_them(share: float, jobs: int, done: int) -> None:
    assert sufficient(share, jobs) == done


def selected(folder: Path, batches: int = 3) -> Graph:
    """The round when its frames have been selected."""
    (folder / "selected.json").write_text(f'{{"decision": "label", "batches": {batches}}}')
    return EARLY.again({"select": [0]}, folder)


def test_a_step_is_left_when_enough_jobs_are_done_and_its_late_jobs_are_brought_later(tmp_path: Path) -> None:
    graph = selected(tmp_path)
    assert EARLY.may_leave({"label": [0, 1, 2]}) is None, "what comes next is the selection"
    assert graph.may_leave({"label": [0]}) is None
    step = graph.may_leave({"label": [0, 2]})
    assert step is not None
    left = graph.leaving(step).again({"label": [0, 2]}, tmp_path)
    assert (left.attempt, left.left, [step.name for step in left.remaining()]) == (3, {"label": 2}, ["merge"])
    over = left.again({"merge": [0]}, tmp_path)
    assert (over.attempt, over.remaining()) == (3, []), "no Workflow is needed for nothing"

    late = over.bringing(step, tmp_path)
    assert [(step.name, late.remaining_jobs(step)) for step in late.remaining()] == [("label", [1])]
    assert late.workflow("tiny") == "tiny-003-2", "where the job runs"
    assert late.may_leave({"label": [0, 1, 2]}) is None
    assert late.again({}, tmp_path).workflow("tiny") == "tiny-003-4", "a name that no Workflow has yet"
    assert late.workflows("tiny") == ["tiny-003", "tiny-003-2", "tiny-003-3"]
    assert late.bringing(step, tmp_path) == late
    assert late.without({"label": [1]}, tmp_path).remaining() == []


def test_late_jobs_of_a_workflow_that_is_gone_are_done_if_their_records_are_there(tmp_path: Path) -> None:
    graph = selected(tmp_path)
    [step] = [step for step in graph.remaining() if step.name == "label"]
    late = graph.leaving(step).again({"label": [0]}, tmp_path).bringing(step, tmp_path)
    for job in (0, 2):
        (tmp_path / "labeled" / str(job)).mkdir(parents=True)
        (tmp_path / "labeled" / str(job) / "labeled.json").touch()
    found = late.recorded(tmp_path)
    assert found.remaining_jobs(found.remaining()[0]) == [1]


def test_a_graph_that_was_made_again_still_brings_what_is_late(tmp_path: Path) -> None:
    """`lamflow repair` does not know where late jobs ran."""
    [step] = [step for step in selected(tmp_path).remaining() if step.name == "label"]
    late = EARLY.bringing(step, tmp_path)
    assert [(step.name, late.remaining_jobs(step)) for step in late.remaining()] == [("label", [0, 1, 2])]
    assert late.workflow("tiny") == "tiny-003", "its Workflows are looked through, first to last"


def test_a_round_that_is_complete_is_done_but_for_what_is_late(tmp_path: Path) -> None:
    graph = selected(tmp_path)
    [step] = [step for step in graph.remaining() if step.name == "label"]
    left = graph.leaving(step).again({"label": [0, 2]}, tmp_path)
    assert left.recorded(tmp_path) == left
    for key in ("labeled/0/labeled.json", "merged.json"):
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).touch()
    over = left.recorded(tmp_path)
    assert (over.remaining(), over.completed["label"], over.left) == ([], [0, 2], {"label": 2})
