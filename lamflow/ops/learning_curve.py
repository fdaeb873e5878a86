"""Learning curves of cleaned data: how well models of few frames do, of the worst ones and of random ones."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.config.cleaning import CleaningStudy
from lamflow.config.seeds import child_seed
from lamflow.data import LabeledFrame, Labels
from lamflow.data.arrays import read_arrays
from lamflow.data.cleaning import ZERO_SHOT, CurvePoint, CurveRecord
from lamflow.data.frames import Floats, Ints
from lamflow.data.layout import FRAMES, LEARNING_CURVE, LEARNING_CURVE_RECORD, VERDICTS
from lamflow.data.shards import shards_below
from lamflow.engines import registry
from lamflow.engines.protocol import Evaluator
from lamflow.errors import EngineError
from lamflow.ops.fold_models import SmallModels, asked, labeled_frames
from lamflow.ops.operation import Context, op
from lamflow.policy.curves import LINES, sizes, worst_first
from lamflow.policy.jobs import indices_of_job
from lamflow.science.metrics import energy_shift, errors, shifted

SHIFT_FRAMES = 200
"""Frames to train on that tell by how much the energies of a pre-trained model are shifted."""


class Curves(NamedTuple):
    """curves: a folder for each line, with its points and the frames of each."""

    curves: Path


@op
def learning_curve(context: Context, *, input: Path, shards: Path, checked: Path) -> Curves:
    """Train models on growing parts of every head's frames: all of them, the worst ones, or random ones."""
    study = stored(input, CleaningStudy)
    assert study.curve is not None  # noqa: S101  the graph has no such step then
    verdicts, folders = read_arrays(checked / VERDICTS), shards_below(shards)
    elements = [str(element) for element in verdicts["elements"]]
    models = SmallModels(study.curve.train, elements, study.data_format, context)
    kept = verdicts["state"] == 0
    for line in (LINES[index] for index in indices_of_job(len(LINES), context.jobs, context.job)):
        points, frames = list[CurvePoint](), dict[str, Ints]()
        for number, head in enumerate(map(str, verdicts["heads"])):
            mine = kept & (verdicts["head"] == number)
            pool, heldout = (np.flatnonzero(mine & (verdicts["heldout"] == held)) for held in (0, 1))
            if len(pool) < 2 or not len(heldout):
                continue
            labeled = labeled_frames(folders, np.concatenate([pool, heldout]))
            judged = [labeled[int(one)] for one in heldout]
            order = np.random.default_rng(child_seed(study.seed, "curve", head)).permutation(pool)
            for point, chosen in _points(study, models, (line, head), order, labeled, judged):
                frames[f"{head}-{len(points)}"] = chosen
                points.append(point)
                context.say(f"{head}, {line}: {point.frames} frames, force RMSE {point.force_rmse:.4f} eV/Å")
            if line == "all":
                points += _before(models, head, [labeled[int(one)] for one in order[:SHIFT_FRAMES]], judged)
        folder = context.out / LEARNING_CURVE / line
        folder.mkdir(parents=True)
        np.savez(folder / FRAMES, **frames)  # type: ignore[arg-type]  # only a keyword is typed
        CurveRecord(line=line, points=points, provenance=registry.provenance(study.curve.train)).save(
            folder / LEARNING_CURVE_RECORD
        )
    return Curves(context.out / LEARNING_CURVE)


def _points(
    study: CleaningStudy, models: SmallModels, where: tuple[str, str], order: Ints,
    labeled: Mapping[int, LabeledFrame], judged: Sequence[LabeledFrame],
) -> Iterator[tuple[CurvePoint, Ints]]:  # fmt: skip
    """Points of a line and a head, each with the frames that its model was trained on."""
    assert study.curve is not None  # noqa: S101  see above
    line, head = where
    counts = [len(order)] if line == "all" else sizes(study.curve.fractions, len(order))
    chosen = np.sort(order[: counts[0]])
    for place, count in enumerate(counts):
        started, seed = time.monotonic(), child_seed(study.seed, "curve", line, head, place)
        model = models.trained_on([labeled[int(one)] for one in chosen], f"{line}-{head}-{place}", seed)
        measured = _judged(model, judged)
        yield CurvePoint(
            line=line, head=head, frames=count, force_rmse=measured[0], energy_rmse=measured[1],
            seconds=time.monotonic() - started,
        ), chosen  # fmt: skip
        if place + 1 == len(counts):
            return
        if line == "random":
            chosen = np.sort(order[: counts[place + 1]])
        else:
            rest = np.setdiff1d(order, chosen)
            worst = worst_first(_force_errors(model, [labeled[int(one)] for one in rest]))
            chosen = np.sort(np.concatenate([chosen, rest[worst[: counts[place + 1] - count]]]))


def _before(
    models: SmallModels, head: str, given: Sequence[LabeledFrame], judged: Sequence[LabeledFrame]
) -> list[CurvePoint]:
    """The point of the pre-trained model that trainings start from, energies shifted as fine-tuning does; if any."""
    started, model = time.monotonic(), models.pretrained()
    if model is None:
        return []
    answers = asked(model, dict(enumerate(given)))
    frames = [given[number].frame for number in answers]
    said = asked(model, dict(enumerate(judged)))
    if not answers or not said:
        raise EngineError(f"{head}: the pre-trained model of the learning curve can evaluate none of its frames")
    shift = energy_shift(list(answers.values()), [given[number].labels for number in answers], frames, models.elements)
    found = errors(
        [shifted(labels, judged[number].frame, shift) for number, labels in said.items()],
        [judged[number].labels for number in said],
    )
    return [
        CurvePoint(
            line=ZERO_SHOT, head=head, frames=0, force_rmse=found.force_rmse, energy_rmse=found.energy_rmse,
            seconds=time.monotonic() - started,
        )
    ]  # fmt: skip


def _judged(model: Evaluator, labeled: Sequence[LabeledFrame]) -> tuple[float, float]:
    """Force RMSE in eV/Å and energy RMSE in eV/atom of the frames that the model can evaluate."""
    answers = asked(model, dict(enumerate(labeled)))
    if not answers:
        raise EngineError("a model of the learning curve can evaluate no held-out frame")
    found = errors(list(answers.values()), [labeled[number].labels for number in answers])
    return found.force_rmse, found.energy_rmse


def _force_errors(model: Evaluator, labeled: Sequence[LabeledFrame]) -> Floats:
    """(F,) root mean square error of the force components of each frame, eV/Å; infinite where there is no answer."""
    answers = asked(model, dict(enumerate(labeled)))
    return np.array([_error(own.labels, answers.get(number)) for number, own in enumerate(labeled)])


def _error(labels: Labels, answer: Labels | None) -> float:
    return np.inf if answer is None else float(np.sqrt(np.mean((answer.forces - labels.forces) ** 2)))
