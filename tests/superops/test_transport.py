"""Rounds of a study of transport: until errors are small enough, or no round is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow.config import parse
from lamflow.config.transport import TransportStudy
from lamflow.data.properties import PropertiesRound, PropertyResult, PropertyValues, Value
from lamflow.driver.loop import run
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import EngineError
from lamflow.superops.capacity import LocalCapacity
from lamflow.superops.state import RunState
from lamflow.superops.transport import next_graph

STUDY = """
workflow: transport
name: moving
elements: [Cu]
structures: [{name: copper, crystal: {formula: Cu, lattice: fcc}, supercell: [3, 3, 3]}]
potentials: [{name: emt, evaluate: {engine: emt}}]
simulate: {engine: batched, structures: [copper], ensemble: nvt, temperatures: [1500, 1800], steps: 100}
mobile: Cu
error: 0.1
rounds: 3
"""


def finished(*errors: float) -> list[PropertiesRound]:
    """The start, and rounds with these relative errors of D."""
    records = [PropertiesRound(number=0, stage="relax", training_frames=0, heldout_frames=0, labels=0)]
    for number, error in enumerate(errors, 1):
        value = Value(name="D", value=2.0, unit="cm²/s", uncertainty=2 * error)
        result = PropertyResult(structure="copper", potential="emt", property="transport", values=[value])
        records.append(
            records[0].model_copy(
                update={"number": number, "properties": PropertyValues(results=[result], comparisons=[])}
            )
        )
    return records


def test_rounds_go_on_until_the_error_is_small_enough() -> None:
    study = parse(STUDY, kind=TransportStudy)

    def coming(*errors: float) -> str | None:
        state = RunState(LocalCapacity(2), finished(*errors), {"copper": 1})
        graph = next_graph(study, state)
        return graph.name if graph is not None else None

    assert coming() == "transport-1"
    assert coming(0.3) == "transport-2"
    assert coming(0.3, 0.05) is None
    assert coming(0.3, 0.2, 0.15) is None


def test_a_later_round_knows_what_the_earlier_ones_have_measured() -> None:
    study = parse(STUDY, kind=TransportStudy)
    graph = next_graph(study, RunState(LocalCapacity(2), finished(0.3), {"copper": 1}))
    assert graph is not None
    assert graph.step("measure").reads["earlier"].key == "iterations/001/properties"
    assert graph.step("simulate").work == 2 * study.repeats


@pytest.mark.slow
def test_a_run_without_any_diffusion_coefficient_has_failed(tmp_path: Path) -> None:
    """Simulations of a few frames say nothing; the displacements are in the report."""
    study = parse(STUDY.replace("steps: 100", "steps: 20").replace("rounds: 3", "rounds: 2"), kind=TransportStudy)
    with pytest.raises(EngineError, match=r"no property has a value .*\n  copper, emt, transport: 1500 K: "):
        run(study, tmp_path / "run")
    record = RunDirectory(tmp_path / "run").run()
    assert record.state == "failed"
    assert "no property has a value" in record.message


def test_what_counts_is_whether_any_property_has_a_value() -> None:
    def of(**failed: str | None) -> list[str]:
        results = [
            PropertyResult(structure="copper", potential="emt", property=name, values=[], failed=why)
            for name, why in failed.items()
        ]
        start = finished()[0]
        values = PropertyValues(results=results, comparisons=[])
        return start.model_copy(update={"properties": values}).failed_properties()

    assert of() == []
    assert of(relaxation=None, transport="too short") == ["copper, emt, transport: too short"]
    assert of(relaxation=None, transport=None, arrhenius="one temperature") == []
    assert of(relaxation="no forces") == ["copper, emt, relaxation: no forces"]
    assert of(relaxation=None) == []
