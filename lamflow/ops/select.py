"""Decide whether to label, and keep the frames that are worth it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.config.schema import Config
from lamflow.config.seeds import child_seed
from lamflow.config.select import FixedWindow
from lamflow.data import Frame, Trajectory
from lamflow.data.batch import Batch
from lamflow.data.dataset import Origin, frame_key
from lamflow.data.explored import GENERATION, ExploredFrames
from lamflow.data.frames import Floats, Ints
from lamflow.data.hulls import Hull
from lamflow.data.packed import PackedFrames
from lamflow.data.results import (
    NEAR_HULL,
    Chosen,
    Explored,
    History,
    Iteration,
    ModelResult,
    Selected,
    TaskResult,
    first_baseline,
    mean_force_rmse,
)
from lamflow.ops._hulls import Found, change, ground_state_error, hulls
from lamflow.ops._judge import FRAMES, good_frames
from lamflow.ops._judge import RESULT as SHARE
from lamflow.ops._ramps import fallen_back, groups_seen, ramp_status, require_frames
from lamflow.ops._read import Known, read_index
from lamflow.ops.operation import Context, op
from lamflow.science.converge import Rules, Standing, decide
from lamflow.science.metrics import chosen_variant
from lamflow.science.ramp import next_levels, ramp_levels
from lamflow.science.select import Window, adaptive_window, limited, pick
from lamflow.science.tasks import collected, deal, pods_needed, share_of, task_seconds

RESULT, HULLS = "selected.json", "hulls"
BINS = 60


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
    context: Context, *, input: Path, explored: Path, queued: Path | None, models: Path, index: Path, history: Path,
    iteration: int, stage: int, pods_at_once: int,
) -> Selection:  # fmt: skip
    """Window, decision, pick and limits over what all explore pods found."""
    config = stored(input)
    past = History.read(history / "history.json").iterations
    shards = sorted(path.parent for path in explored.glob(f"*/{SHARE}"))
    found = [ExploredFrames.load(path / FRAMES) for path in shards]
    stage_settings = config.stages[stage]
    levels = ramp_levels(stage_settings, past)
    tasks = {task.number: task for task in collected(t for path in shards for t in Explored.read(path / SHARE).tasks)}
    fallen = fallen_back(config, stage_settings, levels, tasks, found)
    if fallen is not None:
        fallen.save(context.out / "selected" / RESULT)
        (context.out / "selected" / "batches").mkdir()
        return Selection(context.out / "selected", fallen.decision, 0, 0.0, 0, 0, np.nan)
    require_frames(config, tasks, found)
    found += _from_elsewhere(queued, tasks, len(config.stages[stage].explore))
    deviation = np.concatenate([part.deviation for part in found])
    window = _window(config, deviation)
    known = read_index(index, iteration, config.explored_tasks)
    searched = hulls(config, shards, tasks, stage)
    pool = _Pool.of(found, window, known, tasks)
    results = [ModelResult.read(path) for path in sorted(models.glob("*/model.json"))]
    variant = chosen_variant(results, config.train.speed_tolerance)
    seen = _seen(deviation, window, tasks, pool)
    rmse = _trajectory_rmse(config, found, tasks, variant, window)
    error = ground_state_error(past) if searched else None
    away = change(_last_hulls(past), [each.hull for each in searched])
    groups = groups_seen(stage_settings, levels, tasks, found, window)
    update = {
        "groups": groups,
        "hulls": [each.hull for each in searched],
        "hull_shift": away,
        "ground_state_error": error,
    }
    seen = seen.model_copy(update={**update, "trajectory_force_rmse": rmse})
    name = config.stages[stage].name
    here = [item for item in past if item.selected is not None and item.stage == name]
    labels = past[-1].labels if past else 0
    best = _best(config, searched, known, tasks, _room(config, labels), iteration)
    taken = {item.why.hash for item in best}
    rest = _chosen(config, pool, tasks, _room(config, labels) - len(best), iteration, taken)
    chosen = [*best, *rest]
    now = Standing(
        iteration=iteration,
        stage=stage,
        stages=len(config.stages),
        stage_iteration=1 + len(here),
        stage_limit=config.stages[stage].max_iterations,
        accurate_fraction=seen.accurate_fraction,
        candidates=len(chosen),
        force_rmse=[*_rmse(here), mean_force_rmse(results, variant) or np.nan],
        labels=labels,
        levels=_levels(config, here, window),
        trajectory_rmse=rmse,
        forgotten=_forgotten(config, past, results),
        hull_shift=away,
        ground_state_error=error,
        ramping=ramp_status(stage_settings, levels, next_levels(stage_settings, levels, groups)),
    )
    decision = decide(now, _rules(config))
    if decision.action != "label":
        chosen = []
    folder = context.out / "selected"
    count = _write_batches(folder, config, chosen, pods_at_once, task_seconds(past).get("label"))
    for number, each in enumerate(searched):
        PackedFrames.of(each.frames).save(folder / HULLS / f"{number}.npz")
    outcome = {"chosen": [item.why for item in chosen], "batches": count, "decision": decision.action}
    seen = seen.model_copy(update={**outcome, "reason": decision.reason, "converged": decision.converged})
    seen.save(folder / RESULT)
    return Selection(
        folder, decision.action, count, seen.accurate_fraction, seen.candidates, len(chosen), now.force_rmse[-1]
    )


class _Picked(NamedTuple):
    """A frame to label, the forces (N, 3) that the models predict for it in eV/Å, and why."""

    frame: Frame
    forces: Floats
    why: Chosen


def _room(config: Config, labels: int) -> int:
    """How many frames may be labeled now."""
    if config.budget.labels is None:
        return config.select.limit
    return max(0, min(config.select.limit, config.budget.labels - labels))


def _last_hulls(past: list[Iteration]) -> list[Hull]:
    return next((item.selected.hulls for item in reversed(past) if item.selected and item.selected.hulls), [])


def _best(
    config: Config, searched: list[Found], known: Known, tasks: dict[int, TaskResult], room: int, iteration: int
) -> list[_Picked]:
    """The structures nearest to each hull that pass the filters and have no label yet."""
    picked: list[_Picked] = []
    for found in searched:
        wanted = found.settings.label_best
        for entry, frame, forces in zip(found.hull.entries, found.frames, found.forces, strict=True):
            good, _ = good_frames(config, Trajectory.of([frame], [0]))
            key = frame_key(entry.hash, found.hull.task)
            if wanted == 0 or len(picked) >= room:
                break
            if key in known.hashes or not len(good) or any(item.why.hash == entry.hash for item in picked):
                continue
            wanted -= 1
            task = tasks[entry.search]
            origin = Origin(
                iteration=iteration, task=found.hull.task, deviation=entry.deviation,
                source=f"{task.name}, generation {entry.generation}, structure {entry.number}",
            )  # fmt: skip
            rule = f"{NEAR_HULL}: {1000 * entry.above_hull:.1f} meV/atom above it"
            why = Chosen(hash=entry.hash, natoms=frame.natoms, group=task.group, rule=rule, origin=origin)
            picked.append(_Picked(frame, forces, why))
    return picked


class _Pool(NamedTuple):
    """Candidates of all pods that are in the window and not known yet.

    frames      C
    forces      (N, 3) of each, as the models predict them
    deviation   (C,)
    descriptor  (C, D)
    known       (K, D) descriptors of the training set
    task, structure, step  (C,)
    repeated    candidates left out because they are in the data already, or twice among the candidates
    """

    frames: list[Frame]
    forces: list[Floats]
    deviation: Floats
    descriptor: Floats
    known: Floats
    task: Ints
    structure: Ints
    step: Ints
    repeated: int

    @classmethod
    def of(cls, found: list[ExploredFrames], window: Window, known: Known, tasks: dict[int, TaskResult]) -> _Pool:
        """The candidates of all pods that are in the window and new."""
        task = np.concatenate([part.task[part.candidate] for part in found])
        step = np.concatenate([part.step[part.candidate] for part in found])
        structure = np.concatenate([part.structure[part.candidate] for part in found])
        order = np.lexsort((step, structure, task))  # the same whatever pods explored them
        task, structure, step = task[order], structure[order], step[order]
        unordered = [frame for part in found for frame in part.frames]
        frames = [unordered[place] for place in order]
        predicted = [forces for part in found for forces in part.frames.split(part.forces)]
        deviation = np.concatenate([part.deviation[part.candidate] for part in found])[order]
        descriptor = np.concatenate([part.descriptor for part in found if len(part.candidate)] or [np.zeros((0, 0))])
        descriptor = descriptor[order] if len(descriptor) else descriptor
        seen, kept, repeated = set(known.hashes), [], 0
        for place in window.candidates(deviation):
            name = frame_key(frames[place].content_hash(), tasks[int(task[place])].task)
            if name in seen:
                repeated += 1
                continue
            seen.add(name)
            kept.append(int(place))
        keep = np.array(kept, dtype=np.int64)
        return cls(
            [frames[i] for i in kept],
            [predicted[order[i]] for i in kept],
            deviation[keep],
            descriptor[keep],
            known.descriptors,
            task[keep],
            structure[keep],
            step[keep],
            repeated,
        )


def _from_elsewhere(queued: Path | None, tasks: dict[int, TaskResult], group: int) -> list[ExploredFrames]:
    """Frames that waited to be labeled, as tasks of a group of their own, which are added to `tasks`."""
    found = []
    for folder in sorted(queued.iterdir()) if queued is not None else []:
        [task], frames = Explored.read(folder / SHARE).tasks, ExploredFrames.load(folder / FRAMES)
        number = 1 + max(tasks)
        tasks[number] = task.model_copy(update={"number": number, "group": str(group)})
        found.append(replace(frames, task=np.full(len(frames.task), number)))
    return found


def _window(config: Config, deviation: Floats) -> Window:
    settings = config.select.window
    if isinstance(settings, FixedWindow):
        return Window(settings.low, settings.high)
    return adaptive_window(deviation, settings.high, settings.candidates, settings.fraction)


def _rmse(past: list[Iteration]) -> list[float]:
    return [item.force_rmse for item in past if item.force_rmse is not None]


def _levels(config: Config, past: list[Iteration], window: Window) -> list[float] | None:
    if isinstance(config.select.window, FixedWindow):
        return None
    return [*(item.selected.low for item in past if item.selected), window.low]


def _rules(config: Config) -> Rules:
    adaptive = config.select.window.model_dump(include={"settled", "over"})
    return Rules(
        accurate=config.converge.accurate,
        trajectory_force_rmse=config.converge.trajectory_force_rmse,
        heldout_force_rmse=config.converge.heldout_force_rmse,
        plateau=config.converge.plateau,
        hull_shift=config.converge.hull_shift,
        ground_state_error=config.converge.ground_state_error,
        iterations=config.budget.iterations,
        labels=config.budget.labels,
        **adaptive,
    )


def _chosen(
    config: Config, pool: _Pool, tasks: dict[int, TaskResult], limit: int, iteration: int, taken: set[str]
) -> list[_Picked]:
    """The frames of the pool to label, first choice first, and why; none of those that are `taken`."""
    settings = config.select
    seed = child_seed(config.seed, "pick", iteration)
    wanted = limit + len(taken) if settings.per_group is None else len(pool.frames)
    order = pick(pool.deviation, pool.descriptor, pool.known, settings.pick, wanted, seed)
    order = np.array([i for i in order if not taken or pool.frames[i].content_hash() not in taken], dtype=np.int64)
    group = np.array([int(tasks[int(number)].group) for number in pool.task], dtype=np.int64)
    kept = limited(order, group, limit, settings.per_group)
    picked = []
    for rank, place in enumerate(kept):
        task, frame = tasks[int(pool.task[place])], pool.frames[place]
        generation, structure = divmod(int(pool.structure[place]), GENERATION)
        origin = Origin(
            iteration=iteration,
            source=task.name + (f", generation {generation}, structure {structure}" if generation else ""),
            step=int(pool.step[place]),
            deviation=float(pool.deviation[place]),
            task=task.task,
        )
        rule = f"{settings.window.rule} window, {settings.pick} choice {rank + 1} of {len(kept)}"
        hashed = frame.content_hash()
        why = Chosen(hash=hashed, natoms=frame.natoms, group=str(group[place]), rule=rule, origin=origin)
        picked.append(_Picked(frame, pool.forces[place], why))
    return picked


def _write_batches(
    folder: Path, config: Config, chosen: list[_Picked], pods_at_once: int, seconds: float | None
) -> int:
    """Deal the frames of each task out to label pods, the largest first, and return how many pods there are."""
    (folder / "batches").mkdir(parents=True)
    total = 0
    for part in config.parts:
        own = sorted(
            (item for item in chosen if item.why.origin.task == part.name), key=lambda item: -item.frame.natoms
        )
        room = share_of(pods_at_once, len(own), len(chosen))
        pods = pods_needed(len(own), room, config.pods.label.tasks_per_pod, seconds) if own else 0
        for pod in range(pods):
            frames, forces, why = zip(*(own[place] for place in deal(len(own), pods, pod)), strict=True)
            batch = Batch(list(frames), [each.origin for each in why], forces=list(forces))
            batch.save(folder / "batches" / str(total + pod))
        total += pods
    return total


def _trajectory_rmse(
    config: Config, found: list[ExploredFrames], tasks: dict[int, TaskResult], variant: str, window: Window
) -> float | None:
    """Force RMSE against the teacher on the frames below the window's end that models of an architecture explored."""
    error = np.concatenate([part.error for part in found])
    deviation = np.concatenate([part.deviation for part in found])
    mine = np.array([not variant or config.train.variant(tasks[n].model) == variant for n in sorted(tasks)])
    kept = error[mine[np.concatenate([part.task for part in found])] & np.isfinite(error) & (deviation < window.high)]
    return float(np.sqrt(np.mean(kept**2))) if len(kept) else None


