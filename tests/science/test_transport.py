"""Diffusion of walks that are known, of a real trajectory, and the reasons where there is none."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from ase.data import atomic_masses

from lamflow.data.frames import Floats
from lamflow.science.kinisi import diffusion_by_kinisi
from lamflow.science.transport import (
    CM2_PER_S,
    Displacements,
    arrhenius,
    chosen_lags,
    collective,
    displacements,
    nernst_einstein,
    squared_displacements,
    tracer,
    unwrapped,
    walk_covariance,
    without_drift,
)
from lamflow.units import BOLTZMANN

DIFFUSION, IONS, FRAMES = 0.05, 16, 400


def walk(seed: int, frames: int = FRAMES, rattle: float = 0.0) -> Floats:
    """Ions that walk with DIFFUSION Å²/ps, a frame a ps, and rattle about their places."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(scale=np.sqrt(2 * DIFFUSION), size=(frames, IONS, 3))
    return np.asarray(np.cumsum(steps, axis=0) + rng.normal(scale=rattle, size=steps.shape))


def moved(paths: Floats) -> Displacements:
    everyone = np.ones(paths.shape[1], dtype=bool)
    return displacements(paths, everyone, everyone.astype(float), interval=1.0, volume=1000.0, temperature=300.0)


def test_squared_displacements_are_the_sums_that_they_abbreviate() -> None:
    paths, lags = walk(1, 60), np.array([1, 7, 30])
    direct = [((paths[lag:] - paths[:-lag]) ** 2).sum(axis=2).mean(axis=0) for lag in lags]
    assert squared_displacements(paths, lags) == pytest.approx(np.array(direct).T)


def test_the_diffusion_of_a_walk_lies_where_its_error_says() -> None:
    """100 walks: no bias beyond 1 %, at least 90 of the 95 % intervals hold the truth, errors of the right size."""
    found = [tracer([moved(walk(seed))]) for seed in range(100)]
    values, errors = (np.array([getattr(one, name) for one in found]) for name in ("value", "error"))
    assert values.mean() == pytest.approx(DIFFUSION, rel=0.01)
    assert np.mean(np.abs(values - DIFFUSION) < 1.96 * errors) >= 0.90
    assert values.std() / DIFFUSION < 0.03
    assert errors.mean() < 3 * values.std()


def test_ions_that_rattle_in_cages_walk_as_far() -> None:
    found = tracer([moved(walk(seed, rattle=0.5)) for seed in range(4)])
    assert abs(found.value - DIFFUSION) < 3 * found.error
    assert found.error < 0.3 * DIFFUSION


def test_charges_move_as_one_where_they_do_not_feel_each_other() -> None:
    runs = [moved(walk(seed)) for seed in range(20)]
    together = collective(runs, tracer(runs).start)
    assert abs(together.value - IONS * DIFFUSION) < 3 * together.error


def test_covariances_of_a_walk_are_those_of_many_walks() -> None:
    lags = np.array([1, 4, 10])
    curves = [
        squared_displacements(np.cumsum(np.random.default_rng(seed).normal(size=(50, 200, 1)), axis=0), lags)
        for seed in range(10)
    ]
    assert walk_covariance(lags, 50) == pytest.approx(np.cov(np.concatenate(curves).T), rel=0.15)


def test_a_trajectory_that_is_too_short_has_no_value() -> None:
    with pytest.raises(ValueError, match="20 frames after equilibration are too few; at least 50"):
        moved(walk(1, 20))


def test_ions_that_only_rattle_have_a_reason_and_no_value() -> None:
    rattling = np.random.default_rng(1).normal(scale=0.3, size=(200, 8, 3))
    with pytest.raises(ValueError, match="no diffusive regime"):
        tracer([moved(rattling)])


