"""Models trained on the labels themselves, each asked about the frames that it has not seen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lamflow.config import stored
from lamflow.config.cleaning import CleaningStudy
from lamflow.config.seeds import child_seed
from lamflow.data import LabeledFrame
from lamflow.data.layout import PREDICTIONS, PREDICTIONS_RECORD, SHARD
from lamflow.data.opinions import Opinions
from lamflow.data.shards import About, shards_below
from lamflow.engines import registry
from lamflow.engines.protocol import Model
from lamflow.ops.fold_models import SmallModels, asked, labeled_frames
from lamflow.ops.frames_table import frames_table
from lamflow.ops.operation import Context, op
from lamflow.ops.predict_frames import FramesPredicted, Predictions
from lamflow.policy.cleaning import elements_of
from lamflow.policy.folds import folds_of, suspects, training_frames
from lamflow.policy.jobs import indices_of_job
from lamflow.science.cleaning.opinions import opinions

FEWEST = 20
"""Frames that a model is trained on, at least; smaller heads are not asked about."""


@op
def predict_folds(context: Context, *, input: Path, shards: Path) -> Predictions:
    """Train the models of folds job, job + jobs, … and ask each about its fold; a file a fold."""
    study, started, total = stored(input, CleaningStudy), time.monotonic(), 0
    assert study.folds is not None  # noqa: S101  the graph has no such step then
    folders = shards_below(shards)
    table = frames_table(study, folders, [About.read(folder / SHARD) for folder in folders]).table
    fold, good = folds_of(study, table, study.folds.n), ~suspects(study, table)
    small = table.features.natoms <= (study.folds.max_atoms or np.inf)
    models = SmallModels(study.folds.train, elements_of(study, table), study.data_format, context)
    folder = context.out / PREDICTIONS / str(context.job)
    folder.mkdir(parents=True)
    own = indices_of_job(study.folds.n, context.jobs, context.job)
    for done, number in enumerate(own):
        said = Opinions.nothing(len(table))
        for head, name in enumerate(table.heads):
            seed = child_seed(study.seed, "fold", number, name)
            inside = training_frames(table, good & small & (fold != number), head, study.folds.frames, seed)
            outside = np.flatnonzero((table.head == head) & (fold == number) & small)
            if len(inside) < FEWEST or not len(outside):
                continue
            labeled = labeled_frames(folders, np.concatenate([inside, outside]))
            model = models.trained_on([labeled[int(one)] for one in inside], f"{number}-{name}", seed)
            said.fill(outside, _opinions(model, [labeled[int(one)] for one in outside]))
            total += len(outside)
            context.say(f"fold {number}, head {name}: {len(outside)} frames by a model of {len(inside)} others")
        said.save(folder / f"{number}.npz")
        context.progress((done + 1) / len(own))
    made_by = registry.provenance(study.folds.train)
    FramesPredicted(frames=total, seconds=time.monotonic() - started, provenance=made_by).save(
        folder / PREDICTIONS_RECORD
    )
    return Predictions(context.out / PREDICTIONS)


def _opinions(model: Model, labeled: Sequence[LabeledFrame]) -> Opinions:
    return opinions(labeled, asked(model, dict(enumerate(labeled))))
