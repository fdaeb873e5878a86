from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lamflow.science.deviation import committee_points, deviations, force_deviation, true_errors


@given(st.integers(2, 5), st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**31))
def test_it_is_the_definition_written_out(models: int, frames: int, natoms: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    forces = rng.normal(size=(models, frames, natoms, 3))
    found = force_deviation(forces)
    for frame in range(frames):
        for atom in range(natoms):
            mean = sum(forces[m, frame, atom] for m in range(models)) / models
            squares = [float(np.sum((forces[m, frame, atom] - mean) ** 2)) for m in range(models)]
            assert np.isclose(found[frame, atom], np.sqrt(sum(squares) / models))


def test_every_channel() -> None:
    rng = np.random.default_rng(1)
    energies, forces, virials = rng.normal(size=(4, 3)), rng.normal(size=(4, 3, 5, 3)), rng.normal(size=(4, 3, 3, 3))
    found = deviations(energies, forces, virials)
    assert (found.force_min <= found.force_mean).all()
    assert (found.force_mean <= found.force_max).all()
    assert (found.force_max_relative < found.force_max).all()
    np.testing.assert_allclose(found.energy, energies.std(axis=0) / 5)
    np.testing.assert_allclose(found.virial_max, virials.std(axis=0).max(axis=(1, 2)) / 5)


def test_models_that_agree_deviate_by_nothing_and_nan_stays_nan() -> None:
    forces = np.ones((3, 2, 4, 3))
    forces[1, 1, 2, 0] = np.nan
    found = deviations(np.zeros((3, 2)), forces, None)
    assert found.force_max[0] == 0
    assert np.isnan(found.force_max[1])
    assert np.isnan(found.virial_max).all()


def test_true_errors_are_distances_to_the_truth() -> None:
    rng = np.random.default_rng(2)
    energies, forces, virials = rng.normal(size=(2, 3)), rng.normal(size=(2, 3, 5, 3)), rng.normal(size=(2, 3, 3, 3))
    found = true_errors(energies, forces, virials)
    for frame in range(3):
        lengths = [float(np.sqrt(((forces[0, frame, n] - forces[1, frame, n]) ** 2).sum())) for n in range(5)]
        assert np.isclose(found.force_max[frame], max(lengths))
        assert np.isclose(found.force_mean[frame], np.mean(lengths))
        assert np.isclose(found.energy[frame], abs(energies[0, frame] - energies[1, frame]) / 5)
        assert np.isclose(found.virial_max[frame], np.abs(virials[0, frame] - virials[1, frame]).max() / 5)
    perfect = true_errors(energies[[0, 0]], forces[[0, 0]], None)
    assert perfect.force_max.max() == perfect.energy.max() == 0


def test_a_committee_is_as_wrong_as_its_mean_in_each_frame() -> None:
    """Frames of one and two atoms; two models that differ by 2 eV/Å on the last atom, whose mean is 3 eV/Å off."""
    true = np.zeros(9)
    forces = np.zeros((2, 9))
    forces[:, 0] = 0.5
    forces[:, 8] = 2.0, 4.0
    points = committee_points(np.array([1, 2]), forces, true)
    np.testing.assert_allclose(points, [[0.0, 0.5], [1.0, 3.0]])
