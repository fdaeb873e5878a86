from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from lamflow.data import Frame, Trajectory
from lamflow.science.filters import REASONS, Limits, counts, refused
from lamflow.science.neighbors import pair_distances


def cell(rng: np.random.Generator, skew: float) -> np.ndarray:
    lower = np.diag(rng.uniform(1.5, 6.0, 3)) + np.tril(rng.uniform(-skew, skew, (3, 3)), -1)
    return np.asarray(lower)


@settings(max_examples=60)
@given(st.integers(1, 5), st.floats(0, 4), st.floats(0.3, 5.0), st.integers(0, 2**31))
def test_every_distance_below_the_cutoff_is_found(natoms: int, skew: float, cutoff: float, seed: int) -> None:
    """Also in skewed cells much smaller than the cutoff, against ASE's neighbour list."""
    rng = np.random.default_rng(seed)
    box = cell(rng, skew)
    positions = rng.uniform(-1, 2, (natoms, 3)) @ box
    atoms = Frame(np.full(natoms, 29), positions, box).to_ase()
    expected = np.sort(neighbor_list("d", atoms, cutoff))
    [(_, distances)] = pair_distances(positions[None], box[None], True, cutoff)
    found = np.sort(distances[distances < cutoff])
    np.testing.assert_allclose(found[: len(expected)], expected, atol=1e-8)
    assert np.abs(found[len(expected) :] - cutoff).max(initial=0) < 1e-8


@pytest.mark.parametrize(
    ("pbc", "cubic", "repeat"),
    [(True, True, (3, 3, 2)), (True, True, (18, 1, 1)), (True, False, (72, 1, 1)), (False, True, (3, 3, 2))],
)
def test_many_atoms_are_judged_like_few(
    pbc: bool, cubic: bool, repeat: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks, in cells so thin that an atom is near to several images of another, and without a cell."""
    rng, crystal = np.random.default_rng(4), bulk("Cu", "fcc", a=3.6, cubic=cubic).repeat(repeat)
    cell, limits = crystal.cell.array if pbc else np.zeros((3, 3)), Limits(max_length_ratio=100)
    moves = [rng.normal(scale=scale, size=(72, 3)) for scale in np.linspace(0.01, 0.8, 24)]
    frames = [Frame(crystal.numbers, crystal.positions + move, cell, pbc) for move in moves]
    given = Trajectory.of(frames, [0] * 24)
    few = refused(given, limits)
    monkeypatch.setattr("lamflow.science.filters.MANY_ATOMS", 10)
    assert refused(given, limits).tolist() == few.tolist()
    assert 0 < np.count_nonzero(few) < 24


def trajectory(copper: list[Frame]) -> Trajectory:
    return Trajectory.of(copper[:6], list(range(6)))


def test_each_reason_is_counted_once(copper: list[Frame]) -> None:
    good = trajectory(copper)
    positions, cells = good.positions.copy(), good.cells.copy()
    positions[0, 3, 1] = np.nan
    cells[1, 0] = cells[1, 1] * 1.01
    cells[2, 0] *= 9
    cells[3] *= 5
    positions[3] *= 5
    positions[4, 0] = positions[4, 1] + 0.3
    verdict = refused(replace(good, positions=positions, cells=cells), Limits())
    assert [REASONS[index] for index in verdict] == [
        "not a finite number",
        "cell too skewed",
        "cell vectors too different in length",
        "volume per atom out of range",
        "atoms too close",
        "kept",
    ]
    assert counts(verdict) == dict.fromkeys(REASONS[1:], 1)


def test_an_atom_too_close_to_its_own_image_is_seen() -> None:
    atoms = bulk("Cu", "sc", a=1.0)
    one = Trajectory.of([Frame.from_ase(atoms)], [0])
    assert REASONS[refused(one, Limits(volume_per_atom=(0, 100)))[0]] == "atoms too close"


def test_radii_of_every_element_are_known() -> None:
    assert np.isfinite(covalent_radii[1:104]).all()
    assert (covalent_radii[1:104] > 0).all()
    far = Trajectory.of(
        [Frame(np.array([n, 1]), np.array([[0, 0, 0], [4.0, 4.0, 4.0]]), np.eye(3) * 8) for n in [103]], [0]
    )
    assert refused(far, Limits(volume_per_atom=(0, 1e9)))[0] == 0


def test_no_frames_no_verdicts(copper: list[Frame]) -> None:
    empty = trajectory(copper)
    none = np.zeros(0, dtype=np.int64)
    part = replace(empty, positions=empty.positions[none], cells=empty.cells[none], steps=none)
    assert refused(part, Limits()).tolist() == []


@pytest.mark.parametrize("pbc", [True, False])
def test_isolated_systems_have_no_cell_to_judge(copper: list[Frame], pbc: bool) -> None:
    crushed = replace(trajectory(copper), cells=np.zeros((6, 3, 3)), pbc=False)
    assert (refused(crushed, Limits()) == 0).all()
