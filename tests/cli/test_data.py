"""`lamflow data` and `lamflow quarantine` on real files."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from typer.testing import CliRunner

from lamflow.cli import data
from lamflow.cli.app import app
from lamflow.data.sources import Dialect, source_frames
from lamflow.errors import InputError
from tests.conftest import ROOT

pytest.importorskip("vesin", reason="cleaning needs vesin: pip install 'lamflow[cleaning]'")
FIRST = str(ROOT / "workflows" / "cleaning" / "first.extxyz")
SECOND = str(ROOT / "workflows" / "cleaning" / "second.extxyz")


def lamflow(*words: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, words)
    if isinstance(done.exception, InputError):
        raise done.exception
    assert done.exit_code == status, done.output
    return done.output


def test_data_are_shown_checked_converted_compared_and_split(tmp_path: Path) -> None:
    shown = json.loads(lamflow("data", "show", FIRST, "--json"))
    assert (shown["frames"], shown["compositions"]) == (107, 8)
    assert "Au" in lamflow("data", "show", FIRST)
    checked = json.loads(lamflow("data", "check", FIRST, "--json", status=1))
    assert {row["frame"].split("#")[1] for row in checked["bad"]} == {"4", "11", "59", "96"}
    assert checked["found"]["duplicate"] == 2
    lamflow("data", "convert", FIRST, "--to", str(tmp_path / "npy"))
    assert "in both" in lamflow("data", "diff", FIRST, str(tmp_path / "npy"))
    lamflow("data", "merge", FIRST, SECOND, "--to", str(tmp_path / "all.extxyz"))
    assert "212" in lamflow("data", "show", str(tmp_path / "all.extxyz"))
    different = json.loads(lamflow("data", "diff", FIRST, str(tmp_path / "all.extxyz"), "--json", status=1))
    assert different["only in the second"] == 105
    said = lamflow("data", "split", FIRST, "--to", str(tmp_path / "two"), "--heldout", "0.2")
    assert "heldout" in said
    parts = [
        json.loads(lamflow("data", "show", str(tmp_path / "two" / part), "--json")) for part in ("train", "heldout")
    ]
    assert sum(part["frames"] for part in parts) == 107


def test_ranges_are_the_same_whatever_is_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = json.loads(lamflow("data", "show", FIRST, SECOND, "--json"))
    for atoms in (1, 100):
        monkeypatch.setattr(data, "AT_ONCE", atoms)
        assert json.loads(lamflow("data", "show", FIRST, SECOND, "--json")) == shown


def sheared(count: int, energy: float = 0.0, stress: float = 1.0) -> list[Atoms]:
    """Frames of copper with labels of EMT, energies and stresses changed."""
    frames = []
    for number in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=number)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy() + energy, "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **results, stress=stress * atoms.get_stress())
        frames.append(atoms)
    return frames


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (sheared(4), set()),
        (sheared(4, stress=-1), {"largest difference of virials (eV/atom)"}),
        (sheared(4, energy=10), {"largest difference of energies (eV/atom)"}),
        (sheared(4) + sheared(2), {"only in the second"}),
        (sheared(4) + sheared(1, energy=10), {"only in the second"}),
        (sheared(3), {"only in the first"}),
    ],
)
def test_what_differs_between_two_sets_is_said(tmp_path: Path, other: list[Atoms], differs: set[str]) -> None:
    for name, frames in (("first", sheared(4)), ("second", other)):
        write(tmp_path / f"{name}.extxyz", frames)
    words = ("data", "diff", str(tmp_path / "first.extxyz"), str(tmp_path / "second.extxyz"), "--json")
    rows = json.loads(lamflow(*words, status=1 if differs else 0))
    assert {name for name, value in rows.items() if value > 1e-5 and name != "in both"} == differs


def test_labels_that_one_set_lacks_and_frames_that_are_none_are_differences(tmp_path: Path) -> None:
    write(tmp_path / "first.extxyz", sheared(2))
    bare, broken = sheared(1), sheared(2)
    bare[0].calc.results.pop("stress")
    broken[1].calc.results["forces"][0, 0] = np.nan
    for second, row in ((bare + sheared(2)[1:], "virial in one of both only"), (broken, "unreadable in the second")):
        write(tmp_path / "second.extxyz", second)
        words = ("data", "diff", str(tmp_path / "first.extxyz"), str(tmp_path / "second.extxyz"), "--json")
        assert json.loads(lamflow(*words, status=1))[row] == 1


def test_frames_after_an_empty_line_are_not_lost_in_silence(tmp_path: Path) -> None:
    write(tmp_path / "whole.extxyz", sheared(4))
    lines = (tmp_path / "whole.extxyz").read_text().splitlines()
    (tmp_path / "blank.extxyz").write_text("\n".join([*lines[:6], "", *lines[6:]]) + "\n\n")
    assert "line 7 is empty" in lamflow("data", "show", str(tmp_path / "blank.extxyz"))
    with pytest.raises(InputError, match="nothing is read after frame 0: line 7 is empty"):
        lamflow("data", "convert", str(tmp_path / "blank.extxyz"), "--to", str(tmp_path / "b.lmdb"))
    (tmp_path / "whole.extxyz").write_text("\n".join(lines) + "\n\n\n")
    assert json.loads(lamflow("data", "show", str(tmp_path / "whole.extxyz"), "--json"))["unreadable"] == 0


@pytest.mark.parametrize("to", ["all.extxyz", "all.parquet", "all.lmdb", "all"])
def test_a_merged_set_keeps_methods_and_trajectories_and_says_that_there_are_two(tmp_path: Path, to: str) -> None:
    """Names that ASE would take for numbers, too; frames without a trajectory are of their file."""
    expected = []
    for file, method in (("A", "PBE"), ("B", "r²SCAN+U")):
        frames = sheared(4)
        for number, atoms in enumerate(frames[:3]):
            atoms.info |= {"mp_id": ("mp-1", '_JSON "007"', "mp-1")[number], "method": method}
            expected.append(("mp-1", "007", "mp-1")[number] + method)
        frames[3].info["method"] = method
        expected.append(f"{tmp_path}/{file}.extxyz{method}")
        write(tmp_path / f"{file}.extxyz", frames)
    files = [str(tmp_path / f"{file}.extxyz") for file in "AB"]
    said = lamflow("data", "merge", *files, "--to", str(tmp_path / to))
    assert "2 methods in one set, frames of each: PBE 4, r²SCAN+U 4; their energies do not compare" in said
    back = list(source_frames(tmp_path / to, Dialect()))
    assert [frame.trajectory + frame.method for frame in back] == expected
    lamflow("data", "convert", str(tmp_path / to), "--to", str(tmp_path / "again.extxyz"))
    again = source_frames(tmp_path / "again.extxyz", Dialect())
    assert [frame.trajectory + frame.method for frame in again] == expected
    shown = json.loads(lamflow("data", "show", str(tmp_path / "again.extxyz"), "--json"))
    assert shown["methods"] == {"PBE": 4, "r²SCAN+U": 4}
    assert "methods" not in lamflow("data", "convert", files[0], "--to", str(tmp_path / "one.extxyz"))


@pytest.mark.parametrize("to", ["all.extxyz", "all.parquet", "all.lmdb", "all"])
@pytest.mark.parametrize("complete", [True, False])
def test_charges_and_multiplicities_stay_with_their_frames(tmp_path: Path, to: str, complete: bool) -> None:
    """Under DeePMD-kit's own name where all frames say both; models do not see them, which is said."""
    frames, expected = sheared(3), [(0.0, 1.0), (1.0, 2.0), (-1.0, 2.0) if complete else (None, None)]
    for atoms, (charge, multiplicity) in zip(frames, expected, strict=True):
        if charge is not None:
            atoms.info |= {"total_charge": charge, "spin_multiplicity": multiplicity}
    write(tmp_path / "in.extxyz", frames)
    said = lamflow("data", "convert", str(tmp_path / "in.extxyz"), "--to", str(tmp_path / to))
    assert "total_charge is nothing that models see" in said
    back = list(source_frames(tmp_path / to, Dialect()))
    assert [tuple(frame.state) for frame in back] == expected
    assert any(line.startswith("charge is nothing") for line in back[1].unread)
    if to == "all":
        found = [np.load(file).tolist() for file in (tmp_path / to).rglob("charge_spin.npy")]
        assert found == ([[[0, 1], [1, 2], [-1, 2]]] if complete else [])


