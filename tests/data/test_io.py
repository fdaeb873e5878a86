from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.io import write

from lamflow.data import Frame, LabeledFrame
from lamflow.data.dataset import Item, Origin, write_dataset
from lamflow.data.io import read_labeled, read_structures, write_extxyz
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.errors import InputError


@pytest.fixture
def labeled(copper: list[Frame]) -> list[LabeledFrame]:
    labels = EmtEvaluator(Emt()).evaluate(copper)
    return [LabeledFrame(frame, label) for frame, label in zip(copper, labels, strict=True)]


def same(first: list[LabeledFrame], second: list[LabeledFrame]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one.frame.positions, other.frame.positions, atol=1e-6)
        np.testing.assert_allclose(one.labels.forces, other.labels.forces, atol=1e-6)
        assert one.labels.energy == pytest.approx(other.labels.energy, abs=1e-6)
        assert one.labels.virial is not None
        assert other.labels.virial is not None
        np.testing.assert_allclose(one.labels.virial, other.labels.virial, atol=1e-5)


def test_extxyz_and_back(labeled: list[LabeledFrame], tmp_path: Path) -> None:
    write_extxyz(tmp_path / "cu.extxyz", labeled)
    same(read_labeled(tmp_path / "cu.extxyz"), labeled)


def test_deepmd_folders(labeled: list[LabeledFrame], tmp_path: Path) -> None:
    origin = Origin(iteration=0, source="here")
    write_dataset(tmp_path / "set", [Item(item, origin) for item in labeled], ["Cu"], "deepmd/npy")
    same(read_labeled(tmp_path / "set"), labeled)


def test_an_ase_database(labeled: list[LabeledFrame], tmp_path: Path) -> None:
    write_extxyz(tmp_path / "cu.extxyz", labeled)
    from ase.io import read

    write(tmp_path / "cu.db", read(tmp_path / "cu.extxyz", ":"))
    same(read_labeled(tmp_path / "cu.db"), labeled)


def test_structures_of_any_format(copper: list[Frame], tmp_path: Path) -> None:
    write(tmp_path / "POSCAR", copper[0].to_ase())
    write(tmp_path / "cu.cif", copper[0].to_ase())
    for name in ("POSCAR", "cu.cif"):
        [frame] = read_structures(tmp_path / name)
        assert frame.natoms == 8
        assert abs(np.linalg.det(frame.cell)) == pytest.approx(abs(np.linalg.det(copper[0].cell)), rel=1e-4)
    [frame] = read_structures(tmp_path / "POSCAR", "vasp/poscar")
    assert frame.symbols == ["Cu"] * 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"\nCu 0 0 0\n', "no labels"),
        (
            '1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3 energy=nan pbc="T T T"\n'
            "Cu 0 0 0 0 0 0\n",
            "the energy is nan eV",
        ),
        ("not a structure at all\n", "cannot be read"),
        ("", "cannot be read|no labeled frame"),
    ],
)
def test_bad_labeled_data(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "bad.extxyz").write_text(text)
    with pytest.raises(InputError, match=expected) as caught:
        read_labeled(tmp_path / "bad.extxyz")
    assert "bad.extxyz" in str(caught.value)


def test_a_folder_without_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no deepmd/npy data below this folder"):
        read_labeled(tmp_path)


def test_mismatched_atoms_and_forces(labeled: list[LabeledFrame], tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", [Item(i, Origin(iteration=0, source="x")) for i in labeled], ["Cu"], "deepmd/npy")
    [force] = (tmp_path / "set").rglob("force.npy")
    np.save(force, np.load(force)[:, :-3])
    with pytest.raises(InputError, match="set"):
        read_labeled(tmp_path / "set")


def test_data_without_forces(labeled: list[LabeledFrame], tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", [Item(i, Origin(iteration=0, source="x")) for i in labeled], ["Cu"], "deepmd/npy")
    [force] = (tmp_path / "set").rglob("force.npy")
    force.unlink()
    with pytest.raises(InputError, match="has no forces; labeled data need both"):
        read_labeled(tmp_path / "set")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('0\nLattice="4 0 0 0 4 0 0 0 4" pbc="T T T"\n', "structure 0 has no atoms"),
        ('1\nLattice="4 0 0 0 4 0 0 0 4" pbc="T T T"\nCu nan 0 0\n', "structure 0 has coordinates .* not finite"),
        ('1\nLattice="4 0 0 0 4 0 0 0 4" pbc="T T F"\nCu 0 0 0\n', "periodic in some directions only"),
    ],
)
def test_structures_that_cannot_be_used(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "bad.extxyz").write_text(text)
    with pytest.raises(InputError, match=expected):
        read_structures(tmp_path / "bad.extxyz")


CIF = """data_x
_cell_length_a 3.8
_cell_length_b 3.8
_cell_length_c 3.8
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
_symmetry_Int_Tables_number 225
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        ("Cu1 Cu 0 0 0 0.5\nAu1 Au 0 0 0 0.5\n", r"Cu 0\.5, Au 0\.5"),
        ("Cu1 Cu 0 0 0 1.0\nNi1 Ni 0.5 0.5 0.5 0.3\n", r"Ni 0\.3"),
        ("Cu1 Cu 0 0 0 1.0\n", None),
    ],
)
def test_sites_that_are_occupied_in_part_are_refused(sites: str, said: str | None, tmp_path: Path) -> None:
    (tmp_path / "x.cif").write_text(CIF + sites)
    if said is None:
        assert [frame.natoms for frame in read_structures(tmp_path / "x.cif")] == [4]
        return
    with pytest.raises(InputError, match=rf"x\.cif: structure 0: a site is occupied in part \({said}\)"):
        read_structures(tmp_path / "x.cif")


@pytest.mark.parametrize("name", ["POSCAR", "cu.vasp"])
def test_a_poscar_without_elements_or_with_atoms_that_are_missing_is_refused(name: str, tmp_path: Path) -> None:
    text = "cell\n1.0\n3.6 0 0\n0 3.6 0\n0 0 3.6\n{}4\n{}Direct\n0 0 0\n.5 .5 0\n.5 0 .5\n{}"
    for symbols, selective, last, said in (
        ("", "", "0 .5 .5\n", "line 6: this POSCAR does not say which elements it has"),
        ("Cu\n", "", "", "4 atoms are announced in line 7, and 3 positions follow"),
        ("Cu\n", "Selective dynamics\n", "\n", "4 atoms are announced in line 7, and 3 positions follow"),
    ):
        (tmp_path / name).write_text(text.format(symbols, selective, last))
        with pytest.raises(InputError, match=said):
            read_structures(tmp_path / name)
    (tmp_path / name).write_text(text.format("Cu\n", "", "0 .5 .5\n"))
    assert read_structures(tmp_path / name)[0].natoms == 4