@pytest.mark.parametrize("memory", [50.0, 200.0])
def test_ions_that_are_bound_to_a_wide_place_have_no_value(memory: float) -> None:
    """In a harmonic well, where they forget where they were in `memory` frames of 1000."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        paths, kept = np.zeros((1000, 30, 3)), np.exp(-1 / memory)
        paths[0] = rng.normal(scale=np.sqrt(DIFFUSION * memory), size=(30, 3))
        kicks = rng.normal(scale=np.sqrt(DIFFUSION * memory * (1 - kept**2)), size=paths.shape)
        for frame in range(1, 1000):
            paths[frame] = kept * paths[frame - 1] + kicks[frame]
        with pytest.raises(ValueError, match="no diffusive regime"):
            tracer([moved(paths)])


def test_a_cell_that_breathes_moves_no_atom() -> None:
    """Atoms at rest in fractions of the cell, and one that goes around it."""
    scale = 1 + 0.02 * np.sin(np.arange(300))[:, None, None]
    cells = np.eye(3)[None] * 10 * scale
    fractions = np.tile([[0.1, 0.5, 0.9]], (300, 2, 1))
    fractions[:, 1, 0] += 0.01 * np.arange(300)
    paths = unwrapped((fractions % 1.0) @ cells, cells)
    assert np.ptp(paths[:, 0], axis=0) == pytest.approx([0, 0, 0], abs=1e-9)
    assert paths[-1, 1, 0] - paths[0, 1, 0] == pytest.approx(2.99 * cells[:, 0, 0].mean())


def test_an_atom_that_cannot_be_followed_is_said() -> None:
    cells = np.tile(np.eye(3) * 10, (2, 1, 1))
    with pytest.raises(ValueError, match=r"moves 0\.48 of the cell between two frames"):
        unwrapped(np.array([[[0.0, 0, 0]], [[4.8, 0, 0]]]), cells)


def test_the_drift_of_the_framework_is_taken_off() -> None:
    paths = np.zeros((5, 3, 3))
    paths[:, :, 0] = np.arange(5)[:, None]
    paths[:, 0, 1] = np.arange(5)
    still = without_drift(paths, np.array([7.0, 32.0, 32.0]), np.array([False, True, True]))
    assert still[:, 1:] == pytest.approx(0)
    assert still[:, 0, 1] == pytest.approx(np.arange(5))


def test_conductivity_of_an_argyrodite() -> None:
    """24 Li in 9.85³ Å³ with D = 1e-8 cm²/s at 300 K."""
    assert nernst_einstein(1e-8, 24, 1.0, 9.85**3, 300.0) == pytest.approx(1.556e-3, rel=1e-3)


def test_an_activation_energy_comes_back() -> None:
    temperatures = np.array([600.0, 800.0, 1000.0])
    values = 1e-3 * np.exp(-0.3 / (BOLTZMANN * temperatures))
    fit = arrhenius(temperatures, values, 0.05 * values)
    assert fit.barrier == pytest.approx(0.3)
    logarithm, error = fit.log_at(300.0)
    assert np.exp(logarithm) == pytest.approx(1e-3 * np.exp(-0.3 / (BOLTZMANN * 300)))
    assert error > fit.log_at(800.0)[1]
    with pytest.raises(ValueError, match="at least two temperatures"):
        arrhenius(temperatures[:1], values[:1], values[:1])


def argyrodite() -> tuple[Floats, Floats, list[str]]:
    """Positions, cells and symbols of Li6PS5Cl that comes with kinisi: 140 frames of 416 atoms, 0.1 ps apart."""
    spec = importlib.util.find_spec("kinisi")
    if spec is None or spec.origin is None:
        pytest.skip('kinisi is missing: pip install "lamflow[transport]"')
    file = Path(spec.origin).parent / "tests" / "inputs" / "example_XDATCAR.gz"
    if not file.is_file():
        pytest.skip("kinisi came without its test data")
    from ase.io import read

    frames = read(file, ":", format="vasp-xdatcar")
    cells = np.array([atoms.cell.array for atoms in frames])
    return np.array([atoms.positions for atoms in frames]), cells, frames[0].get_chemical_symbols()


@pytest.mark.slow
def test_lithium_in_an_argyrodite_moves_as_kinisi_and_pymatgen_say() -> None:
    """pymatgen-analysis-diffusion gives 1.344e-5 cm²/s; its error is that of a line through correlated points."""
    positions, cells, symbols = argyrodite()
    lithium = np.array(symbols) == "Li"
    numbers = {"Li": 3, "Cl": 17, "S": 16, "P": 15}
    masses = np.array([atomic_masses[numbers[symbol]] for symbol in symbols])
    paths = without_drift(unwrapped(positions, cells), masses, ~lithium)
    curve = squared_displacements(paths[:, lithium], np.array([1, 10, 35, 70])).mean(axis=0)
    assert curve == pytest.approx([0.446, 1.603, 3.736, 6.742], abs=0.002)
    run = displacements(paths, lithium, lithium.astype(float), interval=0.1, volume=20.3123**3, temperature=700.0)
    found = tracer([run])
    assert abs(found.value * CM2_PER_S - 1.344e-5) < 1.96 * found.error * CM2_PER_S
    by_kinisi = diffusion_by_kinisi(paths[:, lithium], 0.1, 1)
    assert by_kinisi is not None
    assert abs(found.value * CM2_PER_S - by_kinisi[0]) < 2 * np.hypot(found.error * CM2_PER_S, by_kinisi[1])


def test_lags_are_dense_at_the_beginning() -> None:
    lags = chosen_lags(1000)
    assert lags[:4].tolist() == [1, 2, 3, 4]
    assert lags[-1] == 500
