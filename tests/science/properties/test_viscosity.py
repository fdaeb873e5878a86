"""The integral of a stress whose correlation is known, and what is said of solids and of short runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamflow.config import parse
from lamflow.config.properties import PropertiesStudy
from lamflow.data.frames import Floats
from lamflow.errors import InputError
from lamflow.science.properties.sample import Answer
from lamflow.science.properties.stressed import BLOCKS, correlations
from lamflow.science.properties.table import PROPERTIES
from lamflow.units import BOLTZMANN, EV_PER_A3_IN_GPA
from tests.science.properties.emt import crystal, found

SETTINGS: dict[str, Any] = {
    "temperatures": [1500.0], "repeats": 1, "size": 5.0, "time": 0.3, "timestep": 0.003, "equilibration": 0.3,
    "pressure": 0.0,
}  # fmt: skip
STEP, MEMORY, SCATTER = 0.01, 0.05, 0.4
"""ps, ps and GPa."""


def noise(seed: int, count: int = 20_000) -> Floats:
    """Stresses (F, 6) that forget themselves exponentially, about a mean pressure."""
    rng = np.random.default_rng(seed)
    damp, series = np.exp(-STEP / MEMORY), rng.normal(0, SCATTER, (count, 6))
    series[1:] *= np.sqrt(1 - damp**2)
    for step in range(1, count):
        series[step] += damp * series[step - 1]
    series[:, :3] *= np.sqrt(2)  # isotropic: (xx - yy) / 2 scatters like xy
    return np.asarray(series - np.array([2.0, 2.0, 2.0, 0.0, 0.0, 0.0]))


def run(seed: int, moved: float = 25.0, count: int = 20_000) -> Answer:
    [sample] = PROPERTIES["viscosity"].frames(crystal("Cu"), **SETTINGS)
    series = {"volume": [12.0], "msd": [moved], "none": [0.0] * 30}
    series |= correlations(np.array_split(noise(seed, count), BLOCKS), STEP)
    return Answer(sample, sample.frame, None, series=series)


def test_the_integral_of_a_known_correlation_and_its_error() -> None:
    runs = [PROPERTIES["viscosity"].reduce(crystal("Cu"), [run(2 * n), run(2 * n + 1)]) for n in range(12)]
    values = [next(v for v in one.values if v.name == "viscosity") for one in runs]
    volume = 12.0 * run(0).frame.natoms
    discrete = 0.5 * STEP / np.tanh(0.5 * STEP / MEMORY)  # the trapezoids' integral of the exponential
    expected = volume / EV_PER_A3_IN_GPA / (BOLTZMANN * 1500) * SCATTER**2 * discrete
    assert np.mean([v.value for v in values]) == pytest.approx(expected, rel=0.05)
    errors = np.array([abs(v.value - expected) / (v.uncertainty or 0.0) for v in values])
    assert (errors < 2.6).mean() > 0.7
    assert {v.unit for v in values} == {"mPa s"}


def test_a_solid_has_none_and_a_short_run_says_so() -> None:
    with pytest.raises(ValueError, match=r"1500 K: atoms have moved by 0\.2 Å, as in a solid"):
        PROPERTIES["viscosity"].reduce(crystal("Cu"), [run(1, moved=0.04)])
    with pytest.raises(ValueError, match="the stress still remembers itself"):
        PROPERTIES["viscosity"].reduce(crystal("Cu"), [run(1, count=40)])


@pytest.mark.slow
def test_a_crystal_that_moves_is_no_liquid() -> None:
    with pytest.raises(ValueError, match="as in a solid, which has no viscosity"):
        found("viscosity", crystal("Cu"), **{**SETTINGS, "temperatures": [300.0]})


def test_thermal_conductivity_is_refused_with_its_reason(tmp_path: Path) -> None:
    text = (
        "workflow: properties\nname: x\nelements: [Cu]\nstructures: [{name: a, crystal: {formula: Cu, lattice: fcc}}]\n"
        "potentials: [{name: emt, evaluate: {engine: emt}}]\nproperties: [{property: thermal-conductivity}]\n"
    )
    with pytest.raises(InputError, match="thermal-conductivity needs the heat flux") as caught:
        parse(text, root=tmp_path, kind=PropertiesStudy)
    assert str(caught.value).count("thermal-conductivity") == 1