def test_like_structures_are_on_one_side_of_a_split(tmp_path: Path) -> None:
    write(tmp_path / "all.extxyz", [atoms for _ in range(10) for atoms in sheared(4)])
    lamflow("data", "split", str(tmp_path / "all.extxyz"), "--to", str(tmp_path / "two"), "--heldout", "0.2")
    parts = [source_frames(tmp_path / "two" / part, Dialect()) for part in ("train", "heldout")]
    train, held = ([one.labeled.frame.content_hash() for one in part if one.labeled is not None] for part in parts)
    assert len(train) + len(held) == 40
    assert set(train).isdisjoint(held)


def test_what_a_set_of_one_format_has_another_one_has_or_refuses(tmp_path: Path) -> None:
    frames = sheared(4)
    write(tmp_path / "a.db", frames)
    lamflow("data", "convert", str(tmp_path / "a.db"), "--to", str(tmp_path / "a.extxyz"))
    rows = json.loads(lamflow("data", "diff", str(tmp_path / "a.db"), str(tmp_path / "a.extxyz"), "--json"))
    assert rows["largest difference of forces (eV/Å)"] == 0
    again = read(tmp_path / "a.extxyz", ":")
    assert all((one.positions == other.positions).all() for one, other in zip(frames, again, strict=True))
    for atoms in frames:
        atoms.set_array("spin", np.ones((4, 3)))
    write(tmp_path / "spin.extxyz", frames)
    with pytest.raises(InputError, match=r"parquet has no column for spin; write extxyz, LMDB or npy"):
        lamflow("data", "convert", str(tmp_path / "spin.extxyz"), "--to", str(tmp_path / "x.parquet"))


