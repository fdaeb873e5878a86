"""Ask pre-trained models about labeled frames, and keep how far the labels are from what they say."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.config.cleaning import CleaningStudy, Models
from lamflow.config.engines import EngineSettings
from lamflow.data.features import Features
from lamflow.data.frames import Ints, LabeledFrame
from lamflow.data.job_record import JobRecord
from lamflow.data.layout import FEATURES, PREDICTIONS, PREDICTIONS_RECORD
from lamflow.data.opinions import Opinions
from lamflow.data.shards import Shard, shards_below
from lamflow.data.spent import spending, take
from lamflow.engines import registry
from lamflow.ops.operation import Context, op
from lamflow.policy.jobs import indices_of_job
from lamflow.science.cleaning.exchanges import exchanges
from lamflow.science.cleaning.opinions import opinions


class FramesPredicted(JobRecord):
    """What one job has asked. frames: how often, all models together; seconds: that they took"""

    frames: int
    seconds: float


class Predictions(NamedTuple):
    """predictions: a folder for each job, with a file for each of its shards and models."""

    predictions: Path


@op
def predict_frames(context: Context, *, input: Path, shards: Path) -> Predictions:
    """Ask every model about shards job, job + jobs, …"""
    study = stored(input, CleaningStudy)
    assert study.models is not None  # noqa: S101  the graph has no such step then
    folders, started, asked = shards_below(shards), time.monotonic(), 0
    folder = context.out / PREDICTIONS / str(context.job)
    totals = _frames_of_sources(folders)
    for done, index in enumerate(indices_of_job(len(folders), context.jobs, context.job)):
        shard = Shard.read(folders[index])
        chosen = _chosen(shard, study.models, totals[shard.about.source])
        for number, settings in enumerate(study.models.engines):
            with spending("judging"):
                said = _ask(settings, list(shard), chosen, Features.read(folders[index] / FEATURES))
            said.save(folder / f"{index:05d}-{number}.npz")
            asked += len(chosen)
        context.progress((done + 1) * context.jobs / len(folders))
    made_by = registry.provenance(*study.models.engines)
    folder.mkdir(parents=True, exist_ok=True)
    FramesPredicted(frames=asked, seconds=time.monotonic() - started, provenance=made_by, spent=take()).save(
        folder / PREDICTIONS_RECORD
    )
    return Predictions(context.out / PREDICTIONS)


def _frames_of_sources(folders: Sequence[Path]) -> dict[str, int]:
    from lamflow.data.layout import SHARD
    from lamflow.data.shards import About

    totals: dict[str, int] = {}
    for folder in folders:
        about = About.read(folder / SHARD)
        totals[about.source] = totals.get(about.source, 0) + about.frames
    return totals


def _chosen(shard: Shard, models: Models, total: int) -> Ints:
    """Frames of a shard that are asked about: not too large ones, spread evenly."""
    small = np.flatnonzero(shard.frames.natoms <= (models.max_atoms or np.inf))
    if models.frames is None or total <= models.frames:
        return np.asarray(small, dtype=np.int64)
    count = round(models.frames * len(shard) / total)
    return np.asarray(small[np.unique(np.linspace(0, len(small) - 1, min(count, len(small))).astype(int))])


def _ask(settings: EngineSettings, labeled: Sequence[LabeledFrame], chosen: Ints, known: Features) -> Opinions:
    """What a model says; frames that it has wrong in all are asked about again with two elements exchanged."""
    elements = registry.known_elements(settings)
    asked = [int(index) for index in chosen if elements is None or set(labeled[index].frame.symbols) <= elements]
    if not asked:
        return opinions(labeled, {})
    evaluator = registry.evaluator(settings)
    answers = dict(zip(asked, evaluator.evaluate([labeled[index].frame for index in asked]), strict=True))
    said = opinions(labeled, answers)
    atoms = exchanges(labeled, known, said, answers, evaluator.evaluate)
    return replace(said, first_atom=atoms[:, 0], second_atom=atoms[:, 1])
