"""Elastic constants at temperatures: those at rest where it is cold, and errors that follow from the scatter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lamflow.science.properties.sample import Answer
from lamflow.science.properties.table import PROPERTIES
from tests.science.properties.emt import crystal, found, reference, value

SETTINGS: dict[str, Any] = {
    "temperatures": [20.0], "repeats": 1, "size": 5.0, "time": 0.3, "timestep": 0.006, "strain": 0.005,
    "equilibration": 0.3, "pressure": 0.0,
}  # fmt: skip


@pytest.mark.slow
def test_cold_copper_is_as_stiff_as_copper_at_rest() -> None:
    result = found("thermal-elastic", crystal("Cu"), **SETTINGS)
    for name in ("C11", "C12", "C44"):
        assert value(result, name, "20 K") == pytest.approx(reference(name, "Cu"), rel=0.05)
    assert value(result, "B", "20 K, hill") == pytest.approx(reference("B0", "Cu"), rel=0.05)
    assert value(result, "V", "20 K") == pytest.approx(reference("a0", "Cu") ** 3 / 4, rel=0.01)
    assert "20 K: Born-stable" in result.notes


def stresses(noise: float, seed: int) -> Answer:
    """What copper's constants at rest would say of noisy stresses."""
    [sample] = PROPERTIES["thermal-elastic"].frames(crystal("Cu"), **SETTINGS)
    c11, c12, c44 = (reference(name, "Cu") for name in ("C11", "C12", "C44"))
    stiffness = np.diag([c11 - c12] * 3 + [c44] * 3)
    stiffness[:3, :3] += c12
    rng, series = np.random.default_rng(seed), {"volume": [11.6], "none": [0.0] * 30}
    for direction in sample.about["directions"]:
        for sign, name in ((1, "+"), (-1, "-")):
            mean = sign * 0.005 * stiffness[:, direction]
            series[f"{direction} {name}"] = (mean + rng.normal(0, noise, (5, 6))).ravel().tolist()
    return Answer(sample, sample.frame, None, series=series)


def test_errors_are_those_of_the_scatter() -> None:
    values = [PROPERTIES["thermal-elastic"].reduce(crystal("Cu"), [stresses(0.05, seed)]).values for seed in range(60)]
    for name, where in (("C11", "20 K"), ("C44", "20 K"), ("G", "20 K, hill")):
        own = [one for many in values for one in many if (one.name, one.where) == (name, where)]
        scatter = np.std([one.value for one in own])
        assert np.mean([one.uncertainty or 0.0 for one in own]) == pytest.approx(scatter, rel=0.25)


def test_a_run_that_exploded_is_a_note_and_the_others_have_values() -> None:
    good = stresses(0.0, 1)
    bad = Answer(good.sample, good.frame, None, False, "the run exploded after 0.1 ps")
    result = PROPERTIES["thermal-elastic"].reduce(crystal("Cu"), [good, bad])
    assert value(result, "C11", "20 K") == pytest.approx(reference("C11", "Cu"), rel=1e-6)
    assert result.notes[0] == "20 K: the run exploded after 0.1 ps"
    with pytest.raises(ValueError, match="exploded"):
        PROPERTIES["thermal-elastic"].reduce(crystal("Cu"), [bad])
