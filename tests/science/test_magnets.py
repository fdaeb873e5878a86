"""Exchange constants, Binder cumulants and spirals of the spin-lattice, which are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from ase.build import bulk

from lamflow.data import Frame, Labels
from lamflow.science.magnets import (
    binder_cumulant,
    crossing,
    fit_exchange,
    sample_magnetisation,
    spiral_energies,
)
from lamflow.science.spin_bonds import StillAtoms
from lamflow.science.spin_dynamics import SpinDynamics
from lamflow.science.spin_lattice import SpinLattice

IRON = Frame.from_ase(bulk("Fe", "bcc", a=2.86, cubic=True).repeat(4))
MODEL = SpinLattice()
ATOMS = StillAtoms(MODEL.bonds)


def evaluate(frames: Sequence[Frame]) -> list[Labels]:
    return ATOMS.labels(frames, [frame.spins for frame in frames])


def with_moments(count: int, seed: int = 1) -> list[Frame]:
    spins = np.random.default_rng(seed).normal(size=(count, IRON.natoms, 3))
    return [IRON.with_fields(spin=2.2 * own / np.linalg.norm(own, axis=1, keepdims=True)) for own in spins]


def test_exchange_constants_are_those_of_the_model() -> None:
    frames = with_moments(12)
    energies = np.array([MODEL.labels(frame).energy for frame in frames])
    found = fit_exchange(frames, energies, cutoff=4.5)
    np.testing.assert_allclose(found.distances, 2.86 * np.array([np.sqrt(3) / 2, 1, np.sqrt(2)]), atol=1e-3)
    fade = MODEL._fade(found.distances)[0]
    expected = fade * MODEL.exchange * np.exp(-(found.distances - MODEL.distance) / MODEL.decay)
    np.testing.assert_allclose(found.constants, expected, atol=1e-9)
    assert found.residual < 1e-9
    with pytest.raises(ValueError, match="2 frames cannot tell 3 shells of neighbours apart"):
        fit_exchange(frames[:2], energies[:2], cutoff=4.5)


def test_binder_cumulants_of_order_and_of_none() -> None:
    rng = np.random.default_rng(0)
    assert binder_cumulant(np.tile([0.0, 0, 2.2], (100, 1))) == pytest.approx(2 / 3)
    assert binder_cumulant(rng.normal(size=(200_000, 3))) == pytest.approx(4 / 9, abs=0.005)
    temperatures = np.array([800.0, 1000.0, 1200.0])
    small, large = np.array([0.60, 0.55, 0.50]), np.array([0.65, 0.57, 0.46])
    assert crossing(temperatures, small, large) == pytest.approx(1000 + 200 * 0.02 / 0.06)
    with pytest.raises(ValueError, match="do not cross between 800 and 1200 K"):
        crossing(temperatures, large, small)


def test_magnetisation_falls_with_temperature() -> None:
    start = Frame.from_ase(bulk("Fe", "bcc", a=2.86, cubic=True).repeat(2))
    start = start.with_fields(spin=np.tile([0.0, 0.0, 2.2], (start.natoms, 1)))
    temperatures = np.array([50.0, 600.0, 4000.0])
    dynamics = SpinDynamics(temperatures, mobility=100.0, timestep=0.002, seeds=[1, 2, 3])
    found = sample_magnetisation([start] * 3, evaluate, dynamics, steps=100, equilibrate=100)
    cold, warm, hot = np.linalg.norm(found, axis=2).mean(axis=1)
    assert 2.1 < cold < 2.35
    assert cold > warm > hot


def test_the_ferromagnet_is_the_lowest_spiral() -> None:
    vectors = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [4, 0, 0]])
    energies = spiral_energies(IRON, evaluate, vectors, 2.2)
    assert np.all(np.diff(energies) > 0)
