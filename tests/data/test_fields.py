"""The table of fields, and that nothing that was stored before it has changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule

from lamflow.data import Frame, LabeledFrame, Labels, fields
from lamflow.data.cache import Folder, LabelCache
from lamflow.data.dataset import Format, Item, Origin, read_dataset, write_dataset
from lamflow.data.fields import Field
from lamflow.data.io import read_labeled, write_extxyz
from lamflow.data.packed import PackedFrames
from lamflow.data.problems import voigt

HOT = {"electronic_temperature": 2000.0}
CHARGE = Field("charge", "frame", "frame", (), "e", deepmd="charge", dpdata="charge", ase="charge", hashed=True,
               hash_name="charge", default=0.0)  # fmt: skip


@pytest.fixture
def more_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of the table that lamflow itself does not have."""
    monkeypatch.setattr(fields, "TABLE", (*fields.TABLE, CHARGE))


def magnetic(rng: np.random.Generator, charge: float = 1.0) -> LabeledFrame:
    """A frame of four atoms, elements mixed, with values in all rows."""
    spin, forces, torque = (rng.normal(size=(4, 3)) for _ in range(3))
    virial = rng.normal(size=(3, 3))
    values = {"spin": spin, "charge": charge}
    frame = Frame(np.array([29, 13, 29, 13]), rng.uniform(0, 1, (4, 3)) + np.eye(4, 3) * 3, np.eye(3) * 8, True, values)
    return LabeledFrame(frame, Labels(-1.5, forces, virial + virial.T, others={"force_mag": torque}))


def same(one: LabeledFrame, other: LabeledFrame) -> None:
    order, back = (np.argsort(item.frame.numbers, kind="stable") for item in (one, other))
    for first, second in (
        (one.frame.reordered(order).fields, other.frame.reordered(back).fields),
        (one.labels.reordered(order).fields, other.labels.reordered(back).fields),
    ):
        assert set(first) == set(second)
        for name in first:
            np.testing.assert_allclose(first[name], second[name], atol=1e-7)


@pytest.mark.parametrize(
    ("pbc", "values", "expected"),
    [
        (True, {}, "f56d9e7954c4bf8c75e7679870c9875f"),
        (False, {}, "690917464703abb195d13bc428b8bb93"),
        (True, {"electronic_temperature": 5000.0}, "07845663d582f0819b040e3258cb9a45"),
        (True, {"electronic_temperature": 0.5}, "3d54fba38ea56d3669b92811942664f8"),
    ],
)
def test_content_hashes_are_those_of_earlier_versions(pbc: bool, values: dict[str, float], expected: str) -> None:
    rng = np.random.default_rng(7)
    frame = Frame(
        np.array([29, 13, 29, 8]), np.round(rng.uniform(-4, 4, (4, 3)), 4), np.diag([4.0, 5.0, 6.0]) + 0.25, pbc, values
    )
    assert frame.content_hash() == expected


def test_hashes_of_crystals_and_molecules_are_those_of_earlier_versions() -> None:
    assert Frame.from_ase(bulk("Cu", cubic=True)).content_hash() == "02459052adbe7d5b31a9d487e61ca091"
    assert Frame.from_ase(molecule("H2O")).content_hash() == "613164b628c3397dd72058c7e747aaf9"


def stored_before() -> list[Item]:
    """Frames of every kind that data sets keep apart."""
    rng, items = np.random.default_rng(11), []
    for number in range(8):
        virial = rng.normal(size=(3, 3))
        numbers = np.array([29, 13, 29] if number % 2 else [13, 29, 29])
        positions = np.round(rng.uniform(0, 5, (3, 3)), 5)
        frame = Frame(numbers, positions, 5.0 * np.eye(3), number != 4, HOT if number in (5, 6) else {})
        energy, forces = float(rng.normal()), rng.normal(size=(3, 3))
        labels = Labels(energy, forces, None if number in (3, 4) else virial + virial.T)
        items.append(Item(LabeledFrame(frame, labels), Origin(iteration=0, source=f"f#{number}")))
    return items


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("deepmd/npy", "0f1200223ee39c8aaee85442cc9ae4e60003bab0ced2b5fb452e27d9892cfe52"),
        ("deepmd/npy/mixed", "9bb1bb785d3926f4ad0062d6d2a843858e26f1104571efdb956cc3524cdc8171"),
    ],
)
def test_data_sets_are_the_files_of_earlier_versions(tmp_path: Path, format: Format, expected: str) -> None:
    write_dataset(tmp_path / "s", stored_before(), ["Al", "Cu"], format)
    digest = hashlib.sha256()
    for file in sorted((tmp_path / "s").rglob("*")):
        if file.is_file() and file.name != "manifest.json":
            digest.update(str(file.relative_to(tmp_path / "s")).encode() + file.read_bytes())
    assert digest.hexdigest() == expected


def test_packed_frames_are_the_arrays_of_earlier_versions() -> None:
    digest = hashlib.sha256()
    for name, array in PackedFrames.of([item.labeled.frame for item in stored_before()]).arrays().items():
        digest.update(name.encode() + str(array.dtype).encode() + str(array.shape).encode() + array.tobytes())
    assert digest.hexdigest() == "db31e4b3b0280df5d91e2a0bb4fb709833746e62b0109c1b02d10df904b24224"


