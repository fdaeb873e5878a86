"""Small models trained on part of labeled frames, as cleaning needs them: for a fold, or for a point of a curve."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lamflow.config.engines import TrainerSettings
from lamflow.data import LabeledFrame, Labels
from lamflow.data.dataset import Item, Origin, systems, write_dataset
from lamflow.data.frames import Ints
from lamflow.data.layout import SCRATCH, TRAIN
from lamflow.data.mixed import write_mixed
from lamflow.data.shards import Shard
from lamflow.engines import registry
from lamflow.engines.protocol import Evaluator, Model, TrainingJob
from lamflow.errors import EngineError
from lamflow.ops.operation import Context


def labeled_frames(folders: Sequence[Path], wanted: Ints) -> Mapping[int, LabeledFrame]:
    """The frames with these numbers among all of the shards, without virials: no sign of a stress is settled yet."""
    found, chosen, start = dict[int, LabeledFrame](), set(wanted.tolist()), 0
    for folder in folders:
        shard = Shard.read(folder)
        for number, labeled in enumerate(shard, start):
            if number in chosen:
                found[number] = dataclasses.replace(labeled, labels=dataclasses.replace(labeled.labels, virial=None))
        start += len(shard)
    return found


@dataclass(frozen=True)
class SmallModels:
    """How models are trained on part of the frames."""

    train: TrainerSettings
    elements: Sequence[str]
    data_format: str
    context: Context

    def trained_on(self, labeled: Sequence[LabeledFrame], name: str, seed: int) -> Model:
        """A model of these frames, below the folder `name` of the job's scratch. Raises EngineError when it fails."""
        folder = self.context.scratch / name
        items = [Item(own, Origin(iteration=0, source=f"frame {number}")) for number, own in enumerate(labeled)]
        shutil.rmtree(folder / TRAIN, ignore_errors=True)
        if self.data_format == "deepmd/npy/mixed":
            write_mixed(folder / TRAIN, items, self.elements)
        else:
            write_dataset(folder / TRAIN, items, list(self.elements), "deepmd/npy")
        job = self._job(folder, systems(folder / TRAIN), seed)
        trainer = registry.trainer(self.train)
        trainer.train(job, lambda _: None)
        return trainer.load(job.output)

    def pretrained(self) -> Evaluator | None:
        """The model that trainings start from, as it is; None where they start from random weights."""
        folder = self.context.scratch / "pretrained"
        found = registry.trainer(self.train).pretrained(self._job(folder, (), 0))
        return next(iter(found.values()), None)

    def _job(self, folder: Path, data: Sequence[Path], seed: int) -> TrainingJob:
        return TrainingJob(
            systems=tuple(data), elements=tuple(self.elements), seed=seed, previous=None,
            output=folder / "model", scratch=folder / SCRATCH, threads=self.context.threads, gpus=self.context.gpus,
            timeout=self.context.timeout,
        )  # fmt: skip


def asked(model: Evaluator, labeled: Mapping[int, LabeledFrame], batch: int = 200) -> dict[int, Labels]:
    """What the model says of each frame, by its number; frames that it cannot evaluate are left out."""
    answers = dict[int, Labels]()
    numbers = list(labeled)
    for start in range(0, len(numbers), batch):
        part = numbers[start : start + batch]
        try:
            answers |= zip(part, model.evaluate([labeled[number].frame for number in part]), strict=True)
        except EngineError:
            for number in part:
                try:
                    answers |= zip([number], model.evaluate([labeled[number].frame]), strict=True)
                except EngineError:
                    continue
    return answers
