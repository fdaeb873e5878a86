"""Judge an engine on labeled data: predictions by jobs that share the frames, then errors system by system."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.config.engines import EngineSettings
from lamflow.config.schema import EvaluationStudy
from lamflow.data import Frame, Labels
from lamflow.data.arrays import read_arrays
from lamflow.data.dataset import Item, read_dataset
from lamflow.data.evaluation import Judgement, SystemErrors
from lamflow.data.fields import FORCE_MAG
from lamflow.data.frames import Floats
from lamflow.data.job_record import JobRecord
from lamflow.data.layout import EVALUATION, JUDGEMENT, PARITY, PREDICTIONS, PREDICTIONS_ARRAYS, PREDICTIONS_RECORD
from lamflow.data.provenance import Provenance
from lamflow.data.results import Errors
from lamflow.data.spent import spending, take
from lamflow.engines import registry
from lamflow.errors import EngineError
from lamflow.ops.operation import Context, op
from lamflow.policy.jobs import indices_of_job
from lamflow.science.metrics import (
    energy_shift,
    errors,
    is_told,
    leave_one_out,
    magnetic_points,
    parity_points,
    shifted,
)


class Predicted(JobRecord):
    """What one job has predicted. frames: of all, in the order of the data; seconds: that the engine took"""

    frames: list[int]
    seconds: float


class Predictions(NamedTuple):
    """predictions: a folder for each job with its frames' numbers, energies, forces, virials and magnetic forces."""

    predictions: Path


class Judged(NamedTuple):
    """evaluation: evaluation.json and parity.npz; the number is what Argo's UI shows, eV/Å."""

    evaluation: Path
    force_rmse: float


@op
def evaluate(context: Context, *, input: Path, train: Path, heldout: Path) -> Predictions:
    """Predict frames job, job + jobs, … of all labeled data."""
    study = stored(input, EvaluationStudy)
    items = [item for _, item in labeled_items(train, heldout)]
    assigned = list(indices_of_job(len(items), context.jobs, context.job))
    started, answers = time.monotonic(), dict[int, Labels]()
    for head in dict.fromkeys(items[index].origin.head for index in assigned):
        settings = study.evaluator(head)
        if settings is None:
            continue
        frames = [index for index in assigned if items[index].origin.head == head]
        with spending("judging"):
            labels = registry.evaluator(settings).evaluate([items[index].labeled.frame for index in frames])
        answers |= dict(zip(frames, labels, strict=True))
    folder = context.out / PREDICTIONS / str(context.job)
    folder.mkdir(parents=True)
    known = sorted(answers)
    missing = np.full((3, 3), np.nan)
    np.savez(
        folder / PREDICTIONS_ARRAYS,
        energies=np.array([answers[index].energy for index in known]),
        forces=np.concatenate([np.zeros((0, 3)), *(answers[index].forces for index in known)]),
        virials=np.array([missing if (v := answers[index].virial) is None else v for index in known]).reshape(-1, 3, 3),
        magnetic=np.concatenate([np.zeros((0, 3)), *(_force_mag(answers[index]) for index in known)]),
    )
    made_by = registry.provenance(study.evaluate)
    Predicted(frames=known, seconds=time.monotonic() - started, provenance=made_by, spent=take()).save(
        folder / PREDICTIONS_RECORD
    )
    return Predictions(context.out / PREDICTIONS)


def _force_mag(labels: Labels) -> Floats:
    """Magnetic forces (N, 3) in eV/μB; NaN where there are none."""
    return np.full_like(labels.forces, np.nan) if labels.force_mag is None else labels.force_mag


