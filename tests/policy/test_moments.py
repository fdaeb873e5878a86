from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from lamflow.config.structures import StructureSet
from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.policy.structures import build_crystal, make_copies

IRON = {"formula": "Fe", "lattice": "bcc", "a": 2.86, "cubic": True}


def made(spins: dict[str, object], **others: object) -> list[Frame]:
    settings = StructureSet.model_validate(
        {"name": "iron", "crystal": IRON, "supercell": [2, 2, 2], "spins": spins, **others}
    )
    assert settings.crystal is not None
    return make_copies([build_crystal(settings.crystal)], settings, seed=3)


def moments(frame: Frame) -> Floats:
    assert frame.spins is not None
    return frame.spins


def test_orders_are_those_of_a_magnet() -> None:
    orders = ["ferromagnetic", "antiferromagnetic", "spiral", "disordered"]
    up, alternating, spiral, random = made({"moments": {"Fe": 2.2}, "orders": orders})
    np.testing.assert_allclose(moments(up), np.tile([0, 0, 2.2], (16, 1)))
    corner = np.isclose(np.round(alternating.positions / 1.43) % 2, 0).all(axis=1)
    np.testing.assert_allclose(moments(alternating)[:, 2], np.where(corner, 2.2, -2.2))
    np.testing.assert_allclose(np.linalg.norm(moments(random), axis=1), 2.2)
    assert np.linalg.norm(moments(random).mean(axis=0)) < 1.5
    np.testing.assert_allclose(moments(spiral)[:, 2], 0, atol=1e-12)
    [long] = made({"moments": {"Fe": 2.0}, "orders": ["spiral"], "wave_vector": [0.5, 0, 0]})
    heights = np.round(long.positions[:, 0] / 1.43).astype(int)
    for height in range(3):  # a quarter of a turn from a corner to the centre of a cell
        one, other = (moments(long)[heights == height + shift][0] for shift in (0, 1))
        assert abs(one @ other) < 1e-9


def test_tilts_and_lengths_are_drawn_for_each_copy() -> None:
    one, other = made({"moments": {"Fe": 2.0}, "tilt": 10, "spread": 0.1}, copies=2)
    assert not np.allclose(moments(one), moments(other))
    lengths = np.linalg.norm([moments(one), moments(other)], axis=-1)
    assert 0.1 < lengths.std() < 0.3
    angles = np.degrees(np.arccos(moments(one)[:, 2] / lengths[0]))
    assert 6 < angles.mean() < 20
    [again, _] = made({"moments": {"Fe": 2.0}, "tilt": 10, "spread": 0.1}, copies=2)
    np.testing.assert_array_equal(moments(one), moments(again))


def test_atoms_that_go_and_come_take_their_moments_along() -> None:
    [frame] = made(
        {"moments": {"Fe": 2.2}, "orders": ["antiferromagnetic"]}, vacancies=3, interstitials={"O": 1}, rattle=0.01
    )
    assert frame.natoms == 14
    lengths = np.linalg.norm(moments(frame), axis=1)
    np.testing.assert_allclose(lengths, np.where(frame.numbers == 26, 2.2, 0.0))


def test_moments_do_not_change_where_atoms_are() -> None:
    plain = StructureSet.model_validate({"name": "iron", "crystal": IRON, "supercell": [2, 2, 2], "rattle": 0.1})
    assert plain.crystal is not None
    [frame] = make_copies([build_crystal(plain.crystal)], plain, seed=3)
    assert frame.spins is None


def test_directions_that_files_do_not_have_are_asked_for() -> None:
    with pytest.raises(ValueError, match=r"spins.orders: given: the file has no moments"):
        made({"moments": {"Fe": 2.2}, "orders": ["given"]})
    cases: list[tuple[dict[str, object], str]] = [
        ({"moments": {"Fe": 2.2}, "axis": [0, 0, 0]}, r"axis: \[0, 0, 0\] is no direction"),
        ({"moments": {"Fe": 2.2}, "orders": ["spiral", "spiral"]}, "every order once"),
        ({"moments": {"Fe": 220}}, "20"),
        ({"moments": {}}, "at least 1"),
    ]
    for spins, expected in cases:
        with pytest.raises(ValidationError, match=expected):
            made(spins)
