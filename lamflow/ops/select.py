"""Decide whether to label, and keep the frames that are worth it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.config.engines import SearcherSettings
from lamflow.config.learning import Config
from lamflow.data.batch import Batch
from lamflow.data.dataset import frame_key
from lamflow.data.explored import ExploredFrames, FoundFrames
from lamflow.data.layout import (
    BATCHES,
    EXPLORED_RECORD,
    FOUND,
    FRAMES,
    HISTORY_RECORD,
    HULLS,
    MODEL,
    PROPERTIES_RECORD,
    SELECTED,
    SELECTED_RECORD,
)
from lamflow.data.packed import PackedFrames
from lamflow.data.properties import PropertyValues
from lamflow.data.provenance import Provenance
from lamflow.data.results import Explored, History, ModelResult, SimulationResult
from lamflow.data.selected import Selected
from lamflow.data.spent import take
from lamflow.errors import EngineError
from lamflow.ops.channel_scores import with_scores
from lamflow.ops.committees import Committees
from lamflow.ops.cut_frames import cut_frames
from lamflow.ops.operation import Context, op
from lamflow.ops.read import read_calibration, read_index
from lamflow.policy.candidates import ChosenFrame
from lamflow.policy.failures import exploration_failed
from lamflow.policy.hulls import HullStructures, RelaxedCandidate, make_hull
from lamflow.policy.jobs import indices_of_job, jobs_needed, merge_partial, proportional_jobs, seconds_per_unit
from lamflow.policy.ramps import ramp_levels, step_back
from lamflow.policy.selection import Exploration, select_frames


class Selection(NamedTuple):
    """selected: selected.json and batches/0, 1, …; the other fields are what Argo's UI shows."""

    selected: Path
    decision: str
    batches: int
    accurate_fraction: float
    candidates: int
    labels: int
    force_rmse: float


@op
def select(  # noqa: PLR0913  an OP's arguments are its ports
    context: Context, *, input: Path, explored: Path, queued: Path | None, models: Path, index: Path,
    properties: Path | None = None, history: Path, iteration: int, stage: int, jobs_at_once: int,
) -> Selection:  # fmt: skip
    """Decide over whatever all explore jobs found."""
    study = stored(input)
    record = History.read(history / HISTORY_RECORD)
    past, hours = record.iterations, max(0.0, time.time() - record.written) / 3600 if record.written else 0.0
    folders = sorted(path.parent for path in explored.glob(f"*/{EXPLORED_RECORD}"))
    frames = [ExploredFrames.load(path / FRAMES) for path in folders]
    parts = [result for path in folders for result in Explored.read(path / EXPLORED_RECORD).simulations]
    results = {result.number: result for result in merge_partial(parts)}
    output = context.out / SELECTED
    problem = exploration_failed(study.select, results, frames)
    if problem:
        levels = ramp_levels(study.stages[stage], past)
        retreat = step_back(study.stages[stage], levels, results)
        if retreat is None:
            raise EngineError(problem)
        return _write(output, retreat, [], [], 0, np.nan)
    frames += _read_queue(queued, results, len(study.stages[stage].explore))
    hulls = _read_hulls(study, folders, results, stage)
    known = read_index(index, iteration, study.explored_heads)
    late = past[-1].selected.chosen if past and past[-1].selected is not None and past[-1].late else []
    known.hashes.update(frame_key(item.hash, item.origin.head) for item in late)
    judged = [ModelResult.read(path) for path in sorted(models.glob(f"*/{MODEL}"))]
    tracked = PropertyValues.read(properties / PROPERTIES_RECORD).tracked() if properties is not None else None
    calibration = read_calibration(study, past, models)
    committees = Committees(study, models) if study.select.asks_models else None
    exploration = Exploration(
        iteration,
        stage,
        past,
        results,
        frames,
        hulls,
        known,
        judged,
        tracked,
        calibration,
        hours,
        jobs_at_once,
        partial(cut_frames, study, committees, known.hashes) if committees is not None else None,
    )
    choice = select_frames(study, exploration)
    labeled = choice.frames
    if committees is not None and study.select.allowed:
        labeled = with_scores(study, committees, labeled)
    batches = label_batches(study, labeled, jobs_at_once, seconds_per_unit(past).get("label"))
    return _write(output, choice.record, hulls, batches, len(choice.frames), choice.force_rmse)