@op
def score(context: Context, *, input: Path, train: Path, heldout: Path, predictions: Path) -> Judged:
    """Compare the predictions of all jobs with the labels.

    The energies are shifted to the start data of each head, as fine-tuning would begin.
    """
    study = stored(input, EvaluationStudy)
    items = labeled_items(train, heldout)
    answers, seconds = _read(predictions, [item for _, item in items])
    judged: dict[str, _Head] = {}
    for part in study.all_heads:
        frames = [index for index, (_, item) in enumerate(items) if item.origin.head == part.name and index in answers]
        if frames:
            predicted = [(items[index][0], items[index][1], answers[index]) for index in frames]
            strange = _strangers(study.evaluator(part.name), [item.labeled.frame for _, item, _ in predicted])
            judged[part.name] = _judge_head(part.name, predicted, study.elements, strange)
    if not judged:
        raise EngineError("no head of the model fits any of the labeled data, so nothing was judged")
    folder = context.out / EVALUATION
    folder.mkdir(parents=True)
    np.savez(
        folder / PARITY,
        energies=np.concatenate([head.energies for head in judged.values()]),
        forces=np.concatenate([head.forces for head in judged.values()]),
        magnetic=np.concatenate([head.magnetic for head in judged.values()]),
    )
    judgement = Judgement(
        shift={name: head.shift for name, head in judged.items()},
        systems=[system for head in judged.values() for system in head.systems],
        overall={name: head.overall for name, head in judged.items()},
        seconds=seconds,
        unjudged=len(items) - len(answers),
        notes={name: head.notes for name, head in judged.items() if head.notes},
        provenance=Provenance.of_this_job(),
        spent=take(),
    )
    judgement.save(folder / JUDGEMENT)
    return Judged(folder, next(iter(judged.values())).overall.force_rmse)


def labeled_items(train: Path, heldout: Path) -> list[tuple[str, Item]]:
    """Every labeled frame with what it is for, `train` or `heldout`, in a fixed order."""
    return [
        (role, item)
        for role, folder in (("train", train), ("heldout", heldout))
        for part in sorted(path for path in folder.iterdir() if path.is_dir())
        for item in read_dataset(part)
    ]


def _read(predictions: Path, items: Sequence[Item]) -> tuple[dict[int, Labels], float]:
    """Predictions of all jobs by the number of the frame, and the time that they took together in s."""
    answers: dict[int, Labels] = {}
    seconds = 0.0
    for folder in sorted(predictions.iterdir()):
        record = Predicted.read(folder / PREDICTIONS_RECORD)
        seconds += record.seconds
        arrays = read_arrays(folder / PREDICTIONS_ARRAYS)
        energies, forces, virials, magnetic = (arrays[name] for name in ("energies", "forces", "virials", "magnetic"))
        ends = np.cumsum([items[index].labeled.frame.natoms for index in record.frames])
        for row, index in enumerate(record.frames):
            begin = int(ends[row]) - items[index].labeled.frame.natoms
            virial = None if np.isnan(virials[row]).all() else virials[row]
            atoms = slice(begin, int(ends[row]))
            others = {} if np.isnan(magnetic[atoms]).any() else {FORCE_MAG: magnetic[atoms]}
            answers[index] = Labels(float(energies[row]), forces[atoms], virial, others=others)
    return answers, seconds


@dataclass(frozen=True, eq=False)
class _Head:
    """What is found for one head: predicted and reference energies (F, 2) in eV/atom, components (K, 2) of forces in
    eV/Å and of magnetic forces in eV/μB."""

    shift: dict[str, float]
    systems: list[SystemErrors]
    overall: Errors
    energies: Floats
    forces: Floats
    magnetic: Floats
    notes: list[str]


def _strangers(settings: EngineSettings | None, frames: Sequence[Frame]) -> list[str]:
    """What is to be said of frames with elements that the model has never seen, as far as its file says which."""
    seen = registry.known_elements(settings) if settings is not None else None
    strange = [set(frame.symbols) - seen for frame in frames] if seen else []
    unseen = sorted(set().union(*strange))
    if not unseen:
        return []
    count = sum(map(bool, strange))
    return [
        f"{count} of {len(frames)} frames have {', '.join(unseen)}, which the model has never seen: what it says of "
        "them is noise, and their errors count"
    ]


