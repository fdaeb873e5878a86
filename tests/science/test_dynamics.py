"""Dynamics of many systems at once, on potentials whose averages are known."""

from __future__ import annotations

import numpy as np
import pytest

from lamflow.data.frames import Floats, Ints
from lamflow.science.dynamics import Dynamics, Systems
from lamflow.units import BAR_IN_EV_PER_A3, BOLTZMANN

SPRING = 5.0
"""eV/Å²"""


def springs(positions: Floats, cells: Floats, numbers: Ints) -> tuple[Floats, Floats, Floats]:
    """Every atom on a spring to the middle of all, whose length does not change with the cell."""
    del cells, numbers
    away = positions - positions.mean(axis=1, keepdims=True)
    return 0.5 * SPRING * (away**2).sum(axis=(1, 2)), -SPRING * away, np.zeros((len(positions), 3, 3))


def gas(positions: Floats, cells: Floats, numbers: Ints) -> tuple[Floats, Floats, Floats]:
    """An ideal gas."""
    del cells, numbers
    return np.zeros(len(positions)), np.zeros_like(positions), np.zeros((len(positions), 3, 3))


def begin(dynamics: Dynamics, count: int, natoms: int, evaluate: object = springs, volume: float = 1000.0) -> Systems:
    rng = np.random.default_rng(4)
    masses = np.broadcast_to(np.array([12.0, 40.0] * natoms)[:natoms], (count, natoms)).copy()
    positions = rng.normal(scale=0.05, size=(count, natoms, 3))
    cells = np.broadcast_to(volume ** (1 / 3) * np.eye(3), (count, 3, 3)).copy()
    energies, forces, virials = evaluate(positions, cells, np.arange(count))  # type: ignore[operator]
    return Systems(np.arange(count), positions, dynamics.velocities(masses), cells, masses, energies, forces, virials)


def run(
    dynamics: Dynamics, systems: Systems, steps: int, evaluate: object = springs, skip: int = 0
) -> dict[str, Floats]:
    found: dict[str, list[Floats]] = {"temperature": [], "energy": [], "conserved": [], "volume": []}
    for step in range(steps):
        dynamics.step(systems, evaluate)  # type: ignore[arg-type]
        if step >= skip:
            found["temperature"].append(dynamics.temperatures(systems))
            found["energy"].append(systems.energies)
            found["conserved"].append(dynamics.conserved(systems))
            found["volume"].append(systems.volumes)
    return {name: np.array(values) for name, values in found.items()}


def made(ensemble: str, count: int = 6, temperature: float = 500.0, **more: object) -> Dynamics:
    given = {"timestep": 0.001, "thermostat_time": 0.05, **more}
    return Dynamics(ensemble, temperature=np.full(count, temperature), seeds=list(range(count)), **given)  # type: ignore[arg-type]


def test_velocities_have_their_temperature_and_go_nowhere() -> None:
    dynamics = Dynamics("nve", 0.001, np.array([0.0, 300.0, 3000.0]), [1, 2, 3])
    systems = begin(dynamics, 3, 10)
    np.testing.assert_allclose(dynamics.temperatures(systems), [0, 300, 3000])
    assert np.abs(np.einsum("bn,bnx->bx", systems.masses, systems.velocities)).max() < 1e-9


@pytest.mark.parametrize("ensemble", ["nve", "nvt"])
def test_what_is_conserved_is_conserved_to_second_order(ensemble: str) -> None:
    drift = []
    for timestep in (0.002, 0.001):
        dynamics = made(ensemble, timestep=timestep)
        systems = begin(dynamics, 6, 8)
        found = run(dynamics, systems, round(1.0 / timestep))["conserved"]
        drift.append(np.abs(found - found[0]).max())
    assert drift[1] < 0.02 * SPRING * 0.05**2 * 24
    assert drift[0] / drift[1] == pytest.approx(4, rel=0.5)


@pytest.mark.parametrize("ensemble", ["nvt", "langevin", "npt"])
def test_the_temperature_is_the_one_that_was_asked_for(ensemble: str) -> None:
    dynamics = made(ensemble, count=12, pressure=np.zeros(12), barostat_time=1e9)
    systems = begin(dynamics, 12, 8)
    found = run(dynamics, systems, 6000, skip=1000)
    means = found["temperature"].mean(axis=0)
    error = means.std(ddof=1) / np.sqrt(len(means))
    assert means.mean() == pytest.approx(500, abs=max(4 * error, 5.0))
    potential = found["energy"].mean() / (1.5 * 7 * BOLTZMANN)
    assert potential == pytest.approx(500, rel=0.06), "equipartition"
    if ensemble != "nvt":
        fluctuation = found["temperature"].var() / 500**2
        assert fluctuation == pytest.approx(2 / (3 * 8), rel=0.15), "the canonical fluctuation of the kinetic energy"


def test_an_ideal_gas_has_the_volume_of_an_ideal_gas() -> None:
    """⟨V⟩ = (N + 1) kT / P, of few atoms, where one kT more or less is a third."""
    count, natoms, pressure = 100, 2, 20_000 * BAR_IN_EV_PER_A3
    expected = (natoms + 1) * BOLTZMANN * 500 / pressure
    dynamics = made(
        "npt", count=count, pressure=np.full(count, pressure), barostat_time=0.05, compressibility=1 / pressure
    )
    systems = begin(dynamics, count, natoms, gas, volume=2 * expected)
    found = run(dynamics, systems, 4000, gas, skip=1000)["volume"]
    error = found.mean(axis=0).std(ddof=1) / np.sqrt(count)
    assert error < 0.03 * expected
    assert found.mean() == pytest.approx(expected, abs=4 * error)


def test_systems_do_not_feel_each_other() -> None:
    together = made("langevin", count=4)
    systems = begin(together, 4, 6)
    start = {name: getattr(systems, name)[2:3].copy() for name in ("positions", "velocities")}
    for step in range(50):
        together.step(systems, springs)
        if step == 20:
            systems.keep(np.array([0, 2]))
    alone = Dynamics("langevin", 0.001, np.full(1, 500.0), [2], thermostat_time=0.05)
    one = begin(alone, 1, 6)
    one.positions, one.velocities = start["positions"], start["velocities"]
    one.energies, one.forces, one.virials = springs(one.positions, one.cells, one.number)
    for _ in range(50):
        alone.step(one, springs)
    np.testing.assert_allclose(one.positions[0], systems.positions[1], atol=1e-12)
