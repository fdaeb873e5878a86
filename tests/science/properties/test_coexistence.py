"""A crystal beside its melt: the temperature that both agree on, and what is said where one of them is left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lamflow.science.properties.sample import Answer
from lamflow.science.properties.table import PROPERTIES
from tests.science.properties.emt import crystal, found, value

SETTINGS: dict[str, Any] = {
    "guess": 1300.0, "time": 0.2, "timestep": 0.002, "repeats": 2, "size": 4.0, "pressure": 0.0,
}  # fmt: skip
FRAMES, REDUCE = PROPERTIES["melting-point"].frames, PROPERTIES["melting-point"].reduce


def run(repeat: int, melt: float, temperature: float) -> Answer:
    """A run in which a fraction of the atoms flows, and whose temperature goes from the guess to another one."""
    sample = FRAMES(crystal("Cu"), **SETTINGS)[repeat]
    rng, count = np.random.default_rng(repeat), 200
    course = np.where(np.arange(count) < count // 2, np.linspace(1300, temperature, count), temperature)
    series = {
        "time": np.linspace(0.1, 20, count).tolist(), "temperature": (course + rng.normal(0, 20, count)).tolist(),
        "pressure": rng.normal(0.1, 0.02, count).tolist(),
        "moved": np.where(np.arange(100) < 100 * melt, 1.5, 0.1).tolist(),
    }  # fmt: skip
    return Answer(sample, sample.frame, None, series=series)


def test_the_cell_is_long_and_half_of_it_may_melt() -> None:
    sample = FRAMES(crystal("Cu"), **SETTINGS)[0]
    lengths = np.linalg.norm(sample.frame.cell, axis=1)
    assert lengths[2] == pytest.approx(2 * lengths[0])
    assert sample.relax == "coexisting"


def test_runs_with_both_phases_give_the_melting_point() -> None:
    result = REDUCE(crystal("Cu"), [run(0, 0.5, 1200), run(1, 0.4, 1230)])
    [point] = [one for one in result.values if one.name == "T_m"]
    assert point.value == pytest.approx(1215, abs=5)
    assert point.uncertainty == pytest.approx(15, abs=4)
    assert value(result, "pressure") == pytest.approx(0.1, abs=0.01)
    assert value(result, "melt_fraction") == pytest.approx(0.45)


def test_one_phase_alone_has_no_melting_point() -> None:
    result = REDUCE(crystal("Cu"), [run(0, 0.5, 1200), run(1, 0.0, 1400)])
    assert result.notes == ["repeat 1: all of it has frozen from 1300 K; raise guess, or size"]
    with pytest.raises(ValueError, match="all of it has molten from 1300 K; lower guess, or raise size"):
        REDUCE(crystal("Cu"), [run(0, 1.0, 1200)])


@pytest.mark.slow
def test_a_cold_crystal_freezes_again() -> None:
    with pytest.raises(ValueError, match="all of it has frozen from 200 K"):
        found("melting-point", crystal("Cu"), **{**SETTINGS, "guess": 200.0, "repeats": 1})