def _forgotten(config: Config, past: list[Iteration], results: list[ModelResult]) -> str | None:
    """Which head of the pre-trained model is forgotten more than `budget.forgetting` allows, or None."""
    limit = config.budget.forgetting
    before = first_baseline(past) or next((result.baseline for result in results if result.baseline), {})
    for task in config.tasks:
        now = mean_force_rmse(results, task=task.name)
        if limit is None or now is None or task.head is not None or task.name not in before:
            continue
        was = before[task.name].force_rmse
        if now > limit * was:
            return (
                f"the models forget {task.name}: its held-out force RMSE was {was:.4f} eV/Å before fine-tuning and is "
                f"{now:.4f} eV/Å now, more than {limit:g} times (budget.forgetting); give this task more weight or data"
            )
    return None


def _seen(deviation: Floats, window: Window, tasks: dict[int, TaskResult], pool: _Pool) -> Selected:
    """What was found, before anything is decided."""
    accurate, candidates, failed = window.counts(deviation)
    dropped: Counter[str] = Counter()
    for task in tasks.values():
        dropped.update(task.dropped)
    finite = deviation[np.isfinite(deviation)]
    top = min(1.5 * window.high, max(2 * window.low, 1.05 * float(finite.max(initial=0.0)))) or 1.0
    edges = np.linspace(0, top, BINS + 1)
    histogram, _ = np.histogram(np.minimum(finite, top), bins=edges)
    return Selected(
        frames=len(deviation),
        accurate=accurate,
        candidates=candidates,
        failed=failed,
        dropped=dict(dropped),
        low=window.low,
        high=window.high,
        known=pool.repeated,
        histogram=histogram.tolist(),
        edges=edges.tolist(),
        chosen=[],
        batches=0,
        decision="stop",
        reason="",
    )
