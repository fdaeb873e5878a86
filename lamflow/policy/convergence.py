"""When to label, when to go on to the next stage, and when to stop. Decided before labels are paid for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lamflow.config.learning import Config
from lamflow.data.calibration import CalibrationState, PredictedGain

PLATEAU_IMPROVEMENT = 0.02
"""A held-out error that falls by less than this fraction has not improved."""
MOST_FAILED = 0.5
"""Fraction of the explored frames that may be refused or lie above an adaptive window that counts as settled."""


@dataclass(frozen=True)
class ConvergenceCriteria:
    """What convergence means and where the budget ends; see the sections `converge`, `budget` and `window`.

    error, risk    for calibrated windows: at most this fraction of the frames has a larger error, eV/Å
    channels       of them: errors of further quantities, in words
    settled, over  for adaptive windows: the lower level changed by less than this fraction over so many iterations
    """

    accurate: float
    heldout_force_rmse: float | None
    plateau: int | None
    iterations: int
    labels: int | None
    settled: float = 0.05
    over: int = 2
    trajectory_force_rmse: float | None = None
    hull_shift: float | None = None
    ground_state_error: float | None = None
    heldout_magnetic_force_rmse: float | None = None
    gain: float | None = None
    error: float = 0.0
    risk: float = 0.0
    channels: str = ""

    @classmethod
    def of(cls, study: Config) -> ConvergenceCriteria:
        """What the sections of a study say."""
        converge, budget, window = study.converge, study.budget, study.select.window
        return cls(
            accurate=converge.accurate,
            heldout_force_rmse=converge.heldout_force_rmse,
            plateau=converge.plateau,
            gain=converge.gain,
            iterations=budget.iterations,
            labels=budget.labels,
            trajectory_force_rmse=converge.trajectory_force_rmse,
            hull_shift=converge.hull_shift,
            ground_state_error=converge.ground_state_error,
            heldout_magnetic_force_rmse=converge.heldout_magnetic_force_rmse,
            channels="".join(f" or {c.error:g} {c.unit} ({c.metric})" for c in study.select.channels if c.error),
            **window.model_dump(include={"settled", "over", "error", "risk"}),
        )


@dataclass(frozen=True)
class LoopState:
    """Where a run stands after an exploration.

    iteration        number of this iteration, 1 for the first that explores
    stage, stages    index of the stage, and how many there are
    stage_iteration  how many iterations this stage has had, this one included
    stage_limit      most iterations of the stage, or None
    accurate_fraction   of the explored frames
    explored            frames, of which `refused` by the filters, and `failed` above the window
    constant            the score of all frames, where it is the same; None where it tells them apart
    candidates       frames that would be labeled
    force_rmse       held-out force RMSE of the stage's iterations, this one last, eV/Å
    labels           paid for so far
    trajectory_rmse  force RMSE against the teacher on the frames explored now, eV/Å; None without a teacher
    forgotten        what the models forget more of than is allowed, or None
    hull_shift       of the searches' convex hulls since the iteration before, eV/atom; None if there is none to compare
    ground_state_error  of the models' last labeled ground states by the labels, eV/atom; None before any is labeled
    magnetic_force_rmse  held-out, of the models now, eV/μB; None for models without spins
    ramping          a temperature ramp that has not reached its last temperature, in words; empty if there is none
    gain             of the labels that would be paid; None while too little is known
    no_labels        why no further label can be paid, or would help; empty if it does
    calibration      what a calibrated window goes by; None for other windows
    levels           lower level of an adaptive window in each iteration of the stage, oldest first; None if it is fixed
    gates            how many gates of properties there are, and `broken_gates` those that do not hold, in words
    failed_starts    frames of failed properties that the next iteration would begin with, and no one has yet
    """

    iteration: int
    stage: int
    stages: int
    stage_iteration: int
    stage_limit: int | None
    accurate_fraction: float
    candidates: int
    force_rmse: Sequence[float]
    labels: int
    levels: Sequence[float] | None = None
    trajectory_rmse: float | None = None
    forgotten: str | None = None
    hull_shift: float | None = None
    ground_state_error: float | None = None
    magnetic_force_rmse: float | None = None
    ramping: str = ""
    gates: int = 0
    broken_gates: Sequence[str] = ()
    failed_starts: int = 0
    calibration: CalibrationState | None = None
    no_labels: str = ""
    explored: int = 0
    refused: int = 0
    failed: int = 0
    constant: float | None = None
    gain: PredictedGain | None = None


@dataclass(frozen=True)
class Decision:
    """What to do next, and why."""

    action: Literal["label", "ramp", "explore", "advance", "stop"]
    reason: str
    converged: bool = False


def next_action(state: LoopState, criteria: ConvergenceCriteria) -> Decision:
    """The next action after an exploration. Pure: the same state gives the same decision."""
    if state.forgotten is not None:
        return Decision("stop", state.forgotten)
    done, why = _stage_is_done(state, criteria)
    if state.ramping:
        done, why = False, f"{why}; {state.ramping}"
    last = state.stage == state.stages - 1
    if done and last:
        return Decision("stop", f"converged: {why}", converged=True)
    ending = _budget_ends(state, criteria)
    if ending:
        return Decision("stop", f"{ending}; {why}")
    if done:
        return Decision("advance", f"the stage has converged: {why}")
    if last and state.stage_limit is not None and state.stage_iteration >= state.stage_limit:
        return Decision("stop", f"the last stage has had its {state.stage_limit} iterations; {why}")
    if state.candidates == 0:
        return _without_candidates(state, why)
    return Decision("label", why)


def _without_candidates(state: LoopState, why: str) -> Decision:
    """What comes next when no frame would be labeled."""
    text, last = f"nothing new was found that could be labeled; {why}", state.stage == state.stages - 1
    if last and state.failed_starts:
        return Decision("explore", f"{text}; next, {state.failed_starts} frames of failed properties are explored")
    return Decision("ramp" if state.ramping else "stop" if last else "advance", text)


def _budget_ends(state: LoopState, criteria: ConvergenceCriteria) -> str:
    """Why nothing more is labeled; empty if something is."""
    if state.iteration >= criteria.iterations:
        return f"the budget of {criteria.iterations} iterations is used up"
    if criteria.labels is not None and state.labels >= criteria.labels:
        return f"the budget of {criteria.labels} labels is used up"
    return state.no_labels


def _stage_is_done(state: LoopState, criteria: ConvergenceCriteria) -> tuple[bool, str]:
    """Whether everything that is asked of a stage holds, and the values in words."""
    last = state.stage == state.stages - 1
    done, reasons = _frames_are_known(state, criteria)
    error = state.force_rmse[-1] if state.force_rmse else None
    if last and criteria.heldout_force_rmse is not None and error is not None:
        reasons.append(f"held-out force RMSE {error:.4f} eV/Å (wanted {criteria.heldout_force_rmse:g} eV/Å)")
        done = done and error <= criteria.heldout_force_rmse
    wanted, measured = criteria.heldout_magnetic_force_rmse, state.magnetic_force_rmse
    if last and wanted is not None and measured is not None:
        reasons.append(f"held-out magnetic force RMSE {measured:.4f} eV/μB (wanted {wanted:g} eV/μB)")
        done = done and measured <= wanted
    wanted, measured = criteria.trajectory_force_rmse, state.trajectory_rmse
    if wanted is not None and measured is not None:
        reasons.append(f"force RMSE on their own trajectories {measured:.4f} eV/Å (wanted {wanted:g} eV/Å)")
        done = done and measured <= wanted
    for name, limit, value in (
        ("shift of the hull", criteria.hull_shift, state.hull_shift),
        ("ground-state error by the labels", criteria.ground_state_error, state.ground_state_error),
    ):
        if limit is not None:
            shown = "not known" if value is None else f"{1000 * value:.1f} meV/atom"
            reasons.append(f"{name} {shown} (wanted {1000 * limit:g} meV/atom)")
            done = done and value is not None and value <= limit
    if not done and criteria.gain is not None and state.gain is not None:
        reasons.append(state.gain.words)
        if state.gain.expected + 2 * state.gain.uncertainty < criteria.gain:
            reasons.append(f"less than {criteria.gain:g} eV/Å")
            done = True
    if not done and criteria.plateau is not None and _has_stalled(state.force_rmse, criteria.plateau):
        reasons = [f"{reasons[-1]}; no improvement of the held-out force RMSE over {criteria.plateau} iterations"]
        done = True
    if last and state.gates:
        reasons.append(f"{state.gates - len(state.broken_gates)} of {state.gates} gates hold")
        reasons += [f"not {state.broken_gates[0]}"] if state.broken_gates else []
        done = done and not state.broken_gates
    return done, ", ".join(reasons)


def _frames_are_known(state: LoopState, criteria: ConvergenceCriteria) -> tuple[bool, list[str]]:
    """Whether the models know what has been explored, and the values in words."""
    if state.calibration is not None:
        done, reason = _risk_is_met(state.calibration, criteria)
    elif state.levels is None:
        reason = f"{state.accurate_fraction:.1%} accurate (wanted {criteria.accurate:.1%})"
        done = state.accurate_fraction >= criteria.accurate
    else:
        level, count = state.levels[-1], len(state.levels)
        reason = f"the window's lower level is {level:.3g} after {count} iterations of the stage"
        done = _has_settled(state.levels, criteria) and state.refused + state.failed <= MOST_FAILED * state.explored
    refused = [f"{state.refused} of {state.explored} frames refused by select.filters"] if state.refused else []
    if state.constant is None:
        return done, [reason, *refused]
    alike = f"the score is {state.constant:g} for every frame, so it says nothing: are the models all the same?"
    return False, [reason, *refused, alike]


def _risk_is_met(calibration: CalibrationState, criteria: ConvergenceCriteria) -> tuple[bool, str]:
    """Few enough explored frames have an error that is too large, as labels of explored frames tell."""
    if calibration.above is None:
        return False, calibration.words
    reason = (
        f"{calibration.above:.1%} of the frames are predicted to have an error above {criteria.error:g} eV/Å"
        f"{criteria.channels} (wanted {criteria.risk:.1%}; {calibration.words})"
    )
    return calibration.basis == "labels" and calibration.above <= criteria.risk, reason


def _has_settled(levels: Sequence[float], criteria: ConvergenceCriteria) -> bool:
    """Each of the last `over` changes of the level was a small fraction of it."""
    if len(levels) <= criteria.over:
        return False
    recent = levels[-criteria.over - 1 :]
    return all(abs(new - old) <= criteria.settled * abs(old) for old, new in itertools.pairwise(recent))


def _has_stalled(errors: Sequence[float], window: int) -> bool:
    """The best of the last `window` errors is no better than the best before them."""
    if len(errors) <= window:
        return False
    before, recent = min(errors[:-window]), min(errors[-window:])
    return recent > before * (1 - PLATEAU_IMPROVEMENT)
