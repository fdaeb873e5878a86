"""The decision of an iteration: what was seen, which frames are labeled, and what the run does next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lamflow.config.learning import Config
from lamflow.config.select import CalibratedWindow
from lamflow.data.calibration import PredictedGain
from lamflow.data.comparisons import TrackedValues
from lamflow.data.explored import ExploredFrames
from lamflow.data.frames import Floats
from lamflow.data.results import (
    Iteration,
    ModelResult,
    SimulationResult,
    mean_force_rmse,
    mean_magnetic_force_rmse,
)
from lamflow.data.selected import Chosen, Selected
from lamflow.policy.budgets import Purse, costs, label_costs, payable
from lamflow.policy.calibration import Calibration, below_noise
from lamflow.policy.candidates import (
    CandidatePool,
    ChosenFrame,
    KnownData,
    choose_audits,
    choose_frames,
    choose_near_hull,
    frames_allowed,
)
from lamflow.policy.convergence import ConvergenceCriteria, LoopState, next_action
from lamflow.policy.hulls import HullStructures, ground_state_error, hull_shift, last_hulls
from lamflow.policy.models import chosen_variant, forgotten_head
from lamflow.policy.ramps import groups_seen, next_levels, ramp_levels, ramp_status, refused_frames
from lamflow.policy.windows import Window, window_rule
from lamflow.science.learning_curve import expected_gain
from lamflow.science.moment_range import are_beyond

HISTOGRAM_BINS = 60
FEW = 4
"""Frames; so many with one and the same score are no chance."""


@dataclass(frozen=True, eq=False)
class Exploration:
    """What all jobs of an iteration have explored.

    results   of simulations and searches by their numbers
    explored  frames, by job
    hulls     of structure searches
    known     data of earlier iterations
    models    results of the models that explored
    tracked   what they say of crystals, where the study asks
    calibration  of the score, where the window is calibrated
    cut       what is labeled of frames that were chosen, and how many were left out by reason
    hours     since the iteration began
    label_slots  labels that are computed at the same time
    """

    iteration: int
    stage: int
    past: Sequence[Iteration]
    results: Mapping[int, SimulationResult]
    explored: Sequence[ExploredFrames]
    hulls: Sequence[HullStructures]
    known: KnownData
    models: Sequence[ModelResult]
    tracked: TrackedValues | None = None
    calibration: Calibration | None = None
    hours: float = 0.0
    label_slots: int = 1
    cut: Callable[[list[ChosenFrame]], tuple[list[ChosenFrame], Mapping[str, int]]] | None = None


@dataclass(frozen=True, eq=False)
class Choice:
    """What is decided: the record without the number of its batches, the frames to label, the held-out error."""

    record: Selected
    frames: list[ChosenFrame]
    force_rmse: float


def select_frames(study: Config, exploration: Exploration) -> Choice:
    """Which frames are labeled and what the run does next; no frames unless it labels."""
    deviation = np.concatenate([part.deviation for part in exploration.explored])
    window = window_rule(study.select.window, exploration.calibration).levels(deviation)
    pool = CandidatePool.of(exploration.explored, window, exploration.known, exploration.results)
    record = _seen(study, exploration, deviation, window, pool)
    chosen = _choose(study, exploration, pool, window)
    if exploration.cut is not None:
        chosen, dropped = exploration.cut(chosen)
        record = record.model_copy(update={"dropped": dict(Counter(record.dropped) + Counter(dropped))})
    purse = Purse.of(
        study, exploration.past, costs(study, exploration.models, exploration.results.values()), exploration.hours
    )
    paid, why_none = payable(study, exploration.past, purse, chosen, exploration.label_slots)
    no_labels = why_none or below_noise(study.select.window, exploration.past)
    chosen = chosen[:paid]
    gain = _gain(study, exploration, len(chosen))
    record = record.model_copy(update={"gain": gain})
    state = replace(_state(study, exploration, record, window, len(chosen)), no_labels=no_labels, gain=gain)
    decision = next_action(state, ConvergenceCriteria.of(study))
    if decision.action != "label":
        chosen = []
    why = [_told(item, exploration.models) for item in chosen]
    outcome = {
        "chosen": why, "decision": decision.action, "reason": decision.reason,
        "converged": decision.converged,
    }  # fmt: skip
    return Choice(record.model_copy(update=outcome), chosen, state.force_rmse[-1])


def _told(item: ChosenFrame, models: Sequence[ModelResult]) -> Chosen:
    """Why a frame is labeled, and whether its moments are unlike those that the models know."""
    spins, trained = item.frame.spins, models[0].moments if models else None
    beyond = spins is not None and bool(are_beyond(trained, spins[None]).any())
    return item.why.model_copy(update={"beyond": True}) if beyond else item.why


def _gain(study: Config, exploration: Exploration, labels: int) -> PredictedGain | None:
    """What so many labels would bring, by the held-out errors of the iterations so far and of the models now."""
    variant = chosen_variant(exploration.models, study.train.tolerance)
    now = mean_force_rmse(exploration.models, variant)
    trained = [(it.models[0].training_frames, it.force_rmse) for it in exploration.past if it.models and it.force_rmse]
    trained += [(exploration.models[0].training_frames, now)] if exploration.models and now else []
    frames, error = np.array(trained, dtype=np.float64).reshape(-1, 2).T
    gain = expected_gain(frames, error, labels)
    return None if gain is None else PredictedGain(labels=labels, expected=gain.expected, uncertainty=gain.uncertainty)


def _choose(study: Config, exploration: Exploration, pool: CandidatePool, window: Window) -> list[ChosenFrame]:
    """Structures near a hull first, then accurate frames to audit, then the window's candidates."""
    past, results, settings = exploration.past, exploration.results, study.select.window
    limit = frames_allowed(study, past[-1].labels + past[-1].late if past else 0)
    near = choose_near_hull(study, exploration.hulls, exploration.known, results, limit, exploration.iteration)
    taken = {item.why.hash for item in near}
    if isinstance(settings, CalibratedWindow) and exploration.calibration is not None and window.low > 0:
        count = min(_audits(settings.audit, limit, past), limit - len(near))
        accurate = CandidatePool.of(exploration.explored, Window(0.0, window.low), exploration.known, results)
        near += choose_audits(study, accurate, results, count, exploration.iteration, taken)
        taken |= {item.why.hash for item in near}
    left = limit - len(near)
    rest = choose_frames(
        study, pool, results, left, exploration.iteration, taken, calibration=exploration.calibration,
        costs=label_costs(past),
    )  # fmt: skip
    return [*near, *rest]