def _judge_head(
    name: str, answers: Sequence[tuple[str, Item, Labels]], elements: Sequence[str], notes: Sequence[str] = ()
) -> _Head:
    """Errors of the predictions of one head; energies are shifted to those of the start, if there are any.

    A frame that the shift is fitted to is judged by the shift of the others, so that few frames look no better than
    they are. Where no other frame tells it, as of the only one with an element, the energy stays as it is and does not
    count overall.
    """
    roles = {role for role, _, _ in answers}
    fitted_to, judged_on = (
        "train" if "train" in roles else "heldout", "heldout" if "heldout" in roles else "train"
    )  # fmt: skip
    base = [answer for answer in answers if answer[0] == fitted_to]
    fit = [labels for _, _, labels in base], _labels(base), [item.labeled.frame for _, item, _ in base], elements
    shift, others = energy_shift(*fit), iter(leave_one_out(*fit).tolist())
    moved, untold = [], set[int]()
    told_by_base = is_told([item.labeled.frame for _, item, _ in answers], fit[2], elements)
    for number, (role, item, labels) in enumerate(answers):
        if role != fitted_to and told_by_base[number]:
            moved.append((role, item, shifted(labels, item.labeled.frame, shift)))
        elif role != fitted_to or np.isnan(more := next(others)):
            moved.append((role, item, labels))
            untold.add(number)
        else:
            moved.append((role, item, replace(labels, energy=labels.energy + more)))
    shown = [number for number, answer in enumerate(moved) if answer[0] == judged_on]
    told = [moved[number] for number in shown if number not in untold]
    every = [moved[number] for number in shown]
    predicted, reference = [labels for _, _, labels in every], _labels(every)
    overall, energies = errors(predicted, reference), np.zeros((0, 2))
    if told:
        known, true = [labels for _, _, labels in told], _labels(told)
        overall = overall.model_copy(update={"energy_rmse": errors(known, true).energy_rmse})
        energies = parity_points(known, true)[0]
    return _Head(
        shift, _by_system(name, answers, moved), overall, energies, parity_points(predicted, reference)[1],
        magnetic_points(predicted, reference), [*notes, *_notes(len(told), len(every), fitted_to == judged_on)],
    )  # fmt: skip


def _notes(told: int, judged: int, in_sample: bool) -> list[str]:
    """How energies were judged, where it is not by a shift that other data tell."""
    notes = []
    if in_sample:
        notes.append("energies are shifted to the frames that are judged, each by the shift of the others")
    if told < judged:
        what = "so energies stay as they are" if not told else "so their energies do not count"
        notes.append(f"nothing tells the shift of energies of {judged - told} of {judged} frames, {what}")
    return notes


def _labels(answers: Sequence[tuple[str, Item, Labels]]) -> list[Labels]:
    """The labels that predictions are compared with."""
    return [item.labeled.labels for _, item, _ in answers]


def _by_system(
    name: str, answers: Sequence[tuple[str, Item, Labels]], moved: Sequence[tuple[str, Item, Labels]]
) -> list[SystemErrors]:
    """Errors of the frames of each composition of each file."""
    groups: dict[tuple[str, str, str], list[int]] = {}
    for index, (role, item, _) in enumerate(answers):
        formula = item.labeled.frame.to_ase().get_chemical_formula()
        source = item.origin.source.rsplit("#", 1)[0].rsplit(":", 1)[0]
        groups.setdefault((role, source, formula), []).append(index)
    rows = []
    for (role, source, formula), members in sorted(groups.items(), key=lambda group: (group[0][0] != "train", group)):
        true = _labels([answers[index] for index in members])
        rows.append(
            SystemErrors(
                head=name,
                name=f"{Path(source).name} {formula}",
                role="start" if role == "train" else "heldout",
                natoms=answers[members[0]][1].labeled.frame.natoms,
                errors=errors([moved[index][2] for index in members], true),
                unshifted_energy_rmse=errors([answers[index][2] for index in members], true).energy_rmse,
            )
        )
    return rows
