"""A temperature ramp in a whole run."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow.config import load
from lamflow.driver.loop import run
from lamflow.driver.rundir import RunDirectory
from tests.conftest import STUDY

pytestmark = pytest.mark.slow


def temperatures(folder: Path, **change: str) -> list[set[float]]:
    text = STUDY.replace("temperatures: [300, 900]", "temperatures: [300, 600, 900], ramp: {advance_at: 0.6}")
    for old, new in change.items():
        text = text.replace(f"{old}: ", f"{new}: ")
    text = text.replace("budget: {iterations: 2}", "budget: {iterations: 4}").replace("high: 2.0", "high: 4.0")
    text = text.replace("low: 0.001", "low: 0.3").replace("accurate: 0.999", "accurate: 0.5")
    (folder / "tiny.yaml").write_text(text)
    run(load(folder / "tiny.yaml"), folder / "run")
    done = RunDirectory(folder / "run").iterations()
    return [
        {task.condition["temperature"] for task in iteration.simulations} for iteration in done if iteration.simulations
    ]


def test_a_run_ramps_and_is_not_done_before_the_top(tmp_path: Path) -> None:
    seen = temperatures(tmp_path)
    assert seen[0] == {300}
    assert all(len(step) == 1 for step in seen)
    order = [next(iter(step)) for step in seen]
    assert order == sorted(order), "nothing fails in this study"
    last = RunDirectory(tmp_path / "run").iterations()[-1]
    assert last.selected is not None
    assert last.selected.groups[0].temperature == order[-1]
    assert (order[-1] == 900) == last.selected.converged
    for iteration, temperature in zip(RunDirectory(tmp_path / "run").iterations()[1:], order, strict=True):
        assert iteration.selected is not None
        if temperature < 900:
            assert f"a temperature ramp at {temperature:g} K of 900 K" in iteration.selected.reason
            assert not iteration.selected.converged