@pytest.mark.usefixtures("more_rows")
class TestNewRows:
    def test_packing(self) -> None:
        rng = np.random.default_rng(1)
        frames = [magnetic(rng).frame, Frame(np.array([29]), np.zeros((1, 3)), np.eye(3)), magnetic(rng, 0.0).frame]
        back = list(PackedFrames.of(frames))
        assert [sorted(frame.fields) for frame in back] == [["charge", "spin"], [], ["spin"]]
        assert [frame.content_hash() for frame in back] == [frame.content_hash() for frame in frames]

    def test_the_content_hash(self) -> None:
        frame = magnetic(np.random.default_rng(1)).frame
        others = [
            frame.with_fields(charge=2),
            frame.with_fields(charge=None),
            frame.with_fields(spin=-frame.fields["spin"]),
        ]
        assert len({other.content_hash() for other in [frame, *others]}) == 4
        assert frame.with_fields(charge=0).content_hash() == others[1].content_hash(), "the default is no value"
        order = np.array([1, 3, 0, 2])
        assert frame.reordered(order).content_hash() == frame.content_hash()

    @pytest.mark.parametrize("format", ["deepmd/npy", "deepmd/npy/mixed"])
    def test_deepmd(self, tmp_path: Path, format: Format) -> None:
        rng = np.random.default_rng(1)
        given = [magnetic(rng), magnetic(rng), *[item.labeled for item in stored_before()]]
        items = [Item(item, Origin(iteration=0, source=f"x#{n}")) for n, item in enumerate(given)]
        write_dataset(tmp_path / "s", items, ["Cu", "Al"], format)
        back = {item.origin.source: item.labeled for item in read_dataset(tmp_path / "s")}
        for item in items:
            same(item.labeled, back[item.origin.source])
        assert len(list(tmp_path.rglob("force_mag.npy"))) == 1

    def test_extended_xyz(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)
        given = [magnetic(rng), magnetic(rng)]
        write_extxyz(tmp_path / "x.extxyz", given)
        for one, other in zip(given, read_labeled(tmp_path / "x.extxyz"), strict=True):
            same(one, other)

    def test_ase(self) -> None:
        frame = magnetic(np.random.default_rng(1)).frame
        assert Frame.from_ase(frame.to_ase()).content_hash() == frame.content_hash()

    def test_dpdata(self) -> None:
        import dpdata

        from lamflow.data.io import _labeled_frame_of

        given = magnetic(np.random.default_rng(1))
        order = np.argsort(given.frame.numbers, kind="stable")
        frame, labels = given.frame.reordered(order), given.labels.reordered(order)
        system = dpdata.LabeledSystem(data={
            "atom_names": ["Al", "Cu"], "atom_numbs": [2, 2], "atom_types": np.array([0, 0, 1, 1]), "orig": np.zeros(3),
            "cells": frame.cell[None], "coords": frame.positions[None], "energies": np.array([labels.energy]),
            "forces": labels.forces[None], "virials": labels.fields["virial"][None],
        })  # fmt: skip
        system.data.update(spins=frame.fields["spin"][None], charge=np.ones((1, 1)),
                           force_mags=labels.fields["force_mag"][None])  # fmt: skip
        same(given, _labeled_frame_of(system, 0, Path("x")))

    def test_the_label_cache(self, tmp_path: Path) -> None:
        given = magnetic(np.random.default_rng(1))
        cache = LabelCache(Folder(tmp_path))
        cache.put("s", given.frame, given.labels, {})
        order = np.array([1, 3, 0, 2])
        found = cache.get("s", given.frame.reordered(order))
        assert found is not None
        same(LabeledFrame(given.frame.reordered(order), given.labels.reordered(order)),
             LabeledFrame(given.frame.reordered(order), found))  # fmt: skip


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"twist": 1.0}, "there is no field 'twist'"),
        ({"spin": [1.0, 2.0]}, r"spin has shape \(2,\) where \(1, 3\)"),
        ({"energy": 1.0}, "energy is a field of labels"),
        ({"electronic_temperature": [1.0, 2.0]}, r"electronic_temperature has shape \(2,\)"),
        ({"electronic_temperature": True}, "values of type bool"),
        ({"electronic_temperature": 1j}, "values of type complex128"),
    ],
)
def test_a_field_is_one_of_the_table(values: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Frame(np.array([29]), np.zeros((1, 3)), np.eye(3), fields=values)


def test_stress_and_virial_have_other_signs() -> None:
    stress = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    labels = Labels.from_stress(0.0, np.zeros((1, 3)), stress, volume=2.0)
    np.testing.assert_array_equal(labels.virial, -2 * np.array([[1, 6, 5], [6, 2, 4], [5, 4, 3]]))
    back = labels.stress(2.0)
    assert back is not None
    np.testing.assert_array_equal(voigt(back), stress)
    assert Labels.from_stress(0.0, np.zeros((1, 3)), None, volume=2.0).virial is None


def test_the_volume_of_a_frame() -> None:
    assert Frame(np.array([29]), np.zeros((1, 3)), np.diag([1.0, 2.0, -3.0])).volume == pytest.approx(6.0)
