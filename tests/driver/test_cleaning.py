"""Cleaning from files to data sets, as a run."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml
from ase.io import read, write

from lamflow.config import load, parse
from lamflow.config.cleaning import CleaningStudy
from lamflow.data.cleaning import Card, Cleaning
from lamflow.data.dataset import read_dataset
from lamflow.data.frames import LabeledFrame
from lamflow.data.graph import Graph
from lamflow.data.sources import source_frames
from lamflow.data.sources.dialect import Dialect
from lamflow.data.steps import steps_of
from lamflow.driver.listener import Listener
from lamflow.driver.loop import resume, run
from lamflow.driver.rundir import RunDirectory
from lamflow.driver.survey import refuse_damage
from lamflow.errors import EngineError, InputError
from lamflow.flow.kinds import kind_of
from lamflow.superops.sources import inspect
from tests.conftest import ROOT

pytest.importorskip("vesin", reason="cleaning needs vesin: pip install 'lamflow[cleaning]'")
FOLDER = ROOT / "workflows" / "cleaning"


def cleaned(study: CleaningStudy, path: Path) -> Cleaning:
    run(study, path)
    last = RunDirectory(path).iterations()[-1]
    assert isinstance(last, Cleaning)
    return last


@pytest.mark.slow
def test_broken_labels_are_quarantined_and_the_rest_is_written(tmp_path: Path) -> None:
    study = load(FOLDER / "tiny.yaml", CleaningStudy)
    found = cleaned(study, tmp_path / "run").checked
    assert found is not None
    refuse_damage(RunDirectory(tmp_path / "run"))
    page = kind_of(study).report(tmp_path / "run", tmp_path / "report", True)
    assert page is not None
    frames = json.loads((tmp_path / "report" / "quarantine.json").read_text())["frames"]
    broken = {int(place) for place in json.loads((FOLDER / "broken.json").read_text())}
    taken = {item["number"] + (105 if item["source"] == "second" else 0) for item in frames}
    assert taken == broken
    assert all(item["evidence"] for item in frames)
    assert [audit.stress_decided.split(":")[0] for audit in found.audits] == ["right", "turned"]
    assert found.dropped == 2, "the two copies that were turned"
    card = Card.read(tmp_path / "report" / "card.json")
    assert card.frames == card.train + card.heldout == 212 - 10 - 2
    items = [item for role in ("train", "heldout") for part in sorted((tmp_path / "run" / "data" / role).iterdir())
             for item in read_dataset(part)]  # fmt: skip
    assert len(items) == card.frames
    held = {str(item.labeled.frame.to_ase().symbols) for item in items[card.train :]}
    assert held.isdisjoint(str(item.labeled.frame.to_ase().symbols) for item in items[: card.train])


class StopsAtOnce(Listener):
    def begins(self, graph: Graph) -> None:
        raise KeyboardInterrupt


def test_a_source_that_somebody_writes_into_is_refused(tmp_path: Path) -> None:
    """The run's copy is a link where that can be, so its content changes with it."""
    text, source = (FOLDER / "tiny.yaml").read_text(), FOLDER / "first.extxyz"
    (tmp_path / "mine.extxyz").write_bytes(source.read_bytes())
    raw = {**yaml.safe_load(text), "sources": [{"name": "mine", "data": [str(tmp_path / "mine.extxyz")]}]}
    study = CleaningStudy.model_validate(raw, context={"root": FOLDER})
    with contextlib.suppress(KeyboardInterrupt):
        run(study, tmp_path / "run", StopsAtOnce())
    with (tmp_path / "mine.extxyz").open("a") as stream:
        stream.write(source.read_text())
    [copy] = (tmp_path / "run").rglob("mine.extxyz")
    if copy.stat().st_ino == (tmp_path / "mine.extxyz").stat().st_ino:
        with pytest.raises(InputError, match=r"mine\.extxyz: changed since the run began"):
            resume(tmp_path / "run")


@pytest.mark.slow
def test_models_of_other_folds_find_what_is_broken(tmp_path: Path) -> None:
    """Without any pre-trained model, permuted forces among them."""
    text = (FOLDER / "tiny.yaml").read_text()
    folds = "folds: {train: {engine: pair, functions: 10}, n: 6}"
    study = parse(text.replace("models: {engines: [{engine: emt}]}", folds), root=FOLDER, kind=CleaningStudy)
    found = cleaned(study, tmp_path / "run").checked
    assert found is not None
    frames = json.loads(next((tmp_path / "run").rglob("quarantine.json")).read_text())["frames"]
    broken = json.loads((FOLDER / "broken.json").read_text())
    taken = {str(item["number"] + (105 if item["source"] == "second" else 0)): item for item in frames}
    assert set(taken) == set(broken)
    rules = {how: {one["rule"] for one in taken[place]["evidence"]} for place, how in broken.items()}
    assert rules["permuted"] == {"model_forces"}