def test_two_sets_of_labels_in_one_file_are_not_mixed(tmp_path: Path) -> None:
    frames = sheared(2)
    for atoms in frames:
        atoms.info["REF_energy"] = atoms.calc.results["energy"]
        atoms.set_array("REF_forces", atoms.calc.results["forces"])
    write(tmp_path / "same.extxyz", frames)
    assert json.loads(lamflow("data", "show", str(tmp_path / "same.extxyz"), "--json"))["frames"] == 2
    frames[0].info["REF_energy"] += 1
    write(tmp_path / "other.extxyz", frames)
    with pytest.raises(InputError, match=r"energy and REF_energy may both be its energy; say keys"):
        lamflow("data", "show", str(tmp_path / "other.extxyz"))


@pytest.mark.parametrize("name", ["x.extxyz", "x.lmdb", "x.parquet", "x"])
def test_a_disk_without_room_leaves_nothing_under_the_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("data", "convert", FIRST, "--to", str(tmp_path / "out" / name))
    monkeypatch.setattr("lamflow.cli.data.disk_usage", lambda _: shutil._ntuple_diskusage(100_000, 80_000, 20_000))
    with pytest.raises(InputError, match=r"MB are to be written, and 0\.02 MB are free there"):
        lamflow(*words)
    monkeypatch.undo()

    def full(path: Path, *_: object) -> None:
        path.mkdir(parents=True)
        raise OSError(errno.ENOSPC, "No space left on device")

    for writer in ("write_xyz", "write_lmdb", "write_parquet", "write_mixed"):
        monkeypatch.setattr(f"lamflow.cli.data.{writer}", full)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        lamflow(*words)
    assert list((tmp_path / "out").iterdir()) == []


def test_bad_input_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.extxyz: no such file"):
        lamflow("data", "show", str(tmp_path / "none.extxyz"))
    (tmp_path / "out.extxyz").touch()
    with pytest.raises(InputError, match="exists already; give another path"):
        lamflow("data", "convert", FIRST, "--to", str(tmp_path / "out.extxyz"))
    with pytest.raises(InputError, match=r"out\.json: nothing is written as \.json; \.extxyz"):
        lamflow("data", "convert", FIRST, "--to", str(tmp_path / "out.json"))
    with pytest.raises(InputError, match=r"out\.extxyz: "):
        lamflow("data", "check", str(tmp_path / "out.extxyz"))