def _audits(fraction: float, limit: int, past: Sequence[Iteration]) -> int:
    """Accurate frames to audit among `limit`: this fraction of them; what is lost to rounding is made up for later."""
    before = sum(len(iteration.selected.chosen) for iteration in past if iteration.selected)
    begin, end = (math.floor(fraction * labels + 1e-9) for labels in (before, before + limit))
    return end - begin


def _seen(study: Config, exploration: Exploration, deviation: Floats, window: Window, pool: CandidatePool) -> Selected:
    """What was explored, before anything is decided."""
    stage, results = study.stages[exploration.stage], exploration.results
    accurate, candidates, failed = window.counts(deviation)
    dropped: Counter[str] = Counter()
    for result in results.values():
        dropped.update(result.dropped)
    histogram, edges = _histogram(deviation, window)
    hulls = [item.hull for item in exploration.hulls]
    groups = groups_seen(stage, ramp_levels(stage, exploration.past), results, exploration.explored, window)
    levels = [study.select_of(group).levels for group in stage.explore]
    refused, calibration = refused_frames(stage, results.values()), exploration.calibration
    return Selected(
        frames=len(deviation), accurate=accurate, candidates=candidates, failed=failed, dropped=dict(dropped),
        refused=refused, low=window.low, high=window.high, known=pool.repeated, histogram=histogram, edges=edges,
        groups=[seen.model_copy(update={"levels": levels[seen.group]}) for seen in groups],
        hulls=hulls, hull_shift=hull_shift(last_hulls(exploration.past), hulls),
        ground_state_error=ground_state_error(exploration.past) if hulls else None,
        trajectory_force_rmse=_trajectory_rmse(study, exploration, window),
        calibration=calibration.state(deviation, refused) if calibration is not None else None,
        chosen=[], batches=0, decision="stop", reason="",
    )  # fmt: skip


