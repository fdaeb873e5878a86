"""An iteration of learning whose models are asked for properties."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow.config import load
from lamflow.data.comparisons import TrackedValues
from lamflow.errors import InputError
from lamflow.superops.capacity import LocalCapacity
from lamflow.superops.learning import iteration_graph
from lamflow.superops.state import RunState
from tests.records import iteration

SECTION = """
properties:
  structures: [crystal]
  models: 2
  measure: [{property: eos}]
  gates: [{property: eos, name: B0, least: 100}]
  explore_failed: true
"""


def test_properties_stand_between_training_and_decision(study: Path) -> None:
    plain = iteration_graph(load(study), 1, 0, RunState(LocalCapacity(2), structures={"crystal": 3}))
    study.write_text(study.read_text(encoding="utf-8") + SECTION, encoding="utf-8")
    config, state = load(study), RunState(LocalCapacity(2), [iteration(0)], {"crystal": 3})
    graph = iteration_graph(config, 1, 0, state)
    added = ["crystals0", "crystals1", "expand", "evaluate0", "evaluate1", "reduce"]
    assert [step.name for step in graph.steps if step.name in added] == added
    assert [s for s in graph.steps if s.name not in (*added, "select")] == [
        s for s in plain.steps if s.name != "select"
    ]
    assert graph.step("select").reads["properties"].key == "iterations/001/properties"
    assert "properties" not in plain.step("select").reads


def test_frames_of_failed_properties_are_starts_of_the_next_iteration(study: Path) -> None:
    study.write_text(study.read_text(encoding="utf-8") + SECTION, encoding="utf-8")
    config = load(study)
    for starts, work in ((0, 2), (5, 4)):
        last = iteration(1, "label", tracked=TrackedValues(comparisons=[], starts=starts))
        graph = iteration_graph(config, 2, 0, RunState(LocalCapacity(2), [iteration(0), last], {"crystal": 3}))
        assert graph.step("explore").work == work
        assert ("failed" in graph.step("explore").reads) == bool(starts)


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("{structures: [nothing]}", "properties.structures: there is no structure set 'nothing'"),
        ("{structures: [crystal], models: 9}", "properties.models: 9 models are asked, and train.models is 3"),
        ("{structures: [crystal], head: oxide}", "properties.head: there is no head 'oxide'"),
        ("{structures: [crystal], reference: {potential: emt}}", "models of a run have no other potential"),
    ],
)
def test_what_cannot_be_asked_is_said(study: Path, section: str, problem: str) -> None:
    study.write_text(f"{study.read_text(encoding='utf-8')}\nproperties: {section}\n", encoding="utf-8")
    with pytest.raises(InputError) as found:
        load(study)
    assert problem in str(found.value)
