"""Labeled data that a study begins with, through `check` and into the first training."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

import lamflow
from lamflow.cli.study import check, data_lines
from lamflow.config import load
from lamflow.config.schema import DataStudy
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.io import read_structures, write_extxyz
from lamflow.driver.contents import labeled_items
from lamflow.driver.inspection import inspect_inputs
from lamflow.driver.located import located
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.errors import InputError, StateError

TRAINING = """\
name: data
workflow: training
elements: [Cu, Al]
start: {data: [START]}
heldout: {HELDOUT}
train: {engine: pair, models: 2, functions: 8}
"""


def written(path: Path, frames: list[Frame]) -> list[LabeledFrame]:
    labels = EmtEvaluator(Emt()).evaluate(frames)
    items = [LabeledFrame(frame, label) for frame, label in zip(frames, labels, strict=True)]
    write_extxyz(path, items)
    return items


def rattled(symbol: str, count: int, seed: int) -> list[Frame]:
    from ase.build import bulk

    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = bulk(symbol, "fcc", a={"Cu": 3.6, "Al": 4.0}[symbol], cubic=True)
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
        frames.append(Frame.from_ase(atoms))
    return frames


def training(folder: Path, start: str, heldout: str) -> Path:
    file = folder / "study.yaml"
    file.write_text(TRAINING.replace("START", start).replace("{HELDOUT}", "{" + heldout + "}"))
    return file


def test_two_files_of_one_element_each_are_both_learned(tmp_path: Path) -> None:
    written(tmp_path / "cu.extxyz", rattled("Cu", 20, 1))
    written(tmp_path / "al.extxyz", rattled("Al", 20, 2))
    study = training(tmp_path, "cu.extxyz, al.extxyz", "fraction: 0.1")
    lamflow.Study.load(study).run(tmp_path / "run")
    held, trained = (labeled_items(located(str(tmp_path / "run")), role) for role in ("heldout", "train"))
    assert len(held) + len(trained) == 40
    assert 2 <= len(held) <= 6
    assert {symbol for item in trained for symbol in item.labeled.frame.symbols} == {"Cu", "Al"}
    numbers = sorted(item.origin.index for item in held)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "a block of neighbours"


def test_a_long_file_is_held_out_in_blocks(tmp_path: Path) -> None:
    written(tmp_path / "cu.extxyz", rattled("Cu", 40, 1))
    given = inspect_inputs(load(training(tmp_path, "cu.extxyz", "fraction: 0.2"), DataStudy)).summary
    assert [source.frames for source in given.sources] == [40]


def test_repeats_and_conflicts_are_said_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = written(tmp_path / "cu.extxyz", rattled("Cu", 24, 1))
    first = items[0]
    other = LabeledFrame(first.frame, Labels(first.labels.energy + 2.0, first.labels.forces, first.labels.virial))
    write_extxyz(tmp_path / "cu.extxyz", [*items, other, items[1]])
    study = training(tmp_path, "cu.extxyz", "fraction: 0.2")
    check(study)
    out = capsys.readouterr().out
    assert "start.data: 2 frames repeat the structure of another" in out
    assert "cu.extxyz#24 that of" in out
    assert "1 of them have another energy, by up to 2 eV" in out
    result = lamflow.Study.load(study).run(tmp_path / "run")
    assert len(result.frames("train")) + len(result.frames("heldout")) == 24
    assert result.records[0].merged is not None
    assert result.records[0].merged.duplicates == 2


def test_check_shows_what_it_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    items = written(tmp_path / "cu.extxyz", rattled("Cu", 24, 1))
    written(tmp_path / "held.extxyz", rattled("Cu", 3, 2))
    study = training(tmp_path, "cu.extxyz", "data: [held.extxyz]")
    check(study)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "cu.extxyz: 24 frames; Cu4; 4 atoms"
    assert lines[2] == "held.extxyz: 3 frames, held out; Cu4; 4 atoms"
    low, high = (f(item.labels.energy / 4 for item in items) for f in (min, max))
    assert lines[1].startswith(f"  energy {low:.4f} to {high:.4f} eV/atom; forces up to ")
    assert "GPa; atoms 2." in lines[1]


def test_labels_by_other_names(tmp_path: Path) -> None:
    file = tmp_path / "cu.extxyz"
    written(file, rattled("Cu", 24, 1))
    text = file.read_text().replace("energy=", "REF_energy=").replace(":forces:R:3", ":REF_forces:R:3")
    file.write_text(text)
    study = training(tmp_path, "cu.extxyz", "fraction: 0.2")
    with pytest.raises(InputError, match=r"say keys: \{energy: REF_energy, forces: REF_forces\}"):
        check(study)
    mapped = "{data: [cu.extxyz], keys: {energy: REF_energy, forces: REF_forces}}"
    study.write_text(study.read_text().replace("{data: [cu.extxyz]}", mapped))
    assert [source.frames for source in inspect_inputs(load(study, DataStudy)).summary.sources] == [24]
    study.write_text(study.read_text().replace("forces: REF", "force: REF"))
    with pytest.raises(InputError, match="keys"):
        load(study, DataStudy)


def test_models_that_learn_no_electronic_temperature(tmp_path: Path) -> None:
    hot = [frame.with_fields(electronic_temperature=9000.0) for frame in rattled("Cu", 24, 1)]
    written(tmp_path / "cu.extxyz", hot)
    with pytest.raises(
        InputError, match=r"frame 0 has an electronic temperature \(9000 K\).*train.electronic_temperature"
    ):
        check(training(tmp_path, "cu.extxyz", "fraction: 0.2"))


def test_what_is_labeled_to_train_is_not_held_out(study: Path) -> None:
    study.write_text(
        study.read_text(encoding="utf-8").replace("heldout: {fraction: 0.2}", "heldout: {label: [rattled]}"),
        encoding="utf-8",
    )
    with pytest.raises(InputError, match=r"start\.label and heldout\.label share rattled"):
        check(study)


def test_sets_that_build_the_same_structures(study: Path, tmp_path: Path) -> None:
    again = "  - {name: again, crystal: {formula: Cu, lattice: fcc, a: 3.6, cubic: true}, supercell: [2, 2, 1]}\nstart:"
    text = study.read_text(encoding="utf-8").replace("start:", again, 1)
    study.write_text(
        text.replace("label: [rattled]", "label: [again]").replace("{fraction: 0.2}", "{label: [crystal]}"),
        encoding="utf-8",
    )
    with pytest.raises(InputError, match="start and heldout share 1 structures"):
        lamflow.Study.load(study).run(tmp_path / "run")


def test_steps_that_did_not_converge_are_shown(tmp_path: Path) -> None:
    from tests.data.test_gate import outcar

    (tmp_path / "OUTCAR").write_text(outcar("6.3.0", [(5, True), (10, False), (4, True)]))
    written(tmp_path / "held.extxyz", rattled("Cu", 3, 2))
    inspection = inspect_inputs(load(training(tmp_path, "OUTCAR", "data: [held.extxyz]"), DataStudy))
    assert data_lines(inspection.summary)[0].endswith("OUTCAR: 2 frames (1 left out); Cu2; 2 atoms")
    assert any("1 of 3 steps are left out" in warning for warning in inspection.warnings)


class TestStructures:
    def test_a_poscar_without_symbols_is_no_hydrogen(self, tmp_path: Path) -> None:
        (tmp_path / "POSCAR").write_text("slab\n1.0\n4 0 0\n0 4 0\n0 0 4\n2 2\nDirect\n" + "0 0 0\n" * 4)
        with pytest.raises(InputError, match="line 6: this POSCAR does not say which elements it has"):
            read_structures(tmp_path / "POSCAR")

    def test_deuterium_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "POSCAR").write_text("slab\n1.0\n4 0 0\n0 4 0\n0 0 4\nD O\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n")
        with pytest.raises(InputError, match="'D' is not a chemical symbol"):
            read_structures(tmp_path / "POSCAR")

    def test_types_of_lammps_are_the_elements_of_the_study(self, tmp_path: Path) -> None:
        atoms = Atoms("AlCu", positions=[[0, 0, 0], [2, 2, 2]], cell=np.eye(3) * 4, pbc=True)
        write(tmp_path / "conf.lmp", atoms, format="lammps-data", specorder=["Al", "Cu"])
        with pytest.raises(InputError, match="'Type_0' is not a chemical symbol"):
            read_structures(tmp_path / "conf.lmp", "lammps/lmp")
        [frame] = read_structures(tmp_path / "conf.lmp", "lammps/lmp", ["Al", "Cu"])
        assert frame.symbols == ["Al", "Cu"]
        with pytest.raises(InputError, match=r"it has 2 types of atoms, and the elements are \['Al'\]"):
            read_structures(tmp_path / "conf.lmp", "lammps/lmp", ["Al"])


@pytest.mark.parametrize("fault", ["gone", "edited"])
def test_a_run_does_not_go_on_with_other_data(study: Path, tmp_path: Path, fault: str) -> None:
    lamflow.Study.load(study).run(tmp_path / "run")
    folder = tmp_path / "run" / "data" / "train" / "000"
    if fault == "gone":
        shutil.rmtree(folder)
    else:
        file = next(folder.rglob("energy.npy"))
        np.save(file, np.load(file) * 1.1)
    study.write_text(study.read_text(encoding="utf-8").replace("iterations: 2", "iterations: 3"), encoding="utf-8")
    with pytest.raises(StateError, match="put it back as it was"):
        lamflow.Study.load(study).run(tmp_path / "run")
