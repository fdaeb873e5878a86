"""Moments unlike those of the training data are told, from the function to the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lamflow.data import Frame, LabeledFrame
from lamflow.data.dataset import Item, Origin, systems, write_dataset
from lamflow.data.io import write_extxyz
from lamflow.engines.pair import PairTraining
from lamflow.engines.protocol import TrainingJob
from lamflow.engines.registry import evaluator, trainer
from lamflow.engines.spin_lattice import SpinLatticeLabels, iron_frames
from lamflow.science.moment_range import are_beyond, beyond_trained, moment_warnings, trained_moments
from tests.cli.test_outcomes import lamflow

STUDY = """\
workflow: training
name: iron
elements: [Fe]
start: {data: [train.extxyz]}
heldout: {data: [heldout.extxyz]}
train: {engine: pair, models: 1, cutoff: 4.6, SPIN}
"""


def collinear(frames: list[Frame]) -> list[Frame]:
    return [frame.with_fields(spin=np.linalg.norm(np.asarray(frame.spins), axis=1)) for frame in frames]


def longer(frames: list[Frame]) -> list[Frame]:
    return [frame.with_fields(spin=2 * np.asarray(frame.spins)) for frame in frames]


def without(frames: list[Frame]) -> list[Frame]:
    return [frame.with_fields(spin=None) for frame in frames]


def test_what_lies_beyond() -> None:
    frames = iron_frames()
    assert beyond_trained(frames, collinear(frames)) is None
    assert beyond_trained(without(frames), frames) is None
    assert beyond_trained(frames, without(frames)) is None
    assert "along one line" in str(beyond_trained(collinear(frames), frames))
    assert "there is a moment of" in str(beyond_trained(frames, longer(frames)))


def test_frames_beyond_are_told_one_by_one() -> None:
    frames = [frame for frame in iron_frames() if frame.natoms == 16]
    spins = np.stack([np.asarray(frame.spins) for frame in frames])
    assert trained_moments(without(frames)) is None
    assert not are_beyond(None, spins).any()
    assert not len(are_beyond(trained_moments(frames), None))
    known, along = trained_moments(frames), trained_moments(collinear(frames))
    assert known is not None
    assert along is not None
    assert not known.collinear
    assert along.collinear
    assert known.longest == pytest.approx(along.longest) == np.linalg.norm(spins, axis=-1).max()
    assert are_beyond(known, spins * np.array([1.0, 1.6])[:, None, None]).tolist() == [False, True]
    assert are_beyond(known, 0 * spins).tolist() == [False, False]
    assert are_beyond(along, spins).all()
    assert not are_beyond(along, np.stack([np.asarray(frame.spins) for frame in collinear(frames)])).any()


def test_what_is_odd_about_training_data() -> None:
    frames = iron_frames()
    assert moment_warnings(frames, ["Fe"]) == []
    assert moment_warnings(without(frames), []) == []
    [line] = moment_warnings(collinear(frames), ["Fe"])
    assert "the moments of every frame lie along one line" in line
    [missing] = moment_warnings(without(frames), ["Fe", "Ni"])
    assert missing.startswith("train.spin.elements: no frame has a moment of Fe; are they missing?")
    nickel = replace(frames[0], numbers=np.full(frames[0].natoms, 28))
    [unseen] = moment_warnings([*frames, nickel], ["Ni"])
    assert "do not see the moments of Fe (up to " in unseen


JUDGED = """\
workflow: evaluation
name: judged
elements: [Fe]
evaluate: {engine: pair, model: {file: model/pair.json}}
heldout: {data: [heldout.extxyz]}
"""
ASKED = """\
workflow: properties
name: asked
elements: [Fe]
structures:
  - name: iron
    crystal: {formula: Fe, lattice: bcc, a: 2.86, cubic: true}SPINS
potentials:
  - {name: model, evaluate: {engine: pair, model: {file: model/pair.json}}}
