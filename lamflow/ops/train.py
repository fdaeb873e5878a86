"""Train this pod's share of the committee and judge each model on the held-out data."""

from __future__ import annotations

import hashlib
import shutil
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.config.schema import Config
from lamflow.config.seeds import child_seed
from lamflow.data.dataset import manifests, read_dataset, systems
from lamflow.data.results import ModelResult
from lamflow.engines import registry
from lamflow.engines.protocol import Progress, Trainer, TrainTask
from lamflow.errors import EngineError
from lamflow.ops._op import Context, op
from lamflow.science.metrics import errors
from lamflow.science.tasks import deal

RESULT, PREDICTIONS = "model.json", "heldout.npz"


class Trained(NamedTuple):
    """models: one folder a model, with its files, model.json and its predictions on the held-out data."""

    models: Path


@op
def train(
    context: Context, *, input: Path, train: Path, heldout: Path, previous: Path | None, iteration: int
) -> Trained:
    """Train models pod, pod + pods, … of the committee."""
    config = stored(input)
    trainer = registry.trainer(config.train)
    known = manifests(train)
    frames = sum(len(manifest.frames) for manifest in known)
    data_hash = _hash(config, [record.hash for manifest in known for record in manifest.frames])
    mine = deal(config.train.models, context.pods, context.pod)
    for done, index in enumerate(mine):
        output = context.out / "models" / str(index)
        before = previous / str(index) if previous is not None else None
        if before is not None and _same(before, data_hash):
            shutil.copytree(before, output, symlinks=False)
            result = ModelResult.read(output / RESULT).model_copy(update={"reused": True, "seconds": 0.0})
            result.save(output / RESULT)
            continue
        task = TrainTask(
            systems=tuple(systems(train.resolve())),
            elements=tuple(config.elements),
            seed=child_seed(config.seed, "train", iteration, index),
            previous=before,
            output=output,
            scratch=context.scratch / str(index),
            threads=context.threads,
            timeout=context.timeout,
        )
        begun = ModelResult(
            index=index, seed=task.seed, data_hash=data_hash, training_frames=frames, steps=0, seconds=0.0
        )
        result = _train_one(trainer, task, begun, partial(_progress, context, done, len(mine)))
        if not result.failed:
            result = _judge(trainer, output, heldout, result)
        result.save(output / RESULT)
    return Trained(context.out / "models")


def _progress(context: Context, done: int, models: int, share: float) -> None:
    context.progress((done + share) / models)


def _train_one(trainer: Trainer, task: TrainTask, begun: ModelResult, progress: Progress) -> ModelResult:
    """Train one model; a training that fails is a result too, and the next step judges it."""
    started, steps, failed = time.monotonic(), 0, None
    try:
        steps = trainer.train(task, progress)
    except EngineError as error:
        failed = str(error)
    return begun.model_copy(update={"steps": steps, "seconds": time.monotonic() - started, "failed": failed})


def _judge(trainer: Trainer, folder: Path, heldout: Path, result: ModelResult) -> ModelResult:
    """The model's errors on the held-out data; its predictions are kept for the report's parity plots."""
    started = time.monotonic()
    items = [item for path in sorted(heldout.iterdir()) if path.is_dir() for item in read_dataset(path)]
    reference = [item.labeled.labels for item in items]
    try:
        predicted = trainer.load(folder).evaluate([item.labeled.frame for item in items])
    except EngineError as error:
        return result.model_copy(update={"failed": str(error)})
    natoms = np.array([item.labeled.frame.natoms for item in items])
    np.savez(
        folder / PREDICTIONS,
        energy=np.array([[p.energy, r.energy] for p, r in zip(predicted, reference, strict=True)]) / natoms[:, None],
        force=np.concatenate(
            [np.stack([p.forces.ravel(), r.forces.ravel()], 1) for p, r in zip(predicted, reference, strict=True)]
        ),
    )
    found, seconds = errors(predicted, reference), result.seconds + time.monotonic() - started
    if not np.isfinite(found.force_rmse):
        return result.model_copy(
            update={"failed": "its forces on the held-out data are not finite", "seconds": seconds}
        )
    return result.model_copy(update={"errors": found, "seconds": seconds})


def _hash(config: Config, frames: list[str]) -> str:
    """Changes when the data or the training's settings do."""
    text = config.train.model_dump_json() + "".join(config.elements) + "".join(sorted(frames))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _same(before: Path, data_hash: str) -> bool:
    """The model of the iteration before was made from the very same data and settings, and is good."""
    result = ModelResult.read(before / RESULT)
    return result.data_hash == data_hash and not result.failed
