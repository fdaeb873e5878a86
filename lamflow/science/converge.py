"""When to label, when to go on to the next stage, and when to stop. Decided before labels are paid for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

PLATEAU_IMPROVEMENT = 0.02
"""A held-out error that falls by less than this fraction has not improved."""


@dataclass(frozen=True)
class Rules:
    """What convergence means and where the budget ends; see the sections `converge`, `budget` and `window`.

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


@dataclass(frozen=True)
class Standing:
    """Where a run stands after an exploration.

    iteration        number of this iteration, 1 for the first that explores
    stage, stages    place of the stage, and how many there are
    stage_iteration  how many iterations this stage has had, this one included
    stage_limit      most iterations of the stage, or None
    accurate_fraction   of the explored frames
    candidates       frames that would be labeled
    force_rmse       held-out force RMSE of the stage's iterations, this one last, eV/Å
    labels           paid for so far
    trajectory_rmse  force RMSE against the teacher on the frames explored now, eV/Å; None without a teacher
    forgotten        what the models forget more of than is allowed, or None
    hull_shift       of the searches' convex hulls since the iteration before, eV/atom; None if there is none to compare
    ground_state_error  of the models' last labeled ground states by the labels, eV/atom; None before any is labeled
    ramping          a temperature ramp that has not reached its last temperature, in words; empty if there is none
    levels           lower level of an adaptive window in each iteration of the stage, oldest first; None if it is fixed
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
    ramping: str = ""


@dataclass(frozen=True)
class Decision:
    """What to do next, and why."""

    action: Literal["label", "ramp", "advance", "stop"]
    reason: str
    converged: bool = False


def decide(now: Standing, rules: Rules) -> Decision:
    """The next action after an exploration. Pure: the same standing gives the same decision."""
    if now.forgotten is not None:
        return Decision("stop", now.forgotten)
    done, why = _stage_is_done(now, rules)
    if now.ramping:
        done, why = False, f"{why}; {now.ramping}"
    last = now.stage == now.stages - 1
    if done and last:
        return Decision("stop", f"converged: {why}", converged=True)
    if now.iteration >= rules.iterations:
        return Decision("stop", f"the budget of {rules.iterations} iterations is used up; {why}")
    if rules.labels is not None and now.labels >= rules.labels:
        return Decision("stop", f"the budget of {rules.labels} labels is used up; {why}")
    if done:
        return Decision("advance", f"the stage has converged: {why}")
    if last and now.stage_limit is not None and now.stage_iteration >= now.stage_limit:
        return Decision("stop", f"the last stage has had its {now.stage_limit} iterations; {why}")
    if now.candidates == 0:
        text = f"nothing new was found that could be labeled; {why}"
        return Decision("ramp" if now.ramping else "stop" if last else "advance", text)
    return Decision("label", why)


def _stage_is_done(now: Standing, rules: Rules) -> tuple[bool, str]:
    last = now.stage == now.stages - 1
    error = now.force_rmse[-1] if now.force_rmse else None
    if now.levels is None:
        parts = [f"{now.accurate_fraction:.1%} accurate (wanted {rules.accurate:.1%})"]
        done = now.accurate_fraction >= rules.accurate
    else:
        parts = [f"the window's lower level is {now.levels[-1]:.3g} after {len(now.levels)} iterations of the stage"]
        done = _has_settled(now.levels, rules)
    if last and rules.heldout_force_rmse is not None and error is not None:
        parts.append(f"held-out force RMSE {error:.4f} eV/Å (wanted {rules.heldout_force_rmse:g} eV/Å)")
        done = done and error <= rules.heldout_force_rmse
    if rules.trajectory_force_rmse is not None and now.trajectory_rmse is not None:
        wanted = rules.trajectory_force_rmse
        parts.append(f"force RMSE on their own trajectories {now.trajectory_rmse:.4f} eV/Å (wanted {wanted:g} eV/Å)")
        done = done and now.trajectory_rmse <= wanted
    for what, limit, found in (
        ("shift of the hull", rules.hull_shift, now.hull_shift),
        ("ground-state error by the labels", rules.ground_state_error, now.ground_state_error),
    ):
        if limit is not None:
            shown = "not known" if found is None else f"{1000 * found:.1f} meV/atom"
            parts.append(f"{what} {shown} (wanted {1000 * limit:g} meV/atom)")
            done = done and found is not None and found <= limit
    if not done and rules.plateau is not None and _has_stalled(now.force_rmse, rules.plateau):
        return True, f"{parts[-1]}; no improvement of the held-out force RMSE over {rules.plateau} iterations"
    return done, ", ".join(parts)


def _has_settled(levels: Sequence[float], rules: Rules) -> bool:
    """Each of the last `over` changes of the level was a small fraction of it."""
    if len(levels) <= rules.over:
        return False
    lately = levels[-rules.over - 1 :]
    return all(abs(new - old) <= rules.settled * abs(old) for old, new in itertools.pairwise(lately))


def _has_stalled(errors: Sequence[float], window: int) -> bool:
    """The best of the last `window` errors is no better than the best before them."""
    if len(errors) <= window:
        return False
    before, lately = min(errors[:-window]), min(errors[-window:])
    return lately > before * (1 - PLATEAU_IMPROVEMENT)
