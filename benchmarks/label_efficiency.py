"""Labels until a model is good enough: lamflow's selection beside random choice and those of DP-GEN and dpgen2.

    python benchmarks/label_efficiency.py --work FOLDER [--seeds 5] [--figure labels.png]

Five systems, five seeds, six policies. Every round a committee of linear many-body models is fitted to the labels,
explores 200 frames of trajectories between the lowest and the highest temperature, and a policy chooses ten of them.
The truth of every explored frame is known here, so the stated risk is held against all of them. What a system and a
seed have given is kept in FOLDER, and a run that was interrupted goes on there.

Levels of the policies that need some are set as a careful user would: to quantiles of the deviations that the first
models show. dpgen2's adaptive window has three times as many candidates as are labeled. Where a window is empty, frames
are drawn at random, for a run of DP-GEN would have ended.
"""

from __future__ import annotations

import itertools
import json
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _bench import Cell, parse_arguments, parser, publish
from _label_efficiency_model import Prepared, fitted, predicted
from _label_efficiency_systems import SYSTEMS, System, is_stable, prepared

from lamflow.config.select import AdaptiveWindow, CalibratedWindow, FixedWindow
from lamflow.data.calibration import CalibrationPoint
from lamflow.data.frames import Floats, Ints
from lamflow.data.results import Iteration
from lamflow.policy.calibration import calibrated
from lamflow.policy.pick import PICK_RULES, Candidates, sample
from lamflow.policy.windows import AdaptiveRule, CalibratedRule, FixedRule
from lamflow.science.deviation import deviations

TOLERANCE = 1.1
"""Times the force RMSE of a model of all frames of the pool that a model may have to be good enough."""
ERROR = 3.0
"""Times that RMSE: the error of a force that the calibrated window allows."""
RISK = 0.05
RISKS = ("frames", "stated above", "found above", "below stated bound", "accurate", "accurate but wrong")


@dataclass(eq=False)
class Learning:
    """A run of a policy. `limits` are quantiles of the first round's deviations, `past` what labels have shown."""

    batch: int
    error: float
    seed: int
    limits: tuple[float, float] = (0.0, 0.0)
    past: list[Iteration] = field(default_factory=list)
    risk: dict[str, float] = field(default_factory=lambda: dict.fromkeys(RISKS, 0.0))


@dataclass(frozen=True, eq=False)
class Explored:
    """E frames that the models have explored, as policies see them; `error` is only for what is stated of the risk."""

    deviation: Floats
    descriptor: Floats
    known: Floats
    error: Floats

    def pick(self, rule: str, frames: Ints, count: int, seed: int, worth: Floats | None = None) -> Ints:
        """By one of lamflow's rules, among some of the frames."""
        error = self.deviation if worth is None else worth
        candidates = Candidates(
            self.deviation[frames], self.descriptor[frames], self.known, error[frames], np.ones(len(frames))
        )
        return frames[PICK_RULES[rule](candidates, count, seed)]


def at_random(run: Learning, seen: Explored) -> Ints:
    """Whatever comes."""
    return seen.pick("random", np.arange(len(seen.deviation)), run.batch, run.seed)


def dpgen(run: Learning, seen: Explored) -> Ints:
    """Two fixed levels, a random draw between them."""
    window = FixedRule(FixedWindow(low=run.limits[0], high=run.limits[1])).levels(seen.deviation)
    inside = window.candidates(seen.deviation)
    return sample(inside, run.batch, run.seed) if len(inside) else at_random(run, seen)


def dpgen2(run: Learning, seen: Explored) -> Ints:
    """The most uncertain frames below a level, a random draw of them."""
    settings = AdaptiveWindow(rule="adaptive", high=run.limits[1], candidates=3 * run.batch, fraction=0.0)
    inside = AdaptiveRule(settings).levels(seen.deviation).candidates(seen.deviation)
    return sample(inside, run.batch, run.seed) if len(inside) else at_random(run, seen)


def uncertain(run: Learning, seen: Explored) -> Ints:
    """The most uncertain frames."""
    return seen.pick("uncertain", np.arange(len(seen.deviation)), run.batch, run.seed)


def diverse(run: Learning, seen: Explored) -> Ints:
    """The frames farthest from all known ones and each other."""
    return seen.pick("diverse", np.arange(len(seen.deviation)), run.batch, run.seed)


