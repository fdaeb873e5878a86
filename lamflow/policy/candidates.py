"""Which explored frames are labeled: the candidates of all jobs, the structures nearest to a hull, and why each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lamflow.config.learning import Config
from lamflow.config.seeds import child_seed
from lamflow.data import Frame, Labels, Trajectory
from lamflow.data.dataset import Origin, frame_key
from lamflow.data.explored import GENERATION, ExploredFrames
from lamflow.data.frames import Floats, Ints
from lamflow.data.hulls import HullEntry
from lamflow.data.label_work import LabelWork
from lamflow.data.results import AUDIT, NEAR_HULL, SimulationResult
from lamflow.data.selected import Chosen
from lamflow.policy.calibration import Calibration
from lamflow.policy.committee import good_frames
from lamflow.policy.hulls import HullStructures
from lamflow.policy.pick import PICK_RULES, Candidates, limited
from lamflow.policy.windows import Window
from lamflow.science.costs import LabelCosts


@dataclass(frozen=True, eq=False)
class KnownData:
    """The data of earlier iterations: keys of all frames, descriptors (K, D) of those that are trained on."""

    hashes: set[str]
    descriptors: Floats


class ChosenFrame(NamedTuple):
    """A frame to label, the forces (N, 3) that the models predict for it in eV/Å, why, and all that they predict where
    a calibrated window looks at more than forces."""

    frame: Frame
    forces: Floats
    why: Chosen
    predicted: Labels | None = None


@dataclass(frozen=True, eq=False)
class CandidatePool:
    """C candidates of all jobs that are in the window and not known yet.

    frames      C
    forces      (N, 3) of each, as the models predict them, eV/Å
    deviation   (C,)    in the unit of the window
    descriptor  (C, D)
    known       (K, D) descriptors of the training set
    simulation, structure, step  (C,)
    repeated    candidates left out because they are in the data already, or twice among the candidates
    """

    frames: list[Frame]
    forces: list[Floats]
    deviation: Floats
    descriptor: Floats
    known: Floats
    simulation: Ints
    structure: Ints
    step: Ints
    repeated: int

    @classmethod
    def of(
        cls,
        explored: Sequence[ExploredFrames],
        window: Window,
        known: KnownData,
        results: Mapping[int, SimulationResult],
    ) -> CandidatePool:
        """The candidates of all jobs that are in the window and new, in an order that no number of jobs changes."""
        simulation = np.concatenate([part.simulation[part.candidate] for part in explored])
        step = np.concatenate([part.step[part.candidate] for part in explored])
        structure = np.concatenate([part.structure[part.candidate] for part in explored])
        deviation = np.concatenate([part.deviation[part.candidate] for part in explored])
        descriptor = np.concatenate([part.descriptor for part in explored if len(part.candidate)] or [np.zeros((0, 0))])
        order = np.lexsort((step, structure, simulation))
        frames = [frame for part in explored for frame in part.frames]
        forces = [values for part in explored for values in part.frames.split(part.forces)]
        inside = order[window.candidates(deviation[order])]
        heads = [results[int(simulation[index])].head for index in inside]
        keys = [frame_key(frames[index].content_hash(), head) for index, head in zip(inside, heads, strict=True)]
        new = _first_of_each(keys, known.hashes)
        kept = inside[new]
        return cls(
            [frames[index] for index in kept], [forces[index] for index in kept], deviation[kept],
            descriptor[kept] if len(descriptor) else np.zeros((0, 0)), known.descriptors, simulation[kept],
            structure[kept], step[kept], len(keys) - len(new),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.frames)


def _first_of_each(keys: Sequence[str], known: set[str]) -> Ints:
    """Indices of the keys that are not known, the first of those that are equal."""
    seen, kept = set(known), []
    for index, key in enumerate(keys):
        if key not in seen:
            seen.add(key)
            kept.append(index)
    return np.array(kept, dtype=np.int64)


def frames_allowed(study: Config, labels: int) -> int:
    """How many frames may be labeled now, after so many `labels` of the run."""
    if study.budget.labels is None:
        return study.select.limit
    return max(0, min(study.select.limit, study.budget.labels - labels))


def choose_frames(
    study: Config, pool: CandidatePool, results: Mapping[int, SimulationResult], limit: int, iteration: int,
    taken: set[str], *, calibration: Calibration | None = None, costs: LabelCosts | None = None,
) -> list[ChosenFrame]:  # fmt: skip
    """The frames of the pool to label, first choice first; none whose hash is among those that are `taken`.

    costs        of finished labels
    calibration  of a calibrated window's score; one that says nothing, or nothing yet, picks no frame
    """
    settings = study.select
    count = limit + len(taken) if settings.per_group is None else len(pool)
    told = calibration.map if calibration is not None else None
    error = pool.deviation if told is None else told.expected(pool.deviation)
    seconds = np.ones(len(pool)) if costs is None else costs.seconds([LabelWork.of(frame) for frame in pool.frames])
    candidates = Candidates(pool.deviation, pool.descriptor, pool.known, error, seconds)
    blind = calibration is not None and (told is None or calibration.worthless) and settings.pick != "random"
    pick = "diverse" if blind else settings.pick
    order = PICK_RULES[pick](candidates, count, child_seed(study.seed, "pick", iteration))
    free = [index for index in order if not taken or pool.frames[index].content_hash() not in taken]
    group = np.array([int(results[int(number)].group) for number in pool.simulation], dtype=np.int64)
    kept = limited(np.array(free, dtype=np.int64), group, limit, settings.per_group)
    chosen = []
    for rank, index in enumerate(kept, 1):
        rule = f"{settings.window.rule} window, {pick} choice {rank} of {len(kept)}"
        chosen.append(_chosen(pool, int(index), results, iteration, rule))
    return chosen


def choose_audits(
    study: Config, pool: CandidatePool, results: Mapping[int, SimulationResult], count: int, iteration: int,
    taken: set[str],
) -> list[ChosenFrame]:  # fmt: skip
    """So many of a pool of accurate frames, drawn at random; none whose hash is among those that are `taken`."""
    free = [index for index, frame in enumerate(pool.frames) if not taken or frame.content_hash() not in taken]
    order = np.random.default_rng(child_seed(study.seed, "audit", iteration)).permutation(free)
    return [_chosen(pool, int(index), results, iteration, AUDIT) for index in order[:count]]


def _chosen(
    pool: CandidatePool, index: int, results: Mapping[int, SimulationResult], iteration: int, rule: str
) -> ChosenFrame:
    result, frame = results[int(pool.simulation[index])], pool.frames[index]
    generation, structure = divmod(int(pool.structure[index]), GENERATION)
    origin = Origin(
        iteration=iteration,
        source=result.name + (f", generation {generation}, structure {structure}" if generation else ""),
        step=int(pool.step[index]),
        deviation=float(pool.deviation[index]),
        head=result.head,
    )
    why = Chosen(hash=frame.content_hash(), natoms=frame.natoms, group=str(int(result.group)), rule=rule, origin=origin)
    return ChosenFrame(frame, pool.forces[index], why)


def choose_near_hull(
    study: Config, hulls: Sequence[HullStructures], known: KnownData, results: Mapping[int, SimulationResult],
    limit: int, iteration: int,
) -> list[ChosenFrame]:  # fmt: skip
    """The structures nearest to each hull that pass the filters and have no label yet."""
    chosen: list[ChosenFrame] = []
    for hull in hulls:
        wanted = hull.settings.label_best
        for entry, frame, forces in zip(hull.hull.entries, hull.frames, hull.forces, strict=True):
            if wanted == 0 or len(chosen) >= limit:
                break
            labeled = frame_key(entry.hash, hull.hull.head) in known.hashes
            if labeled or any(item.why.hash == entry.hash for item in chosen):
                continue
            if len(good_frames(study.select.filters, Trajectory.of([frame], [0]))[0]):
                wanted -= 1
                why = _near_hull(entry, frame, hull.hull.head, results[entry.search], iteration)
                chosen.append(ChosenFrame(frame, forces, why))
    return chosen


def _near_hull(entry: HullEntry, frame: Frame, head: str, result: SimulationResult, iteration: int) -> Chosen:
    origin = Origin(
        iteration=iteration, head=head, deviation=entry.deviation,
        source=f"{result.name}, generation {entry.generation}, structure {entry.number}",
    )  # fmt: skip
    rule = f"{NEAR_HULL}: {1000 * entry.above_hull:.1f} meV/atom above it"
    return Chosen(hash=entry.hash, natoms=frame.natoms, group=result.group, rule=rule, origin=origin)
