"""Train this pod's share of the committee and judge each model on the held-out data."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.config.schema import TrainingStudy
from lamflow.config.seeds import child_seed
from lamflow.data import Frame, Labels
from lamflow.data.dataset import Item, manifests, read_dataset, resampled, task_systems
from lamflow.data.results import Errors, ModelResult
from lamflow.engines import registry
from lamflow.engines.protocol import Evaluator, HeadData, Progress, Trainer, TrainingJob
from lamflow.errors import EngineError
from lamflow.ops._read import settings_text
from lamflow.ops.operation import Context, op
from lamflow.science.metrics import energy_shift, errors, parity_points, shifted
from lamflow.science.structures import enlarged
from lamflow.science.tasks import deal

RESULT, PREDICTIONS = "model.json", "heldout.npz"
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
    """Train models pod, pod + pods, … of the committee."""
    config = stored(input, TrainingStudy)
    trainer = registry.trainer(config.train)
    known = manifests(train)
    frames = sum(len(manifest.frames) for manifest in known)
    hashes = [record.key for manifest in known for record in manifest.frames]
    mine = deal(config.train.n_models, context.pods, context.pod)
    judges = _by_task(item for path in sorted(heldout.iterdir()) if path.is_dir() for item in read_dataset(path))
    for done, index in enumerate(mine):
        output = context.out / "models" / str(index)
        before = previous / str(index) if previous is not None else None
        data_hash = _hash(config, hashes, config.train.input_text(iteration, index), input)
        if before is not None and _same(before, data_hash):
            shutil.copytree(before, output, symlinks=False)
            result = ModelResult.read(output / RESULT).model_copy(update={"reused": True, "seconds": 0.0})
            result.save(output / RESULT)
            continue
        task = _task(context, config, train.resolve(), before, iteration, index)
        result = ModelResult(
            index=index, variant=config.train.variant(index), seed=task.seed, data_hash=data_hash,
            training_frames=frames, steps=0, seconds=0.0,
        )  # fmt: skip
        if iteration == 1 and index == _first_that_starts_from_a_model(config):
            result = _before(config, trainer, task, train, judges, result)
        if not result.failed:
            result = _train_one(trainer, task, result, partial(_progress, context, done, len(mine)))
        if not result.failed:
            result = _judge(config, trainer, task, judges, result)
        result.save(output / RESULT)
    return Trained(context.out / "models")


def _task(
    context: Context, config: TrainingStudy, train: Path, before: Path | None, iteration: int, index: int
) -> TrainingJob:
    """The training of one model: its data by task, its seed, its folders."""
    seed = child_seed(config.seed, "train", iteration, index)
    by_task = task_systems(train)
    systems = [system for part in config.parts for system in by_task.get(part.name, [])]
    copies = {system: system for system in systems}
    if config.train.bootstrap:
        for name, own in by_task.items():
            sample = context.scratch / f"{index}-sample" / (name or "all")
            copies |= resampled(own, sample, child_seed(seed, "bootstrap", name))
    newest = train / f"{iteration - 1:03d}"
    explored = config.explored_tasks
    tasks = [
        HeadData(
            part.name, tuple(copies[path] for path in by_task[part.name]), part.weight, part.head,
            part.name in explored or not explored,
        )
        for part in config.tasks
    ]  # fmt: skip
    return TrainingJob(
        systems=tuple(copies.values()),
        elements=tuple(config.elements),
        seed=seed,
        previous=before,
        output=context.out / "models" / str(index),
        scratch=context.scratch / str(index),
        index=index,
        iteration=iteration,
        new=tuple(copy for system, copy in copies.items() if iteration > 1 and system.is_relative_to(newest)),
        heads=tuple(tasks),
        threads=context.threads,
        gpus=context.gpus,
        timeout=context.timeout,
    )


def _by_task(items: Iterable[Item]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.origin.task, []).append(item)
    return found


def _progress(context: Context, done: int, models: int, fraction: float) -> None:
    context.progress((done + fraction) / models)


def _train_one(trainer: Trainer, task: TrainingJob, begun: ModelResult, progress: Progress) -> ModelResult:
    """Train one model; a training that fails is a result too, and the next step judges it."""
    started, steps, failed = time.monotonic(), 0, None
    try:
        steps = trainer.train(task, progress)
    except EngineError as error:
        failed = str(error)
    return begun.model_copy(update={"steps": steps, "seconds": time.monotonic() - started, "failed": failed})


def _judge(
    config: TrainingStudy, trainer: Trainer, task: TrainingJob, judges: dict[str, list[Item]], result: ModelResult
) -> ModelResult:
    """The model's errors on the held-out data; its predictions are kept for the report's parity plots."""
    started = time.monotonic()
    counted = config.explored_tasks or list(judges)
    predicted: dict[str, list[Labels]] = {}
    speed = None
    wanted = config.measures_speed
    try:
        for name, items in judges.items():
            model = trainer.load(task.output, name)
            predicted[name] = model.evaluate([item.labeled.frame for item in items])
            if name == counted[0] and wanted:
                speed = _speed(model, [item.labeled.frame for item in items])
    except EngineError as error:
        return result.model_copy(update={"failed": str(error)})
    items = [item for name in counted for item in judges[name]]
    answers = [labels for name in counted for labels in predicted[name]]
    reference = [item.labeled.labels for item in items]
    energies, forces = parity_points(answers, reference)
    np.savez(task.output / PREDICTIONS, energy=energies, force=forces)
    found = errors(answers, reference)
    by_task = {
        name: errors(predicted[name], [item.labeled.labels for item in items]) for name, items in judges.items() if name
    }
    update = {
        "errors": found, "tasks": by_task, "speed": speed,
        "seconds": result.seconds + time.monotonic() - started,
    }  # fmt: skip
    if not np.isfinite(found.force_rmse):
        update = {"failed": "its forces on the held-out data are not finite", "seconds": update["seconds"]}
    return result.model_copy(update=update)


def _first_that_starts_from_a_model(config: TrainingStudy) -> int | None:
    """The model that the baseline is that of."""
    return next((index for index in range(config.train.n_models) if config.train.starts_from_a_model(index)), None)


def _before(
    config: TrainingStudy,
    trainer: Trainer,
    task: TrainingJob,
    train: Path,
    judges: dict[str, list[Item]],
    result: ModelResult,
) -> ModelResult:  # fmt: skip
    """With the errors of the pre-trained model before any training: zero-shot, its energies shifted to the data.

    A head that is replayed is judged as it is: its data are those that it was trained on.
    """
    baseline: dict[str, Errors] = {}
    systems = task_systems(train)
    try:
        for name, model in trainer.pretrained(task).items():
            items = judges[name]
            frames, reference = [item.labeled.frame for item in items], [item.labeled.labels for item in items]
            predicted = model.evaluate(frames)
            if not name or config.part(name).head is not None:
                shift = _shift(model, systems[name], config.elements, child_seed(config.seed, "shift"))
                predicted = [shifted(labels, frame, shift) for labels, frame in zip(predicted, frames, strict=True)]
            baseline[name] = errors(predicted, reference)
    except EngineError as error:
        return result.model_copy(update={"failed": str(error)})
    return result.model_copy(update={"baseline": baseline})


def _shift(model: Evaluator, systems: Sequence[Path], elements: Sequence[str], seed: int) -> dict[str, float]:
    """Energies per element, in eV, that fit a model to the training data."""
    from lamflow.data.io import read_labeled

    labeled = [item for system in systems for item in read_labeled(system)]
    drawn = np.random.default_rng(seed).permutation(len(labeled))[:SHIFT_FRAMES]
    frames = [labeled[place].frame for place in drawn]
    return energy_shift(model.evaluate(frames), [labeled[place].labels for place in drawn], frames, elements)


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


def _hash(config: TrainingStudy, frames: list[str], input_text: str, input: Path) -> str:
    """Changes when the data or the training's settings do."""
    tasks = [(part.name, part.head, part.weight, part.name in config.explored_tasks) for part in config.tasks]
    text = settings_text(config.train, input) + input_text.replace(f"{input}/", "") + json.dumps(tasks)
    text += "".join(config.elements) + "".join(sorted(frames))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _same(before: Path, data_hash: str) -> bool:
    """The model of the iteration before was made from the very same data and settings, and is good."""
    result = ModelResult.read(before / RESULT)
    return result.data_hash == data_hash and not result.failed