def _read_queue(queued: Path | None, results: dict[int, SimulationResult], group: int) -> list[ExploredFrames]:
    """Frames that waited to be labeled, as simulations of a group of their own, which are added to `results`."""
    explored = []
    for folder in sorted(queued.iterdir()) if queued is not None else []:
        [result], frames = Explored.read(folder / EXPLORED_RECORD).simulations, ExploredFrames.load(folder / FRAMES)
        number = 1 + max(results)
        results[number] = result.model_copy(update={"number": number, "group": str(group)})
        explored.append(replace(frames, simulation=np.full(len(frames.simulation), number)))
    return explored


def _read_hulls(
    study: Config, folders: Sequence[Path], results: Mapping[int, SimulationResult], stage: int
) -> list[HullStructures]:
    """The hull of every head and condition that this iteration has searched."""
    candidates: dict[tuple[str, tuple[tuple[str, float], ...]], list[RelaxedCandidate]] = {}
    for folder in folders:
        records = Explored.read(folder / EXPLORED_RECORD).structures
        if not records:
            continue
        stored_frames = FoundFrames.load(folder / FOUND)
        forces = stored_frames.frames.split(stored_frames.forces)
        for record, frame, predicted in zip(records, stored_frames.frames, forces, strict=True):
            result = results[record.search]
            key = result.head, tuple(sorted(result.condition.items()))
            candidates.setdefault(key, []).append(RelaxedCandidate(record, frame, predicted))
    hulls = []
    for (head, condition), group in sorted(candidates.items(), key=lambda item: item[0]):
        first = min(group, key=lambda one: (one.record.search, one.record.generation, one.record.number))
        settings = study.stages[stage].explore[int(results[first.record.search].group)]
        assert isinstance(settings, SearcherSettings)  # noqa: S101  others find no structures
        hulls.append(make_hull(head, dict(condition), group, settings))
    return hulls


def label_batches(
    study: Config, chosen: Sequence[ChosenFrame], jobs_at_once: int, seconds: float | None
) -> list[Batch]:
    """The frames of each head dealt out to label jobs, the largest first.

    seconds  that one label takes, if it has been measured
    """
    batches = []
    for head in study.all_heads:
        frames = [item for item in chosen if item.why.origin.head == head.name]
        if not frames:
            continue
        frames.sort(key=lambda item: -item.frame.natoms)
        slots = proportional_jobs(jobs_at_once, len(frames), len(chosen))
        jobs = jobs_needed(len(frames), slots, study.pods.label.work_per_job, seconds)
        for job in range(jobs):
            batch = [frames[index] for index in indices_of_job(len(frames), jobs, job)]
            origins, forces = [item.why.origin for item in batch], [item.forces for item in batch]
            predicted = [item.predicted for item in batch if item.predicted is not None]
            frames_of_batch = [item.frame for item in batch]
            batches.append(Batch(frames_of_batch, origins, forces=forces, predicted=predicted or None))
    return batches


def _write(
    folder: Path, record: Selected, hulls: Sequence[HullStructures], batches: Sequence[Batch], labels: int,
    force_rmse: float,
) -> Selection:  # fmt: skip
    (folder / BATCHES).mkdir(parents=True)
    for number, batch in enumerate(batches):
        batch.save(folder / BATCHES / str(number))
    for number, hull in enumerate(hulls):
        PackedFrames.of(hull.frames).save(folder / HULLS / f"{number}.npz")
    record = record.model_copy(
        update={"batches": len(batches), "provenance": Provenance.of_this_job(), "spent": take()}
    )
    record.save(folder / SELECTED_RECORD)
    return Selection(
        folder, record.decision, len(batches), record.accurate_fraction, record.candidates, labels, force_rmse
    )