def heldout_of(folder: Path) -> list[LabeledFrame]:
    parts = sorted((folder / "run" / "data" / "heldout").iterdir())
    return [item.labeled for part in parts for item in read_dataset(part)]


@pytest.mark.slow
@pytest.mark.parametrize("relabel", ["{head: EMT}", "{}"])
def test_frames_that_are_labeled_again_are_trained_on_and_nothing_is_on_both_sides(
    relabel: str, tmp_path: Path
) -> None:
    """They are in every format, and in every number of the card."""
    text = (FOLDER / "relabel.yaml").read_text()
    text = text[: text.index("compress:")] + "split: {heldout: 0.4}\nformats: [extxyz, parquet, deepmd/lmdb]\n"
    text += "training: {study: {train: {engine: pair, models: 1}}}\n"
    text = text.replace("relabel: {head: EMT}", f"relabel: {relabel}")
    last = cleaned(parse(text, root=FOLDER, kind=CleaningStudy), tmp_path / "run")
    frames = json.loads(next((tmp_path / "run").rglob("quarantine.json")).read_text())["frames"]
    free = [item for item in frames if not item["kept_out"]]
    assert 0 < len(free) < len(frames), "some are of compositions that are held out"
    card = Card.read(next((tmp_path / "run").rglob("card.json")))
    assert card.relabeled == last.relabeled == len(free)
    written = {
        format: [item.labeled for file in sorted((tmp_path / "run").glob(f"iterations/*/cleaned/*/{format}/train-*"))
                 for item in source_frames(file, Dialect()) if item.labeled is not None]
        for format in ("extxyz", "parquet", "deepmd-lmdb")
    }  # fmt: skip
    assert {len(frames) for frames in written.values()} == {card.train} == {last.training_frames}
    assert f"{card.train} to train on" in str(last.ended)
    assert {head.name: (head.train, head.heldout) for head in card.heads} == (
        {"EMT": (card.train, card.heldout)} if relabel == "{head: EMT}"
        else {"EMT": (card.train - len(free), card.heldout), "relabeled": (len(free), 0)}
    )  # fmt: skip
    assert card.heads[-1].method == ("EMT" if relabel == "{head: EMT}" else "emt")
    used = [set(labeled.frame.symbols) for frames in (written["extxyz"], heldout_of(tmp_path)) for labeled in frames]
    assert card.elements == Counter(element for symbols in used for element in symbols)
    assert ("judged by: relabeled" in next((tmp_path / "run").rglob("training.yaml")).read_text()) == (relabel == "{}")
    sides = {
        role: {str(item.labeled.frame.to_ase().symbols) for part in sorted((tmp_path / "run" / "data" / role).iterdir())
               for item in read_dataset(part)} for role in ("train", "heldout")
    }  # fmt: skip
    assert sides["train"].isdisjoint(sides["heldout"])


@pytest.mark.slow
def test_a_trajectory_whose_files_are_several_is_not_parted(tmp_path: Path) -> None:
    """The steps of a relaxation lie in other shards of its set, and every format that is written names it."""
    atoms = read(FOLDER / "first.extxyz", ":40")
    for number, image in enumerate(atoms):
        image.info |= {"mp_id": f"mp-{number % 10}", "method": "PBE+U" if number % 2 else "r²SCAN"}
    for part in range(4):
        write(tmp_path / f"shard-{part}.extxyz", atoms[10 * part : 10 * part + 10])
    text = (
        "{workflow: cleaning, name: x, sources: [{name: a, data: [shard-*.extxyz]}], split: {whole: trajectory}, "
        "formats: [extxyz, parquet, deepmd/lmdb]}"
    )
    found = cleaned(parse(text, root=tmp_path, kind=CleaningStudy), tmp_path / "run").checked
    assert found is not None
    places = {
        (str(file.name), number): f"mp-{number % 10}" for file in tmp_path.glob("shard-*") for number in range(10)
    }
    sides = {
        role: {places[Path(item.origin.source.split("#")[0]).name, int(item.origin.source.split("#")[1])]
               for part in sorted((tmp_path / "run" / "data" / role).iterdir()) for item in read_dataset(part)}
        for role in ("train", "heldout")
    }  # fmt: skip
    assert sides["heldout"]
    assert sides["train"].isdisjoint(sides["heldout"])
    below = tmp_path / "run" / "iterations" / "001" / "cleaned" / "0"
    written = [tmp_path / "run" / "data" / "train", *(below / name for name in ("deepmd-lmdb", "extxyz", "parquet"))]
    for folder in written:
        files = [folder] if folder.name == "train" else sorted(folder.glob("train-*"))
        back = [item for file in files for item in source_frames(file, Dialect())]
        assert {item.trajectory for item in back} == sides["train"]
        assert all(item.method == ("PBE+U" if int(item.trajectory[3:]) % 2 else "r²SCAN") for item in back)


