"""Where energies jump as a crystal is heated and cooled, and what is said when they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lamflow.data.frames import Floats
from lamflow.science.properties.melting import jump_of
from lamflow.science.properties.sample import Answer
from lamflow.science.properties.table import PROPERTIES
from lamflow.units import BOLTZMANN
from tests.science.properties.emt import crystal, value

SETTINGS: dict[str, Any] = {
    "coldest": 300.0, "hottest": 2300.0, "rate": 50.0, "repeats": 2, "size": 5.0, "timestep": 0.004, "pressure": 0.0,
}  # fmt: skip
FRAMES, REDUCE = PROPERTIES["melting"].frames, PROPERTIES["melting"].reduce


def energies(temperatures: Floats, jump_at: float, seed: int = 1) -> Floats:
    """3 kT, and 0.12 eV/atom more above `jump_at`, with the noise of a hundred atoms."""
    noise = np.random.default_rng(seed).normal(0, 0.01, len(temperatures))
    return np.asarray(3 * BOLTZMANN * temperatures + 0.12 * (temperatures > jump_at) + noise)


def run(number: int, melts: float, freezes: float, pressure: float = 0.0) -> Answer:
    """A run that melts and freezes there, by 0.8 Å³ an atom; the pressure is in bar."""
    sample, up = FRAMES(crystal("Cu"), **{**SETTINGS, "pressure": pressure})[number], np.linspace(320, 2300, 100)
    series = {
        "target": np.concatenate([up, up[::-1]]).tolist(),
        "energy": np.concatenate([energies(up, melts, number), energies(up[::-1], freezes, number + 9)]).tolist(),
        "volume": np.concatenate([12 + 0.8 * (up > melts), 12 + 0.8 * (up[::-1] > freezes)]).tolist(),
    }
    return Answer(sample, sample.frame, None, series=series)


def test_a_jump_is_found_where_it_is_and_none_where_none_is() -> None:
    temperatures = np.linspace(300, 2300, 100)
    found = jump_of(temperatures, energies(temperatures, 1400))
    assert found is not None
    assert found.temperature == pytest.approx(1400, abs=25)
    assert found.enthalpy == pytest.approx(0.12, abs=0.015)
    for seed in range(20):
        assert jump_of(temperatures, energies(temperatures, 9999, seed)) is None


def test_the_melting_point_lies_between_and_its_error_says_so() -> None:
    result = REDUCE(crystal("Cu"), [run(0, 1600, 900), run(1, 1640, 860)])
    [point] = [one for one in result.values if one.name == "T_m"]
    assert value(result, "T_cooling") < point.value < value(result, "T_heating")
    assert point.value == pytest.approx(1620 + 880 - np.sqrt(1620 * 880), abs=30)
    assert point.uncertainty == pytest.approx(370, abs=20)
    assert value(result, "latent_heat") == pytest.approx(0.12, abs=0.02)
    assert "at 50 K/ps melting is late and freezing is late; the melting point lies between" in result.notes


def test_latent_heat_under_pressure_is_that_of_the_enthalpy() -> None:
    """100 kbar times 0.8 Å³ are 0.050 eV."""
    result = REDUCE(crystal("Cu"), [run(number, 1600, 900, pressure=100_000) for number in range(2)])
    assert value(result, "latent_heat") == pytest.approx(0.12 + 0.0499, abs=0.02)


def test_what_does_not_melt_or_freeze_is_said() -> None:
    glass = REDUCE(crystal("Cu"), [run(0, 1600, 0), run(1, 1640, 0)])
    assert {one.name for one in glass.values} == {"T_heating", "latent_heat"}
    assert "the melt has not frozen at 50 K/ps, so there is no T_m" in glass.notes[-1]
    assert glass.notes[0] == "27 atoms are few, and melt and freeze too late; raise size"
    with pytest.raises(ValueError, match="nothing has melted up to 2300 K at 50 K/ps; raise hottest"):
        REDUCE(crystal("Cu"), [run(0, 9999, 0), run(1, 9999, 0)])