def calibrated_informative(run: Learning, seen: Explored) -> Ints:
    """lamflow's calibrated window with its audits, and the most informative of the candidates."""
    settings = CalibratedWindow(rule="calibrated", error=run.error, risk=RISK, unphysical=1e3 * run.error)
    calibration = calibrated(settings, run.past)
    window = CalibratedRule(settings, calibration).levels(seen.deviation)
    inside, accurate = window.candidates(seen.deviation), np.flatnonzero(seen.deviation < window.low)
    blind = calibration.map is None or calibration.worthless
    worth = None if calibration.map is None else calibration.map.expected(seen.deviation)
    audited = np.random.default_rng(run.seed).permutation(accurate)[: round(settings.audit * run.batch)]
    chosen = seen.pick("diverse" if blind else "informative", inside, run.batch - len(audited), run.seed, worth)
    if calibration.map is not None:
        found = calibration.map.bound(seen.deviation, RISK) >= seen.error
        wrong = seen.error > run.error
        counts = (len(seen.error), calibration.map.exceeds(seen.deviation, run.error).sum(), wrong.sum(), found.sum(),
                  len(accurate), wrong[accurate].sum())  # fmt: skip
        for name, count in zip(RISKS, counts, strict=True):
            run.risk[name] += float(count)
    left = np.setdiff1d(np.arange(len(seen.deviation)), [*chosen, *audited])
    missing = run.batch - len(chosen) - len(audited)
    return np.concatenate([chosen, audited, seen.pick("diverse", left, missing, run.seed)]).astype(np.int64)


POLICIES: Mapping[str, Callable[[Learning, Explored], Ints]] = {
    "random": at_random, "DP-GEN": dpgen, "dpgen2": dpgen2, "uncertain": uncertain, "diverse": diverse,
    "lamflow": calibrated_informative,
}  # fmt: skip