def test_an_output_that_did_not_converge_is_counted_beside_others_of_its_source(tmp_path: Path) -> None:
    (tmp_path / "a.out").write_text(
        "     Program PWSCF v.6.7MaX starts on  1Dec2026\n     convergence NOT achieved after   3 iterations: stopping\n"
    )
    shutil.copy(FOLDER / "first.extxyz", tmp_path / "b.extxyz")
    text = "{workflow: cleaning, name: x, sources: [{name: a, data: [%s]}]}"
    [warning] = inspect(parse(text % "a.out, b.extxyz", root=tmp_path, kind=CleaningStudy))
    assert warning.endswith("is a labeled frame: unconverged: its self-consistent cycle did not converge")
    with pytest.raises(InputError, match=r"sources\[0\]\.data\[0\]: .*unconverged: its self-consistent cycle"):
        inspect(parse(text % "a.out", root=tmp_path, kind=CleaningStudy))


@pytest.mark.parametrize("converged", [True, False])
def test_cp2k_that_stopped_is_told_from_an_empty_file(tmp_path: Path, converged: bool) -> None:
    (tmp_path / "cp2k.out").write_text("" if converged else "  *** SCF run NOT converged ***\n")
    steps = steps_of(tmp_path / "cp2k.out", "cp2k/output")
    assert steps is not None
    assert steps.stopped != converged


@pytest.mark.slow
def test_a_learning_curve_chooses_the_frames_that_stay(tmp_path: Path) -> None:
    text = (FOLDER / "tiny.yaml").read_text()
    curve = "curve: {train: {engine: pair, functions: 6}, fractions: [0.2, 0.5], target: 100}"
    text = text.replace("models: {engines: [{engine: emt}]}", curve).replace("whole: formula", "whole: structure")
    found = cleaned(parse(text, root=FOLDER, kind=CleaningStudy), tmp_path / "run").checked
    assert found is not None
    lines = {line: [p.frames for p in found.curve if p.line == line] for line in ("all", "worst", "random")}
    [whole] = lines["all"]
    assert lines["worst"] == lines["random"] == [round(0.2 * whole), round(0.5 * whole)]
    assert all(point.force_rmse > 0 for point in found.curve)
    assert found.train == round(0.2 * whole)
    assert sum(count.frames for count in found.counts if count.rule == "learning_curve") == whole - found.train
    assert any("frames are enough" in note for note in found.notes)


@pytest.mark.slow
def test_what_is_left_without_frames_is_said(tmp_path: Path) -> None:
    text = (FOLDER / "tiny.yaml").read_text() + "\nelements: [Fe]\n"
    with pytest.raises((InputError, EngineError), match="no frame is left: foreign_elements took 2"):
        run(parse(text, root=FOLDER, kind=CleaningStudy), tmp_path / "run")


def test_every_reason_why_frames_are_none_is_said_before_the_run(tmp_path: Path) -> None:
    lines = [f'1\nLattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:forces:R:3 energy={energy} pbc="T T T"\n'
             f"Cu 0 0 0 {force} 0 0\n" for energy, force in [(-1, 0.1)] * 5 + [("nan", 0.1), (-1, "nan"), (-1, "nan")]]  # fmt: skip
    (tmp_path / "frames.extxyz").write_text("".join(lines))
    study = parse(
        "{workflow: cleaning, name: x, sources: [{name: a, data: [frames.extxyz]}]}", root=tmp_path, kind=CleaningStudy
    )
    [warning] = inspect(study)
    assert warning.endswith(
        "3 of the first 8 frames are none: 2 unusable: 1 atoms have a force that is not finite; "
        "1 unusable: the energy is nan eV"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("data: [first.extxyz]", "data: [none.extxyz]"), "line 6 .*no such file"),
        (("energy_z: 8", "volume: [9, 3]"), r"volume \[9.0, 3.0\] Å³/atom: the first must be below the second"),
        (("name: second", "name: first"), "sources: first appears more than once"),
        (("whole: formula", "whole: formla"), "line .*split.whole"),
        (
            (
                "split: {heldout: 0.15, whole: formula}",
                "split: {heldout: 0}\ntraining: {study: {train: {engine: pair, models: 1}}}",
            ),
            "training: nothing is held out for its heads to be judged by",
        ),
    ],
)
def test_bad_studies_are_told_in_one_message(change: tuple[str, str], said: str, tmp_path: Path) -> None:
    text = (FOLDER / "tiny.yaml").read_text()
    assert change[0] in text
    with pytest.raises(InputError, match=said):
        parse(text.replace(*change), root=FOLDER, kind=CleaningStudy)