def _histogram(deviation: Floats, window: Window) -> tuple[list[int], list[float]]:
    """Counts of deviations, and the edges of the bins."""
    finite = deviation[np.isfinite(deviation)]
    top = min(1.5 * window.high, max(2 * window.low, 1.05 * float(finite.max(initial=0.0)))) or 1.0
    edges = np.linspace(0, top, HISTOGRAM_BINS + 1)
    histogram, _ = np.histogram(np.minimum(finite, top), bins=edges)
    return histogram.tolist(), edges.tolist()


def _state(study: Config, exploration: Exploration, seen: Selected, window: Window, chosen: int) -> LoopState:
    """Where the run stands, with so many frames that would be labeled."""
    stage, past = study.stages[exploration.stage], exploration.past
    earlier = [item for item in past if item.selected is not None and item.stage == stage.name]
    variant = chosen_variant(exploration.models, study.train.tolerance)
    rmse = mean_force_rmse(exploration.models, variant) or np.nan
    lower = [*(item.selected.low for item in earlier if item.selected), window.low]
    levels = ramp_levels(stage, past)
    tracked = exploration.tracked or TrackedValues(comparisons=[])
    begun = past[-1].tracked if past else None
    return LoopState(
        iteration=exploration.iteration,
        stage=exploration.stage,
        stages=len(study.stages),
        stage_iteration=1 + len(earlier),
        stage_limit=stage.max_iterations,
        accurate_fraction=seen.accurate_fraction,
        explored=seen.explored,
        refused=seen.refused,
        failed=seen.failed,
        constant=_constant(np.concatenate([part.deviation for part in exploration.explored])),
        candidates=chosen,
        force_rmse=[*(item.force_rmse for item in earlier if item.force_rmse is not None), rmse],
        labels=past[-1].labels + past[-1].late if past else 0,
        levels=lower if window_rule(study.select.window).adapts else None,
        trajectory_rmse=seen.trajectory_force_rmse,
        forgotten=forgotten_head(study, past, exploration.models),
        hull_shift=seen.hull_shift,
        ground_state_error=seen.ground_state_error,
        magnetic_force_rmse=mean_magnetic_force_rmse(exploration.models, variant),
        ramping=ramp_status(stage, levels, next_levels(stage, levels, seen.groups)),
        gates=len(tracked.gates),
        broken_gates=tracked.broken_gates,
        failed_starts=0 if begun is not None and begun.starts else tracked.starts,
        calibration=seen.calibration,
    )


def _constant(deviation: Floats) -> float | None:
    """The score of all frames (F,), where it is the same but for rounding, or zero; None where it is not."""
    finite = deviation[np.isfinite(deviation)]
    if not len(finite):
        return None
    same = len(finite) >= FEW and np.ptp(finite) <= 1e-9 * finite.max()
    return float(finite[0]) if same or not finite.any() else None


def _trajectory_rmse(study: Config, exploration: Exploration, window: Window) -> float | None:
    """Force RMSE against the teacher on the frames below the window's end that models of an architecture explored."""
    variant = chosen_variant(exploration.models, study.train.tolerance)
    of_variant = {
        number: not variant or study.train.variant(result.model) == variant
        for number, result in exploration.results.items()
    }
    error = np.concatenate([part.error for part in exploration.explored])
    deviation = np.concatenate([part.deviation for part in exploration.explored])
    counted = np.array(
        [of_variant[int(number)] for part in exploration.explored for number in part.simulation], dtype=bool
    )
    errors = error[counted & np.isfinite(error) & (deviation < window.high)]
    return float(np.sqrt(np.mean(errors**2))) if len(errors) else None
