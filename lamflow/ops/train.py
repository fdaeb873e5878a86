"""Train this job's part of the committee and judge each model on the held-out data."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.config.schema import TrainingStudy
from lamflow.config.seeds import child_seed
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.dataset import Item, head_systems, read_dataset, resampled, verified_manifests
from lamflow.data.io import read_labeled
from lamflow.data.layout import MODEL, MODEL_PREDICTIONS, MODELS
from lamflow.data.moments import TrainedMoments
from lamflow.data.results import Errors, ModelResult
from lamflow.data.spent import spending, take
from lamflow.data.trained import save_model, verify_model
from lamflow.engines import registry
from lamflow.engines.protocol import Evaluator, HeadData, Progress, Trainer, TrainingJob
from lamflow.errors import EngineError
from lamflow.ops.bounds import FRAMES as BOUND_FRAMES
from lamflow.ops.bounds import write_bounds
from lamflow.ops.curve_lines import CurveLines
from lamflow.ops.operation import Context, op
from lamflow.ops.read import settings_text
from lamflow.policy.jobs import indices_of_job
from lamflow.policy.structures import enlarged
from lamflow.science.metrics import energy_shift, errors, magnetic_points, parity_points, shifted, virial_points
from lamflow.science.moment_range import are_beyond, trained_moments

SHIFT_FRAMES = 500
"""Training frames that the energies of a pre-trained model are shifted to; elements are few, so more tell nothing."""
SPEED_ATOMS, SPEED_SECONDS = 256, 1.0
"""Atoms of the cell that speed is measured with, at least, and for how long, in s."""


class Trained(NamedTuple):
    """models: one folder a model, with its files, model.json and its predictions on the held-out data."""

    models: Path


@op
def train(
    context: Context, *, input: Path, train: Path, heldout: Path, previous: Path | None, iteration: int
) -> Trained:
    """Train models job, job + jobs, … of the committee."""
    study = stored(input, TrainingStudy)
    trainer = registry.trainer(study.train)
    known = verified_manifests(train)
    frames = sum(len(manifest.frames) for manifest in known)
    hashes = [record.key for manifest in known for record in manifest.frames]
    indices = indices_of_job(study.train.n_models, context.jobs, context.job)
    heldout_items = _by_head(item for path in sorted(heldout.iterdir()) if path.is_dir() for item in read_dataset(path))
    made_by = registry.provenance(study.train)
    moments = _moments(study, train, heldout_items)
    for done, index in enumerate(indices):
        output = context.out / MODELS / str(index)
        before = previous / str(index) if previous is not None else None
        data_hash = _hash(study, hashes, study.train.input_text(iteration, index), input)
        if before is not None and _is_current(before, data_hash):
            shutil.copytree(before, output, symlinks=False)
            result = ModelResult.read(output / MODEL).model_copy(
                update={"reused": True, "seconds": 0.0, "spent": take()}
            )
            save_model(output, result)
            continue
        job = _job(context, study, train.resolve(), before, iteration, index)
        result = ModelResult(
            index=index, variant=study.train.variant(index), seed=job.seed, data_hash=data_hash,
            training_frames=frames, moments=moments, steps=0, seconds=0.0, provenance=made_by,
        )  # fmt: skip
        if iteration == 1 and index == _first_that_starts_from_a_model(study):
            result = _baseline(study, trainer, job, train, heldout_items, result)
        if not result.failed:
            job = replace(job, score=partial(_rmses, heldout_items))
            lines = CurveLines(context, f"model {index}", job.scratch, done / len(indices), 1 / len(indices))
            result = _train_one(trainer, job, result, lines)
        if not result.failed:
            result = _judged(study, trainer, job, heldout_items, result)
        output.mkdir(parents=True, exist_ok=True)
        save_model(output, result.model_copy(update={"spent": take()}))
        context.say(f"model {index}: {_outcome(result)}")
    return Trained(context.out / MODELS)


def _moments(study: TrainingStudy, train: Path, heldout: dict[str, list[Item]]) -> TrainedMoments | None:
    """The magnetic moments of the training data, and how many held-out frames have others."""
    if not study.train.magnetic_elements:
        return None
    systems = [system for own in head_systems(train).values() for system in own]
    trained = trained_moments(labeled.frame for system in systems for labeled in read_labeled(system))
    if trained is None:
        return None
    spins = [item.labeled.frame.spins for items in heldout.values() for item in items]
    beyond = sum(bool(are_beyond(trained, own[None])[0]) for own in spins if own is not None)
    return trained.model_copy(update={"heldout": beyond})


def _outcome(result: ModelResult) -> str:
    """What became of a model, in words."""
    if result.failed:
        return f"failed: {result.failed.splitlines()[0]}"
    measured = f"; held-out force RMSE {result.errors.force_rmse:.4f} eV/Å" if result.errors is not None else ""
    if result.errors is not None and result.errors.magnetic_force_rmse is not None:
        measured += f", magnetic force RMSE {result.errors.magnetic_force_rmse:.4f} eV/μB"
    if result.moments is not None and result.moments.heldout:
        measured += f"; {result.moments.heldout} held-out frames have magnetic moments beyond those trained on"
    return f"{result.steps} steps in {result.seconds:.0f} s{measured}"


def _job(
    context: Context, study: TrainingStudy, train: Path, before: Path | None, iteration: int, index: int
) -> TrainingJob:
    """The training of one model: its data by head, its seed, its folders."""
    seed = child_seed(study.seed, "train", iteration, index)
    by_head = head_systems(train)
    systems = [system for head in study.all_heads for system in by_head.get(head.name, [])]
    copies = {system: system for system in systems}
    if study.train.bootstrap:
        for name, own_systems in by_head.items():
            sample = context.scratch / f"{index}-sample" / (name or "all")
            copies |= resampled(own_systems, sample, child_seed(seed, "bootstrap", name))
    newest = train / f"{iteration - 1:03d}"
    explored = study.explored_heads
    heads = [
        HeadData(
            head.name, tuple(copies[path] for path in by_head[head.name]), head.weight, head.pretrained_head,
            head.name in explored or not explored,
        )
        for head in study.heads
    ]  # fmt: skip
    return TrainingJob(
        systems=tuple(copies.values()),
        elements=tuple(study.elements),
        seed=seed,
        previous=before,
        output=context.out / MODELS / str(index),
        scratch=context.scratch / str(index),
        index=index,
        iteration=iteration,
        new=tuple(copy for system, copy in copies.items() if iteration > 1 and system.is_relative_to(newest)),
        heads=tuple(heads),
        for_lammps="lammps" in study.needed_abilities,
        threads=context.threads,
        gpus=context.gpus,
        timeout=context.timeout,
    )


def _by_head(items: Iterable[Item]) -> dict[str, list[Item]]:
    by_head: dict[str, list[Item]] = {}
    for item in items:
        by_head.setdefault(item.origin.head, []).append(item)
    return by_head


def _train_one(trainer: Trainer, job: TrainingJob, result: ModelResult, progress: Progress) -> ModelResult:
    """Train one model; a training that fails is a result too, and the next step judges it."""
    started, steps, failed = time.monotonic(), 0, None
    try:
        with spending("physics"):
            steps = trainer.train(job, progress)
    except EngineError as error:
        failed = str(error)
    return result.model_copy(update={"steps": steps, "seconds": time.monotonic() - started, "failed": failed})


def _rmses(heldout_items: Mapping[str, Sequence[Item]], models: Mapping[str, Evaluator]) -> dict[str, float]:
    """Held-out RMSEs of forces, and of magnetic forces, on the data of each head."""
    found: dict[str, float] = {}
    for head, items in heldout_items.items():
        predicted = models[head].evaluate([item.labeled.frame for item in items])
        measured, end = errors(predicted, [item.labeled.labels for item in items]), f"_{head}" if head else ""
        found[f"force_rmse{end}"] = measured.force_rmse
        if measured.magnetic_force_rmse is not None:
            found[f"magnetic_force_rmse{end}"] = measured.magnetic_force_rmse
    return found


@spending("judging")
def _judged(
    study: TrainingStudy, trainer: Trainer, job: TrainingJob, heldout_items: dict[str, list[Item]], result: ModelResult
) -> ModelResult:
    """The model's errors on the held-out data; its predictions are kept for the report's parity plots."""
    started = time.monotonic()
    counted = study.explored_heads or list(heldout_items)
    predicted: dict[str, list[Labels]] = {}
    speed = None
    wanted = study.measures_speed
    try:
        for name, items in heldout_items.items():
            model = trainer.load(job.output, name)
            predicted[name] = model.evaluate([item.labeled.frame for item in items])
            if name == counted[0] and wanted:
                speed = _speed(model, [item.labeled.frame for item in items])
        if study.bounds_errors is not None:
            for name in counted:
                _bound(study, trainer.load(job.output, name), job, name, heldout_items[name], predicted[name])
    except EngineError as error:
        return result.model_copy(update={"failed": str(error)})
    items = [item for name in counted for item in heldout_items[name]]
    answers = [labels for name in counted for labels in predicted[name]]
    reference = [item.labeled.labels for item in items]
    energies, forces = parity_points(answers, reference)
    np.savez(
        job.output / MODEL_PREDICTIONS, energy=energies, force=forces, magnetic=magnetic_points(answers, reference),
        natoms=np.array([len(labels.forces) for labels in reference]), virial=virial_points(answers, reference),
    )  # fmt: skip
    measured = errors(answers, reference)
    by_head = {
        name: errors(predicted[name], [item.labeled.labels for item in items])
        for name, items in heldout_items.items()
        if name
    }
    update = {
        "errors": measured, "heads": by_head, "speed": speed,
        "seconds": result.seconds + time.monotonic() - started,
    }  # fmt: skip
    if not all(found.are_finite for found in (measured, *by_head.values())):
        update = {"failed": "its predictions on the held-out data are not finite", "seconds": update["seconds"]}
    return result.model_copy(update=update)


def _first_that_starts_from_a_model(study: TrainingStudy) -> int | None:
    """The model that the baseline is that of."""
    return next((index for index in range(study.train.n_models) if study.train.starts_from_a_model(index)), None)


@spending("judging")
def _baseline(
    study: TrainingStudy,
    trainer: Trainer,
    job: TrainingJob,
    train: Path,
    heldout_items: dict[str, list[Item]],
    result: ModelResult,
) -> ModelResult:  # fmt: skip
    """With the errors of the pre-trained model before any training: zero-shot, its energies shifted to the data.

    A head that is replayed is judged as it is: its data are those that it was trained on.
    """
    baseline: dict[str, Errors] = {}
    systems = head_systems(train)
    try:
        for name, model in trainer.pretrained(job).items():
            items = heldout_items[name]
            frames, reference = [item.labeled.frame for item in items], [item.labeled.labels for item in items]
            predicted = model.evaluate(frames)
            if not name or study.head(name).pretrained_head is not None:
                shift = _shift(model, systems[name], study.elements, child_seed(study.seed, "shift"))
                predicted = [shifted(labels, frame, shift) for labels, frame in zip(predicted, frames, strict=True)]
            baseline[name] = errors(predicted, reference)
    except EngineError as error:
        return result.model_copy(update={"failed": str(error)})
    if not all(found.are_finite for found in baseline.values()):
        return result.model_copy(update={"failed": "the pre-trained model's predictions are not finite"})
    return result.model_copy(update={"baseline": baseline})


def _bound(
    study: TrainingStudy,
    model: Evaluator,
    job: TrainingJob,
    head: str,
    items: Sequence[Item],
    answers: Sequence[Labels],
) -> None:
    """The bounds of the errors of a model with one of its heads, into its folder."""
    assert study.bounds_errors is not None  # noqa: S101  the caller has looked
    systems = next((part.systems for part in job.heads if part.name == head), job.systems)
    known = _drawn(systems, BOUND_FRAMES, child_seed(study.seed, "bounds"))
    heldout = [(item.labeled.frame, answer, item.labeled.labels) for item, answer in zip(items, answers, strict=True)]
    write_bounds(job.output, head, model, study.bounds_errors, [labeled.frame for labeled in known], heldout)


def _drawn(systems: Sequence[Path], count: int, seed: int) -> list[LabeledFrame]:
    """At most so many of the frames of training data."""
    labeled = [item for system in systems for item in read_labeled(system)]
    return [labeled[index] for index in np.random.default_rng(seed).permutation(len(labeled))[:count]]


def _shift(model: Evaluator, systems: Sequence[Path], elements: Sequence[str], seed: int) -> dict[str, float]:
    """Energies per element, in eV, that fit a model to the training data."""
    drawn = _drawn(systems, SHIFT_FRAMES, seed)
    frames = [labeled.frame for labeled in drawn]
    return energy_shift(model.evaluate(frames), [labeled.labels for labeled in drawn], frames, elements)


def _speed(model: Evaluator, frames: Sequence[Frame]) -> float:
    """Atoms × evaluations a second, one frame at a time, for the largest of `frames` as often as it takes."""
    frame = enlarged(max(frames, key=lambda frame: frame.natoms), SPEED_ATOMS)
    for _ in range(3):  # compilers need a few calls
        model.evaluate([frame])
    started, count = time.monotonic(), 0
    while time.monotonic() - started < SPEED_SECONDS or count < 3:
        model.evaluate([frame])
        count += 1
    return count * frame.natoms / (time.monotonic() - started)


def _hash(study: TrainingStudy, frames: list[str], input_text: str, input: Path) -> str:
    """Changes when the data or the training's settings do."""
    heads = [(head.name, head.pretrained_head, head.weight, head.name in study.explored_heads) for head in study.heads]
    text = settings_text(study.train, input) + input_text.replace(f"{input}/", "") + json.dumps(heads)
    text += "".join((*study.elements, *sorted(study.needed_abilities))) + "".join(sorted(frames))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_current(before: Path, data_hash: str) -> bool:
    """The model of the iteration before was made from the very same data and settings, and is good."""
    result = ModelResult.read(before / MODEL)
    verify_model(before, result)
    return result.data_hash == data_hash and not result.failed
