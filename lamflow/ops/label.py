"""Label one batch of frames."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.config.engines import LabelerSettings
from lamflow.config.schema import DataStudy
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.batch import Batch
from lamflow.data.cache import LabelCache
from lamflow.data.dataset import Item, write_dataset
from lamflow.data.frames import Floats
from lamflow.data.gate import SeenLabels
from lamflow.data.label_work import LabelWork
from lamflow.data.layout import DATA, LABELED, LABELED_RECORD
from lamflow.data.results import Labeled, LabelOutcome
from lamflow.data.spent import spending, take
from lamflow.engines import registry
from lamflow.engines.protocol import Labeler, LabelFailure
from lamflow.ops.operation import Context, op
from lamflow.ops.read import label_key, settings_hash
from lamflow.policy.calibration import channel_errors


class Labeling(NamedTuple):
    """labeled: one folder a job, with the outcome of every frame and the good ones as a data set."""

    labeled: Path


@op
def label(context: Context, *, input: Path, batch: Path) -> Labeling:
    """Label the frames of `batch`; a frame that fails is recorded with its reason and does not stop the others.

    What somebody has paid for already comes from the label cache, and every new label goes there at once.
    """
    study = stored(input, DataStudy)
    frames = Batch.read(batch)
    settings = study.labeler(frames.head).pinned(study)
    cache = context.labels if study.label_cache and settings.cached else None
    labeling = _Labeling(study.name, settings, settings_hash(settings), registry.labeler(settings), cache)
    answers = {index: answer for index, frame in enumerate(frames.frames) if (answer := labeling.known(frame))}
    waiting = [index for index in range(len(frames.frames)) if index not in answers]
    context.say(f"{len(frames.frames)} frames by {settings.engine}, of which {len(answers)} need no computation")
    for first in range(0, len(waiting), settings.at_once):
        indices = waiting[first : first + settings.at_once]
        labeled = labeling.label([frames.frames[index] for index in indices], context.scratch)
        answers.update(zip(indices, labeled, strict=True))
        for index, answer in zip(indices, labeled, strict=True):
            context.say(f"frame {index + 1} of {len(frames.frames)}: {answer.words}")
        context.progress(len(answers) / len(frames.frames))
    outcomes, items = [], []
    for index, frame in enumerate(frames.frames):
        outcome, labels = _outcome(frames, index, labeling.settings_id, answers[index]), answers[index].labels
        outcomes.append(outcome)
        if isinstance(labels, Labels):
            items.append(Item(LabeledFrame(frame, labels), outcome.origin))
    folder = context.out / LABELED / str(context.job)
    write_dataset(folder / DATA, items, study.elements, "deepmd/npy")
    made_by = registry.provenance(settings, labeler=labeling.labeler, work=context.scratch)
    Labeled(outcomes=outcomes, role=frames.role, provenance=made_by, spent=take()).save(folder / LABELED_RECORD)
    return Labeling(context.out / LABELED)


class _Answer(NamedTuple):
    """What the engine said of a frame, and what it cost, in s."""

    labels: Labels | LabelFailure
    seconds: float
    cached: bool = False

    @property
    def words(self) -> str:
        """What became of the frame."""
        if isinstance(self.labels, LabelFailure):
            return f"failed after {self.seconds:.1f} s: {self.labels.reason.splitlines()[0]}"
        return f"energy {self.labels.energy:.6f} eV, {self.seconds:.1f} s"


@dataclass(frozen=True, eq=False)
class _Labeling:
    """A label engine with its cache; `run` is named beside labels that are kept, `seen` are labels of before."""

    run: str
    settings: LabelerSettings
    settings_id: str
    labeler: Labeler
    cache: LabelCache | None
    seen: SeenLabels = field(default_factory=SeenLabels)

    def known(self, frame: Frame) -> _Answer | None:
        """What can be said of a frame without computing anything."""
        key = label_key(self.settings_id, self.settings, self.labeler, frame)
        labels = self.cache.get(key, frame) if self.cache is not None and key else None
        if labels is not None:
            return _Answer(labels, 0.0, cached=True)
        if frame.electronic_temperature is not None and not self.settings.uses_electronic_temperature:
            reason = f"{self.settings.engine} knows no electronic temperature, and the frame has one"
            return _Answer(LabelFailure(reason, kind="refused"), 0.0)
        if frame.spins is not None and not self.settings.uses_spins:
            reason = f"{self.settings.engine} gives no magnetic forces as it is set up, and the frame has moments"
            return _Answer(LabelFailure(reason, kind="refused"), 0.0)
        return None

    def label(self, frames: Sequence[Frame], scratch: Path) -> list[_Answer]:
        """Answers of the engine, good ones kept in the cache."""
        started = time.monotonic()
        with spending("physics"):
            answers = self.labeler.label(frames, scratch)
        seconds = (time.monotonic() - started) / len(frames)
        checked = [_checked(frame, answer, self.seen) for frame, answer in zip(frames, answers, strict=True)]
        for frame, labels in zip(frames, checked, strict=True):
            key = label_key(self.settings_id, self.settings, self.labeler, frame)
            if self.cache is not None and key and isinstance(labels, Labels):
                about = {
                    "engine": self.settings.engine, "run": self.run, "seconds": seconds, "lamflow": version("lamflow")
                }  # fmt: skip
                self.cache.put(key, frame, labels, about)
        return [_Answer(labels, seconds) for labels in checked]


def _outcome(batch: Batch, index: int, settings: str, answer: _Answer) -> LabelOutcome:
    """The record of one label."""
    origin = batch.origins[index].model_copy(update={"settings": settings})
    labels = answer.labels
    natoms = batch.frames[index].natoms
    about: dict[str, Any] = {**dict(LabelWork.of(batch.frames[index])), "seconds": answer.seconds}
    about["cached"] = answer.cached
    if len(labels.attempts) > 1:
        about["attempts"] = list(labels.attempts)
    if isinstance(labels, LabelFailure):
        about.update(failed=labels.reason, kind=labels.kind, log=labels.log)
    else:
        about["energy"] = labels.energy
        about["net_force"] = float(np.linalg.norm(labels.forces.sum(axis=0)) / np.sqrt(natoms))
        if batch.forces is not None:
            about["error"] = _largest_error(batch.forces[index], labels)
        if batch.predicted is not None:
            about["errors"] = channel_errors(batch.predicted[index], labels, origin.scores)
    return LabelOutcome(hash=batch.frames[index].content_hash(), origin=origin, **about)


def _checked(frame: Frame, labels: Labels | LabelFailure, seen: SeenLabels) -> Labels | LabelFailure:
    """The gate that every label passes, whatever the code."""
    problem = (labels.problem(frame) or seen.problem(frame, labels)) if isinstance(labels, Labels) else None
    return LabelFailure(problem, kind="invalid") if problem else labels


def _largest_error(predicted: Floats, labels: Labels) -> float:
    """Largest error of the force on an atom, eV/Å, among those for which something was predicted."""
    error = np.linalg.norm(predicted - labels.forces, axis=1)
    known = error[~np.isnan(error)]
    return float(known.max()) if len(known) else float("nan")