properties: [{property: eos}]
"""


@pytest.mark.parametrize(
    ("study", "magnetic", "expected"),
    [
        (JUDGED, [], r"sees no magnetic moments, and the frames have some; take a model that was trained with spins"),
        (ASKED.replace("SPINS", "\n    spins: {moments: {Fe: 2.2}}"), [], "potentials[0].evaluate: "),
        (ASKED.replace("SPINS", ""), ["Fe"], "needs the magnetic moments of Fe, and a frame has none"),
        (JUDGED.replace("[heldout.extxyz]", "[heldout.extxyz], spins: ignore"), [], None),
        (JUDGED, ["Fe"], None),
    ],
)
def test_engines_that_see_no_moments_are_refused_before_they_run(
    tmp_path: Path, study: str, magnetic: list[str], expected: str | None
) -> None:
    frames = iron_frames()
    labels = evaluator(SpinLatticeLabels(engine="spin-lattice")).evaluate(frames)
    items = [LabeledFrame(frame, own) for frame, own in zip(frames, labels, strict=True)]
    write_extxyz(tmp_path / "heldout.extxyz", items)
    if not magnetic:
        items = [LabeledFrame(item.frame.with_fields(spin=None), replace(item.labels, others={})) for item in items]
    write_dataset(
        tmp_path / "data", [Item(one, Origin(iteration=0, source="x")) for one in items], ["Fe"], "deepmd/npy"
    )
    settings = PairTraining.model_validate(
        {"engine": "pair", "cutoff": 4.6, **({"spin": {"elements": magnetic}} if magnetic else {})}
    )
    job = TrainingJob(
        systems=tuple(systems(tmp_path / "data")), elements=("Fe",), seed=1, previous=None, output=tmp_path / "model",
        scratch=tmp_path / "scratch",
    )  # fmt: skip
    trainer(settings).train(job, lambda _: None)
    (tmp_path / "study.yaml").write_text(study, encoding="utf-8")
    done = lamflow("check", "study.yaml", cwd=tmp_path)
    if expected is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 2, done.stdout + done.stderr
        assert expected in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("train", "heldout", "spin", "expected"),
    [
        (collinear, list, True, "heldout.data: moments point in several directions"),
        (list, longer, True, "heldout.data: there is a moment of"),
        (without, list, True, "frame 0 has no spin (μB) of its Fe, which train.spin needs"),
        (list, list, False, "frame 0 has magnetic moments, which the models do not see"),
    ],
)
def test_each_is_one_message(tmp_path: Path, train: object, heldout: object, spin: bool, expected: str) -> None:
    model = evaluator(SpinLatticeLabels(engine="spin-lattice"))
    parts = {"train": iron_frames()[:2], "heldout": iron_frames()[2:]}
    for (name, frames), change in zip(parts.items(), (train, heldout), strict=True):
        assert callable(change)
        changed = change(frames)
        labels = model.evaluate(frames if changed[0].spins is None else changed)
        write_extxyz(tmp_path / f"{name}.extxyz", [LabeledFrame(f, la) for f, la in zip(changed, labels, strict=True)])
    text = STUDY.replace(", SPIN", ", spin: {elements: [Fe]}" if spin else "")
    (tmp_path / "iron.yaml").write_text(text, encoding="utf-8")
    done = lamflow("check", "iron.yaml", cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_of_a_run_says_what_it_extrapolates(tmp_path: Path) -> None:
    for name, change in (("train", list), ("heldout", list), ("long", longer)):
        frames = change(iron_frames())
        labels = evaluator(SpinLatticeLabels(engine="spin-lattice")).evaluate(frames)
        items = [LabeledFrame(frame, own) for frame, own in zip(frames, labels, strict=True)]
        if name == "train":
            items = [replace(item, frame=shifted(item.frame)) for item in items]
        write_extxyz(tmp_path / f"{name}.extxyz", items)
    (tmp_path / "train.yaml").write_text(STUDY.replace("SPIN", "spin: {elements: [Fe]}"), encoding="utf-8")
    done = lamflow("run", "train.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for data, beyond in (("heldout", False), ("long", True)):
        study = JUDGED.replace("{file: model/pair.json}", "{run: runs/iron}").replace("heldout.ext", f"{data}.ext")
        (tmp_path / "study.yaml").write_text(study, encoding="utf-8")
        done = lamflow("check", "study.yaml", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert ("3 of 3 frames have others: what it says of them is an extrapolation" in done.stdout) == beyond


def shifted(frame: Frame) -> Frame:
    """Another frame with the same energies."""
    return replace(frame, positions=frame.positions + 0.1)