def learn(policy: str, pool: Prepared, held: Prepared, error: float, settings: Namespace, seed: int) -> dict[str, Any]:
    """The learning curve of a policy: labels, held-out force RMSE and 99th percentile of force errors, eV/Å."""
    rng, run = np.random.default_rng([seed, 1]), Learning(settings.batch, error, seed)
    labeled = rng.permutation(len(pool) // 4)[: settings.batch]  # trajectories at the lowest temperature
    curve, coefficients = [], np.zeros((pool.rows.shape[-1], 1))
    for number in range(settings.rounds + 1):
        coefficients = fitted(pool, labeled, seed + number)
        wrong = np.abs(predicted(held, np.arange(len(held)), coefficients)[1].mean(axis=0) - held.forces)
        curve.append((len(labeled), float(np.sqrt((wrong**2).mean())), float(np.percentile(wrong, 99))))
        if number == settings.rounds:
            break
        free = np.setdiff1d(np.arange(len(pool)), labeled)
        frames = np.sort(rng.permutation(free)[: settings.explored])
        energies, forces = predicted(pool, frames, coefficients)
        off = np.linalg.norm(forces.mean(axis=0) - pool.forces[frames], axis=-1).max(axis=1)
        seen = Explored(
            deviations(energies, forces, None).force_max, pool.descriptor[frames], pool.descriptor[labeled], off
        )
        if number == 0:
            low, high = np.quantile(seen.deviation, [0.5, 0.95])
            run.limits = float(low), float(high)
        run.seed = seed + 1000 * number
        chosen = POLICIES[policy](run, seen)
        points = [CalibrationPoint(deviation=seen.deviation[index], error=off[index]) for index in chosen]
        run.past.append(
            Iteration(
                number=number, stage="", training_frames=0, heldout_frames=0, labels=len(labeled), calibration=points
            )
        )
        labeled = np.concatenate([labeled, frames[chosen]])
    return {"curve": curve, "risk": run.risk, "coefficients": coefficients}


def study(system: System, settings: Namespace, seed: int) -> dict[str, Any]:
    """All policies on one system with one seed."""
    pool = prepared(system, settings.frames, settings.starts, seed)
    held = prepared(system, max(2, settings.frames // 4), settings.starts, seed + 10_000)
    everything = fitted(pool, np.arange(len(pool)), seed)
    wrong = predicted(held, np.arange(len(held)), everything)[1].mean(axis=0) - held.forces
    best = float(np.sqrt((wrong**2).mean()))
    runs = {}
    for policy in POLICIES:
        run = learn(policy, pool, held, ERROR * best, settings, seed)
        stable = is_stable(system, pool.frames[-1], run.pop("coefficients"), settings.steps, seed)
        runs[policy] = {**run, "stable": stable}
    return {"best": best, "runs": runs}


def labels_needed(curve: Sequence[Sequence[float]], wanted: float) -> float:
    """Labels at which the RMSE falls below what is wanted, between two rounds by the logarithm; infinite if never."""
    for (before, first, _), (after, second, _) in itertools.pairwise(curve):
        if second <= wanted < first:
            return float(before + (after - before) * np.log(first / wanted) / np.log(first / second))
    return float(curve[0][0]) if curve[0][1] <= wanted else float("inf")


def rows(name: str, studies: Sequence[Mapping[str, Any]]) -> list[dict[str, Cell]]:
    """A row for each policy on a system: labels in the median and the range over the seeds."""
    needed = {
        policy: np.array([labels_needed(one["runs"][policy]["curve"], TOLERANCE * one["best"]) for one in studies])
        for policy in POLICIES
    }
    made: list[dict[str, Cell]] = []
    for policy, labels in needed.items():
        last = np.array([one["runs"][policy]["curve"][-1] for one in studies])
        made.append({
            "system": name, "policy": policy, "labels": _cell(np.median(labels)), "fewest": _cell(labels.min()),
            "most": _cell(labels.max()), "of random": _cell(_ratio(labels, needed["random"])),
            "of dpgen2": _cell(_ratio(labels, needed["dpgen2"])),
            "99 % of force errors (eV/Å)": float(np.median(last[:, 2])),
            "stable MD": float(np.mean([one["runs"][policy]["stable"] for one in studies])), "seeds": len(studies),
        })  # fmt: skip
    return made


def _ratio(labels: Floats, others: Floats) -> float:
    """Median over seeds of labels as a fraction of others'; where neither has come there they are alike."""
    with np.errstate(invalid="ignore"):
        ratio = labels / others
    return float(np.median(np.where(np.isnan(ratio), 1.0, ratio)))


def _cell(value: float) -> Cell:
    return float(value) if np.isfinite(value) else "never"


def risk_row(name: str, studies: Sequence[Mapping[str, Any]]) -> dict[str, Cell]:
    """Stated and found risk over all frames that were explored once there was a calibration."""
    total = {key: sum(one["runs"]["lamflow"]["risk"][key] for one in studies) for key in RISKS}
    frames, accurate = total["frames"] or np.nan, total["accurate"] or np.nan
    return {
        "system": name, "frames": int(total["frames"]), "stated risk of a bound": RISK,
        "found": _cell(1 - total["below stated bound"] / frames),
        "stated above the error": _cell(total["stated above"] / frames),
        "found above": _cell(total["found above"] / frames), "accurate frames": int(total["accurate"]),
        "of them wrong": _cell(total["accurate but wrong"] / accurate),
    }  # fmt: skip


def draw(studies: Mapping[str, Sequence[Mapping[str, Any]]], file: Path) -> None:
    """Median learning curves of all policies on all systems."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(studies), 3.0), layout="constrained")
    for axis, (name, results) in zip(figure.subplots(1, len(studies), squeeze=False)[0], studies.items(), strict=True):
        for policy in POLICIES:
            curves = np.array([one["runs"][policy]["curve"] for one in results])
            axis.plot(curves[0, :, 0], np.median(curves[:, :, 1], axis=0), label=policy, linewidth=1.2)
        axis.axhline(TOLERANCE * np.median([one["best"] for one in results]), color="black", linestyle=":")
        axis.set(title=name, xlabel="labels", yscale="log", ylabel="held-out force RMSE (eV/Å)")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:.2g}")
        axis.tick_params(labelsize=7, which="both")
    figure.axes[0].legend(fontsize=7)
    figure.savefig(file)


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--work", type=Path, help="folder where finished pairs of system and seed are kept")
    options.add_argument("--figure", type=Path, help="PNG with the learning curves")
    options.add_argument("--systems", nargs="*", default=list(SYSTEMS), choices=list(SYSTEMS))
    for name, value in (("seeds", 5), ("frames", 50), ("starts", 4), ("rounds", 20), ("batch", 10), ("explored", 200),
                        ("steps", 200)):  # fmt: skip
        options.add_argument(f"--{name}", type=int, default=value)
    settings = parse_arguments(
        options, systems=["AlCu alloy, EMT"], seeds=1, frames=8, starts=1, rounds=4, batch=4, explored=20, steps=10
    )
    studies: dict[str, list[dict[str, Any]]] = {}
    for name in settings.systems:
        for seed in range(settings.seeds):
            slug = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
            file = settings.work / f"{slug}-{seed}.json" if settings.work else None
            if file is None or not file.is_file():
                result = study(SYSTEMS[name], settings, seed)
                if file is not None:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text(json.dumps(result), encoding="utf-8")
            else:
                result = json.loads(file.read_text(encoding="utf-8"))
            studies.setdefault(name, []).append(result)
    if settings.figure:
        draw(studies, settings.figure)
    table = [row for name, results in studies.items() for row in rows(name, results)]
    risks = [risk_row(name, results) for name, results in studies.items()]
    publish(settings, "label_efficiency", "Labels until a model is good enough", table, risk=risks)


if __name__ == "__main__":
    main()
