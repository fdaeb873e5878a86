"""A run of learning that ends when the properties of its models are right."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow.config import load
from lamflow.driver.loop import run
from lamflow.driver.rundir import RunDirectory
from lamflow.flow.kinds import kind_of
from tests.conftest import STUDY

pytestmark = pytest.mark.slow

PROPERTIES = """
properties:
  structures: [crystal]
  measure: [{property: eos, points: 6, strain: 0.04}]
  relax: {fmax: 0.01}
  reference: {values: [{structure: crystal, property: eos, name: B0, value: 1.344, unit: Mbar, source: EMT}]}
  gates: [{property: eos, name: B0, relative_error: 1e-6}]
  explore_failed: true
"""


def test_gates_keep_a_run_going_and_their_frames_are_explored(tmp_path: Path) -> None:
    text = STUDY.replace("accurate: 0.999", "accurate: 0.0").replace("supercell: [2, 2, 1], copies: 3}", "copies: 1}")
    (tmp_path / "study.yaml").write_text(text.replace("engine: ase, structures", "engine: ase, starts: 1, structures"))
    text = (tmp_path / "study.yaml").read_text().replace("starts: 1, structures: [crystal]", "structures: [rattled]")
    (tmp_path / "study.yaml").write_text(text + PROPERTIES)
    study = load(tmp_path / "study.yaml")
    ended = run(study, tmp_path / "run")
    first, last = RunDirectory(tmp_path / "run").iterations()[1:]
    assert ended.state == "ended"  # by the budget: without the gate it would have converged in the first iteration
    assert first.selected is not None
    assert first.tracked is not None
    assert first.selected.decision == "label"
    assert "0 of 1 gates hold, not crystal model eos B0" in first.selected.reason
    assert first.tracked.starts == 6
    assert {one.structure for one in first.simulations} == {"rattled"}
    assert {one.structure for one in last.simulations} == {"rattled", "failed-properties"}
    page = kind_of(study).report(tmp_path / "run", tmp_path / "report", True).read_text()
    assert "Properties over the iterations" in page
    assert "does not hold" in page
    assert (tmp_path / "report" / "properties" / "properties.html").is_file()
