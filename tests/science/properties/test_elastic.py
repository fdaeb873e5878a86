"""Stiffness tensors of given symmetry come back from stresses, from as few strains as can be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from lamflow.data import Frame, Labels
from lamflow.science.properties.elastic import (
    VOIGT,
    fitted_tensor,
    frames,
    full,
    invariant_tensors,
    point_group,
    reduce,
    rotated,
    strain_directions,
    unit_strain,
    voigt,
)
from lamflow.science.properties.sample import Answer, Crystal
from lamflow.units import EV_PER_A3_IN_GPA
from tests.science.properties.emt import crystal, value

CRYSTALS = {
    "cubic": (Frame.from_ase(bulk("Cu", "fcc", a=3.6)), 3, 2),
    "hexagonal": (Frame.from_ase(bulk("Mg", "hcp", a=3.2, c=5.2)), 5, 3),
    "triclinic": (
        Frame(np.array([29, 47]), np.array([[0.1, 0.2, 0.3], [1.9, 2.2, 1.1]]),
              np.array([[3.0, 0.1, 0.2], [0.4, 3.5, 0.3], [0.6, 0.5, 4.1]])), 21, 6,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CRYSTALS)
def test_symmetry_says_how_many_constants_and_strains_there_are(name: str) -> None:
    frame, constants, directions = CRYSTALS[name]
    basis = invariant_tensors(point_group(frame))
    assert len(basis) == constants
    assert len(strain_directions(basis)) == directions


@pytest.mark.parametrize("name", CRYSTALS)
def test_a_cell_that_misses_its_symmetry_by_rounding_has_the_same_strains(name: str) -> None:
    frame, constants, directions = CRYSTALS[name]
    rng = np.random.default_rng(2)
    for turn in (0.0, 2e-3):
        skew = np.array([[0, turn, 0], [-turn, 0, turn], [0, -turn, 0]])
        away = np.eye(3) + skew + skew @ skew / 2 + rng.normal(scale=3e-5, size=(3, 3))
        moved = replace(frame, cell=frame.cell @ away, positions=frame.positions @ away)
        group = point_group(moved)
        np.testing.assert_allclose(group @ group.transpose(0, 2, 1), np.broadcast_to(np.eye(3), group.shape), atol=1e-8)
        basis = invariant_tensors(group)
        assert (len(basis), len(strain_directions(basis))) == (constants, directions)
        known = np.mean([rotated(full(np.diag([9.0, 8, 7, 3, 2, 1])), one) for one in group], axis=0)
        noise = {d: rng.normal(scale=1e-3, size=6) for d in range(6)}
        slopes = {d: voigt(known)[:, d] + noise[d] for d in strain_directions(basis)}
        np.testing.assert_allclose(voigt(fitted_tensor(basis, slopes)), voigt(known), atol=0.02)


@pytest.mark.parametrize("name", CRYSTALS)
def test_the_tensor_comes_back(name: str) -> None:
    """In whatever axes the crystal stands."""
    frame, _, directions = CRYSTALS[name]
    random = np.random.default_rng(1).normal(size=(6, 6))
    group = point_group(frame)
    tensor = np.mean([rotated(full(random @ random.T + 50 * np.eye(6)), one) for one in group], axis=0)
    samples = frames(Crystal(name, frame, 0.0), strain=0.01)
    assert len(samples) == 1 + 4 * directions
    answers = []
    for sample in samples:
        strain = unit_strain(max(0, sample.about["direction"])) * sample.about["strain"]
        stress = np.einsum("ijkl,kl->ij", tensor, strain) / EV_PER_A3_IN_GPA
        labels = Labels.from_stress(0.0, np.zeros((frame.natoms, 3)), stress, sample.frame.volume)
        answers.append(Answer(sample, sample.frame, labels))
    result = reduce(Crystal(name, frame, 0.0), answers)
    found = full(np.array(result.tables["stiffness (GPa)"]))
    assert np.einsum("ijij->", found) == pytest.approx(np.einsum("ijij->", tensor), rel=1e-6)
    bulk_modulus = np.einsum("iijj->", tensor) / 9
    assert value(result, "B", "voigt") == pytest.approx(bulk_modulus, rel=1e-6)


def test_full_and_voigt_are_inverse() -> None:
    matrix = np.arange(36.0).reshape(6, 6)
    symmetric = matrix + matrix.T
    assert voigt(full(symmetric)) == pytest.approx(symmetric)
    assert len(set(VOIGT)) == 6


def test_an_engine_without_stress_is_said() -> None:
    of = crystal("Cu")
    answers = [Answer(sample, sample.frame, Labels(0.0, np.zeros((1, 3)))) for sample in frames(of, strain=0.01)]
    with pytest.raises(ValueError, match="the engine gives no stress"):
        reduce(of, answers)


def test_a_soft_crystal_is_not_stable() -> None:
    frame = CRYSTALS["cubic"][0]
    samples = frames(Crystal("x", frame, 0.0), strain=0.01)
    stiffness = np.diag([100.0, 100, 100, -20, -20, -20])
    answers = []
    for sample in samples:
        strain = unit_strain(max(0, sample.about["direction"])) * sample.about["strain"]
        stress = np.einsum("ijkl,kl->ij", full(stiffness), strain) / EV_PER_A3_IN_GPA
        answers.append(
            Answer(sample, sample.frame, Labels.from_stress(0.0, np.zeros((1, 3)), stress, sample.frame.volume))
        )
    result = reduce(Crystal("x", replace(frame), 0.0), answers)
    assert any(note.startswith("not Born-stable") for note in result.notes)
    assert not any(item.name == "B" for item in result.values)
