"""Moments that ABACUS holds: its input, and what it has written for two iron atoms."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from lamflow.data import Frame, Labels
from lamflow.data.io import read_labeled
from lamflow.engines import abacus
from lamflow.engines.protocol import LabelFailure

OUTPUTS = Path(__file__).parents[3] / "shared" / "data" / "abacus-spin"
NICKEL_OXIDE = OUTPUTS.parent / "nio-spin"
recorded = pytest.mark.skipif(not OUTPUTS.is_dir(), reason=f"the outputs of ABACUS are not in {OUTPUTS}")


def settings(folder: Path, **deltaspin: object) -> abacus.Abacus:
    for name in ("Fe.upf", "O.upf"):
        (folder / name).touch()
    return abacus.Abacus.model_validate(
        {
            "engine": "abacus", "ecutwfc": 60, "kspacing": 0.5,
            "pseudopotentials": {name: folder / f"{name}.upf" for name in ("Fe", "O")},
            "deltaspin": {"elements": ["Fe"], **deltaspin}, "input": {"sccut": 5},
        }
    )  # fmt: skip


def oxide() -> Frame:
    positions = np.array([[0.0, 0, 0], [1.5, 1.5, 1.5], [1.5, 0, 0]])
    return Frame(
        np.array([26, 8, 26]), positions, 3 * np.eye(3), True, {"spin": [[1.0, 2, 3], [0, 0, 0.1], [0, 0, -2]]}
    )


def test_moments_are_held_where_the_frame_says(tmp_path: Path) -> None:
    import dpdata

    given = settings(tmp_path)
    files = abacus.AbacusLabeler(given).files(given, oxide())
    keys = dict(line.split(None, 1) for line in str(files["INPUT"]).splitlines()[1:])
    assert {name: keys[name] for name in ("nspin", "noncolin", "sc_mag_switch", "cal_stress", "sccut")} == {
        "nspin": "4", "noncolin": "1", "sc_mag_switch": "1", "cal_stress": "0", "sccut": "5",
    }  # fmt: skip
    (tmp_path / "STRU").write_text(str(files["STRU"]), encoding="utf-8")
    system = dpdata.System(str(tmp_path / "STRU"), fmt="abacus/stru")
    np.testing.assert_allclose(sorted(system["spins"][0].tolist()), [[0, 0, -2], [0, 0, 0], [1, 2, 3]], atol=1e-9)
    lines = [line.split() for line in str(files["STRU"]).splitlines() if " sc " in line]
    assert sorted(line[line.index("sc") + 1] for line in lines) == ["0", "1", "1"]


def test_moments_that_cannot_be_held_are_refused(tmp_path: Path) -> None:
    collinear, free = settings(tmp_path, collinear=True), settings(tmp_path)
    with pytest.raises(ValueError, match=r"holds moments along z, and one of the frame has 2 μB across it"):
        abacus.AbacusLabeler(collinear).files(collinear, oxide())
    with pytest.raises(
        ValueError, match="the moments of Fe are held, and the frame has none; give its structure set `spins`"
    ):
        abacus.AbacusLabeler(free).files(free, oxide().with_fields(spin=None))


@recorded
@pytest.mark.parametrize(("run", "collinear"), [("OUT.ABACUS", False), ("OUT.ABACUS-nspin2", True)])
def test_what_abacus_has_written(tmp_path: Path, run: str, collinear: bool) -> None:
    shutil.copytree(OUTPUTS / run, tmp_path / "OUT.ABACUS")
    for name in ("STRU", "INPUT.scf"):
        shutil.copyfile(OUTPUTS / name, tmp_path / name.removesuffix(".scf"))
    [given] = read_labeled(tmp_path, "abacus/scf")
    frame = given.frame.with_fields(spin=[[0, 0, 2.4], [0, 0, 2.4]])
    held = settings(tmp_path, collinear=collinear).deltaspin
    found = abacus.read_output(tmp_path, frame, held)
    assert isinstance(found, Labels), found
    assert found.force_mag is not None
    np.testing.assert_allclose(found.force_mag[:, 2], [-0.3669618965, -0.3669821632])
    assert found.virial is None
    plain = abacus.read_output(tmp_path, frame)
    assert isinstance(plain, Labels)
    assert plain.force_mag is None
    moved = abacus.read_output(tmp_path, frame.with_fields(spin=[[0, 0, 2.4], [0, 0, 2.0]]), held)
    assert isinstance(moved, LabelFailure)
    assert "the moments were not held: one is 0.4 μB from where it was to be" in moved.reason


@recorded
def test_a_whole_label_needs_no_stress(tmp_path: Path) -> None:
    """Through the program and the gate that every label passes; stresses are not computed with held moments."""
    program = tmp_path / "abacus"
    program.write_text(f"#!/bin/sh\ncp -r {OUTPUTS}/OUT.ABACUS OUT.ABACUS\ncp {OUTPUTS}/STRU STRU\n", encoding="utf-8")
    program.chmod(0o755)
    shutil.copytree(OUTPUTS / "OUT.ABACUS", tmp_path / "OUT.ABACUS")
    shutil.copyfile(OUTPUTS / "STRU", tmp_path / "STRU")
    shutil.copyfile(OUTPUTS / "INPUT.scf", tmp_path / "INPUT")
    [given] = read_labeled(tmp_path, "abacus/scf")
    frame = given.frame.with_fields(spin=[[0, 0, 2.4], [0, 0, 2.4]])
    held = settings(tmp_path).model_copy(update={"command": [str(program)]})
    [found] = abacus.AbacusLabeler(held).label([frame], tmp_path / "work")
    assert isinstance(found, Labels), found
    assert found.force_mag is not None
    assert found.virial is None


@pytest.mark.skipif(not NICKEL_OXIDE.is_dir(), reason=f"DeePMD-kit's NiO is not in {NICKEL_OXIDE}")
@pytest.mark.parametrize("part", ["data_0", "data_1", "data_2"])
def test_magnetic_forces_of_nickel_oxide_are_falls_of_its_energy(part: str) -> None:
    """DeltaSpin's labels of frames that are near each other once moments are turned together: the right sign. Energies
    change 1.4 times as much as the forces say."""
    folder = NICKEL_OXIDE / part / "set.000"
    energies, *others = (np.load(folder / f"{name}.npy") for name in ("energy", "spin", "force_mag", "coord", "force"))
    spins, fields, positions, forces = (values.reshape(len(energies), -1, 3) for values in others)
    pairs = []
    for one in range(len(spins)):
        for two in range(one):
            left, _, right = np.linalg.svd(spins[two].T @ spins[one])
            turn = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
            apart = spins[two] @ turn - spins[one]
            moved = ((forces[one] + forces[two]) / 2 * (positions[two] - positions[one])).sum()
            told = -((fields[one] + fields[two] @ turn) / 2 * apart).sum()
            pairs.append((np.linalg.norm(apart), float(energies[two] - energies[one]) + moved, told))
    _, changes, told = np.array(sorted(pairs)[:50]).T
    assert np.corrcoef(changes, told)[0, 1] > 0.99
    assert np.polyfit(told, changes, 1)[0] == pytest.approx(1.4, abs=0.05)
