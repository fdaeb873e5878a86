"""Exchange constants, Binder cumulants and spirals of the spin-lattice, which are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from ase.build import bulk

from lamflow.data import Frame, Labels
from lamflow.science.magnets import (
    crossing,
    fit_exchange,
    reweighted,
    sample_magnetisation,
    spiral_energies,
)
from lamflow.science.spin_bonds import StillAtoms
from lamflow.science.spin_dynamics import SpinDynamics
from lamflow.science.spin_lattice import SpinLattice
from lamflow.units import BOLTZMANN

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


def test_samples_of_all_temperatures_count_at_each() -> None:
    """⟨x²⟩ = kT and ⟨x⁴⟩ = 3(kT)² of a spring with energy x²/2, between and at the temperatures it was sampled at."""
    rng, temperatures = np.random.default_rng(0), np.array([800.0, 1000.0, 1300.0])
    samples = [rng.normal(size=20_000) * np.sqrt(BOLTZMANN * temperature) for temperature in temperatures]
    at = np.array([800.0, 900.0, 1150.0, 1300.0])
    (second, fourth), count = reweighted(
        temperatures, [own**2 / 2 for own in samples], [np.stack([own**2, own**4]) for own in samples], at
    )
    np.testing.assert_allclose(second, BOLTZMANN * at, rtol=0.02)
    np.testing.assert_allclose(fourth, 3 * (BOLTZMANN * at) ** 2, rtol=0.04)
    assert count.min() > 20_000
    chi = [BOLTZMANN * temperature * rng.chisquare(5000, size=500) / 2 for temperature in temperatures]
    _, count = reweighted(temperatures, chi, [own[None] for own in chi], at)
    assert count[1] < 20 < count[0], "energies of so many springs do not overlap"


def test_cumulants_cross_where_the_larger_cell_ceases_to_have_more() -> None:
    temperatures = np.array([800.0, 1000.0, 1200.0])
    small, large = np.array([0.60, 0.55, 0.50]), np.array([0.65, 0.57, 0.46])
    assert crossing(temperatures, small, large) == pytest.approx(1000 + 200 * 0.02 / 0.06)
    noisy = np.array([0.599, 0.57, 0.46])  # at the cold end both are near 2/3 and noise decides
    assert crossing(temperatures, small, noisy) == pytest.approx(1000 + 200 * 0.02 / 0.06)
    for one, other in ((large, small), (small, small), (small - 0.1, small)):
        with pytest.raises(ValueError, match="do not cross between 800 and 1200 K"):
            crossing(temperatures, one, other)


def test_magnetisation_falls_with_temperature() -> None:
    start = Frame.from_ase(bulk("Fe", "bcc", a=2.86, cubic=True).repeat(2))
    start = start.with_fields(spin=np.tile([0.0, 0.0, 2.2], (start.natoms, 1)))
    temperatures = np.array([50.0, 600.0, 4000.0])
    dynamics = SpinDynamics(temperatures, mobility=100.0, timestep=0.002, seeds=[1, 2, 3])
    found, energies = sample_magnetisation([start] * 3, evaluate, dynamics, steps=100, equilibrate=100)
    cold, warm, hot = np.linalg.norm(found, axis=2).mean(axis=1)
    assert np.all(np.diff(energies.mean(axis=1)) > 0)
    assert 2.1 < cold < 2.35
    assert cold > warm > hot


def test_the_ferromagnet_is_the_lowest_spiral() -> None:
    vectors = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [4, 0, 0]])
    energies = spiral_energies(IRON, evaluate, vectors, 2.2)
    assert np.all(np.diff(energies) > 0)
