from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.dataset import Format, Item, Origin, manifests, read_dataset, systems, write_dataset
from lamflow.errors import InputError


def items(rng: np.random.Generator) -> list[Item]:
    """Two compositions, an isolated molecule, and a frame without a virial."""
    made = []
    for number, (symbols, pbc, virial) in enumerate(
        [
            ("CuAlCu", True, True),
            ("AlCuCu", True, True),
            ("AlAl", True, True),
            ("AlAl", True, False),
            ("CuCu", False, False),
        ]
    ):
        atoms = Atoms(symbols, positions=rng.uniform(0, 5, (len(Atoms(symbols)), 3)), cell=np.eye(3) * 6, pbc=pbc)
        labels = Labels(
            float(rng.normal()), rng.normal(size=(len(atoms), 3)), rng.normal(size=(3, 3)) if virial else None
        )
        origin = Origin(iteration=2, source=f"task {number}", step=number, deviation=0.1 * number)
        made.append(Item(LabeledFrame(Frame.from_ase(atoms), labels), origin))
    return made


@pytest.mark.parametrize("format", ["deepmd/npy", "deepmd/npy/mixed"])
def test_what_is_written_is_read_back(tmp_path: Path, format: Format) -> None:
    given = items(np.random.default_rng(0))
    write_dataset(tmp_path / "000", given, ["Al", "Cu"], format)
    found = {item.origin.source: item for item in read_dataset(tmp_path / "000")}
    assert len(found) == len(given)
    for item in given:
        back, frame = found[item.origin.source], item.labeled.frame
        assert back.origin == item.origin
        order = np.argsort([{"Al": 0, "Cu": 1}[s] for s in frame.symbols], kind="stable")
        np.testing.assert_array_equal(back.labeled.frame.numbers, frame.numbers[order])
        np.testing.assert_array_equal(back.labeled.frame.positions, frame.positions[order])
        np.testing.assert_array_equal(back.labeled.labels.forces, item.labeled.labels.forces[order])
        assert back.labeled.labels.energy == item.labeled.labels.energy
        assert back.labeled.frame.pbc == frame.pbc
        assert (back.labeled.labels.virial is None) == (item.labeled.labels.virial is None)
        if item.labeled.labels.virial is not None:
            np.testing.assert_array_equal(back.labeled.labels.virial, item.labeled.labels.virial)


def test_a_frame_is_written_once(tmp_path: Path) -> None:
    given = items(np.random.default_rng(0))
    manifest = write_dataset(tmp_path / "000", [*given, given[0], given[2]], ["Al", "Cu"], "deepmd/npy")
    assert len(manifest.frames) == len({record.hash for record in manifest.frames}) == len(given) - 1 + 1


def test_the_manifest_says_where_each_frame_lies(tmp_path: Path) -> None:
    write_dataset(tmp_path / "000", items(np.random.default_rng(0)), ["Al", "Cu"], "deepmd/npy")
    [manifest] = manifests(tmp_path)
    for item, record in zip(read_dataset(tmp_path / "000"), manifest.frames, strict=True):
        assert item.labeled.frame.content_hash() == record.hash
        assert (tmp_path / "000" / record.system / "type.raw").is_file()
    assert len(systems(tmp_path)) == len({record.system for record in manifest.frames})


def test_a_foreign_element_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"task 0: Cu is not in elements \['Al'\]"):
        write_dataset(tmp_path / "000", items(np.random.default_rng(0)), ["Al"], "deepmd/npy")


def test_no_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no data: there is no type\.raw"):
        systems(tmp_path)
