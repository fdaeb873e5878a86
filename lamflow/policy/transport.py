"""From displacements to diffusion, conductivity and activation energies, with reasons where there are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamflow.config.transport import TransportStudy
from lamflow.data.properties import Curve, PropertyResult, Value
from lamflow.data.transport import TransportRun
from lamflow.science.hops import BINS, RANGE
from lamflow.science.transport import (
    CM2_PER_S,
    Displacements,
    Slope,
    arrhenius,
    collective,
    nernst_einstein,
    tracer,
)

Runs = Sequence[tuple[TransportRun, Displacements | None]]
FRAMEWORK = 2.0
"""Å²; atoms of a solid stay nearer to where they were."""
SMALLEST_CELL = 15.0
"""Å; in narrower cells ions feel their images, and collective motion is suppressed."""
FEWEST_JUMPS = 20
"""Fewer say nothing of their rate."""
LARGER = 1.5
"""Times the atoms of a cell that another one has which it is compared with."""
HAVEN_ERROR = 0.5
"""A Haven ratio with a larger relative error says nothing."""


def transport_results(study: TransportStudy, runs: Runs) -> tuple[list[PropertyResult], float]:
    """Results of each potential, structure and pressure, and the largest relative error of a diffusion coefficient.

    The error is 1 where a coefficient has no value.
    """
    results, errors, found = [], [0.0], list[_Sized]()
    groups: dict[tuple[str, str, str], list[tuple[TransportRun, Displacements | None]]] = {}
    for run, moved in runs:
        others = ", ".join(f"{k} {v:g}" for k, v in sorted(run.condition.items()) if k != "temperature")
        groups.setdefault((run.potential, run.structure, others), []).append((run, moved))
    for (potential, structure, others), group in groups.items():
        about = {"potential": potential, "structure": structure}
        points = _by_temperature(study, group)
        suffix = f" ({others})" if others else ""
        for temperature, point in points.items():
            errors.append(point.relative_error)
            results.append(PropertyResult(**about, property=f"transport{suffix}", **point.fields(f"{temperature:g} K")))
        results.append(PropertyResult(**about, property=f"arrhenius{suffix}", **_arrhenius(study, points)))
        found += [
            _Sized(potential, structure, suffix, t, p.of.formula, p.of.natoms, p.diffusion)
            for t, p in points.items()
            if p.diffusion
        ]
    return [*results, *_finite_size(found)], max(errors)


@dataclass(frozen=True)
class _Sized:
    """A diffusion coefficient with what it was found in. formula: reduced; natoms: of the cell"""

    potential: str
    structure: str
    suffix: str
    temperature: float
    formula: str
    natoms: int
    diffusion: tuple[float, float]


def _finite_size(found: Sequence[_Sized]) -> Iterator[PropertyResult]:
    """Diffusion in the larger of two cells of the same material over that in the smaller one."""
    for small in found:
        for large in found:
            alike = all(
                getattr(small, key) == getattr(large, key) for key in ("potential", "suffix", "temperature", "formula")
            )
            if not alike or not small.formula or large.natoms < LARGER * small.natoms:
                continue
            ratio = large.diffusion[0] / small.diffusion[0]
            first, second = (one.diffusion[1] / one.diffusion[0] for one in (small, large))
            error = ratio * float(np.hypot(first, second))
            agree = abs(ratio - 1) < 2 * error
            note = f"{large.natoms} atoms of {large.structure} against {small.natoms} of {small.structure}: " + (
                "they agree within two standard errors" if agree else "the smaller cell is too small"
            )
            value = Value(name="D_ratio", value=ratio, unit="1", uncertainty=error, where=f"{small.temperature:g} K")
            yield PropertyResult(potential=small.potential, structure=small.structure, values=[value], notes=[note],
                                 property=f"finite-size{small.suffix}")  # fmt: skip


class _Point:
    """What one temperature says. D in cm²/s; sigma in S/cm"""

    def __init__(self, study: TransportStudy, temperature: float, group: Runs) -> None:
        self.values: list[Value] = []
        self.curves: list[Curve] = []
        self.notes: list[str] = []
        self.failed: str | None = None
        self.diffusion: tuple[float, float] | None = None
        self.sigma: tuple[float, float] | None = None
        self.count = len(group)
        self.of = group[0][0]
        self.temperature = temperature
        bad = [run.failed for run, _ in group if run.failed]
        if bad:
            self.notes.append(f"{len(bad)} of {len(group)} simulations failed: {bad[0]}")
        good = _alike([(run, moved) for run, moved in group if moved is not None])
        if not good:
            self.failed = bad[0] if bad else "there is no simulation"
            return
        try:
            self._measure(study, good)
        except ValueError as error:
            self.failed = str(error)

    @property
    def relative_error(self) -> float:
        """Of the diffusion coefficient; 1 without one."""
        return 1.0 if self.diffusion is None else self.diffusion[1] / self.diffusion[0]

    def fields(self, where: str) -> dict[str, Any]:
        """Those of a PropertyResult, each value and note with its temperature."""
        return {
            "values": [value.model_copy(update={"where": where}) for value in self.values],
            "curves": [curve.model_copy(update={"where": where}) for curve in self.curves],
            "notes": [f"{where}: {note}" for note in self.notes],
            "frames": self.count,
            "failed": None if self.failed is None else f"{where}: {self.failed}",
        }

    def _measure(self, study: TransportStudy, good: list[tuple[TransportRun, Displacements]]) -> None:
        runs = [moved for _, moved in good]
        times = runs[0].lags * runs[0].interval
        curve = np.concatenate([run.ions for run in runs]).mean(axis=0)
        self.curves.append(Curve(
            name="msd", x=times.tolist(), y=curve.tolist(), x_label="time (ps)", y_label=f"MSD of {study.mobile} (Å²)",
        ))  # fmt: skip
        slope = tracer(runs)
        least_squares = (slope.value * CM2_PER_S, slope.error * CM2_PER_S)
        asked = [run.kinisi for run, _ in good if run.kinisi is not None]
        self.diffusion = least_squares
        if len(asked) == len(good):
            value, error = _combined(asked)
            self.diffusion = value, max(error, slope.error * CM2_PER_S)  # kinisi takes ions as independent
        how = "kinisi" if len(asked) == len(good) else "generalised least squares"
        self._value("D", self.diffusion, "cm²/s", how)
        if len(asked) == len(good):
            self._value("D_least_squares", least_squares, "cm²/s", "generalised least squares")
        self.notes.append(
            f"diffusive from {slope.start:.3g} ps on; {len(good)} simulations of {runs[0].frames} frames; standard "
            f"errors by walk, blocks, ions, window: {_percents(slope)}"
        )
        volume = float(np.mean([run.volume for run in runs]))
        if 0 < volume ** (1 / 3) < SMALLEST_CELL:
            self.notes.append(f"the cell is {volume ** (1 / 3):.1f} Å wide; compare with a larger one")
        framework = [run.framework for run, _ in good if run.framework is not None]
        if framework and np.mean(framework) > FRAMEWORK:
            self.notes.append(
                f"atoms other than {study.mobile} have moved by {np.sqrt(np.mean(framework)):.1f} Å (root mean square) "
                "in the end: they melt, flow or turn"
            )
        self._jump(runs)
        if study.charges and not volume > 0:
            self.notes.append("no conductivity: the frames are not periodic and have no volume")
        elif study.charges:
            self._conduct(study, good, slope, volume)

    def _jump(self, runs: Sequence[Displacements]) -> None:
        """Van Hove functions, how far they are from a walk's, and the jumps of single ions."""
        seen = [run.hops for run in runs if run.hops is not None]
        if not seen or self.diffusion is None:
            return
        radius = (np.arange(BINS) + 0.5) * RANGE / BINS
        for row, time in enumerate(seen[0].times):
            function = np.mean([one.van_hove[row] for one in seen], axis=0)
            self.curves.append(Curve(
                name="van Hove", x=radius.tolist(), y=function.tolist(), x_label="displacement (Å)",
                y_label=f"4πr² G(r, t), t up to {seen[0].times[-1]:.3g} ps (1/Å)",
            ))  # fmt: skip
            self.notes.append(f"non-Gaussian parameter after {time:.3g} ps: "
                              f"{np.mean([one.gaussian[row] for one in seen]):.2f}")  # fmt: skip
        jumps, followed = sum(one.jumps for one in seen), sum(one.ion_time for one in seen)
        if jumps < FEWEST_JUMPS:
            self.notes.append(f"{jumps} jumps were seen, fewer than {FEWEST_JUMPS}: their rate has no value")
            return
        square = sum(one.square * one.jumps for one in seen) / jumps
        rate = jumps / followed
        self._value("jump_rate", (rate, rate / np.sqrt(jumps)), "1/ps", "of one ion; error by counting")
        self._value("jump_length", (float(np.sqrt(square)), None), "Å", "root mean square")
        correlation = self.diffusion[0] / CM2_PER_S * 6 / (rate * square)
        relative = float(np.hypot(self.diffusion[1] / self.diffusion[0], 1 / np.sqrt(jumps)))
        self._value("correlation_factor", (correlation, correlation * relative), "1",
                    "D over that of uncorrelated jumps; below 1 where ions jump back")  # fmt: skip

    def _conduct(
        self, study: TransportStudy, good: list[tuple[TransportRun, Displacements]], slope: Slope, volume: float
    ) -> None:
        assert self.diffusion is not None  # noqa: S101  it was measured
        charge, ions, temperature = study.charges[study.mobile], good[0][0].mobile, self.temperature
        factor = nernst_einstein(1.0, ions, charge, volume, temperature)
        self.sigma = (self.diffusion[0] * factor, self.diffusion[1] * factor)
        self._value("sigma_NE", self.sigma, "S/cm", "Nernst–Einstein")
        together = collective([moved for _, moved in good], slope.start)
        whole = nernst_einstein(CM2_PER_S, 1, 1.0, volume, temperature)
        sigma = (together.value * whole, together.error * whole)
        if sigma[0] <= 0 or sigma[1] > sigma[0]:
            self.notes.append("the collective conductivity has no value: its error is larger than itself; run longer")
            return
        self._value("sigma", sigma, "S/cm", "collective, relative to the centre of mass of the framework")
        haven = self.sigma[0] / sigma[0]
        relative = float(np.hypot(self.sigma[1] / self.sigma[0], sigma[1] / sigma[0]))
        if relative < HAVEN_ERROR:
            self._value("haven_ratio", (haven, haven * relative), "1", "")

    def _value(self, name: str, value: tuple[float, float | None], unit: str, note: str) -> None:
        self.values.append(Value(name=name, value=value[0], uncertainty=value[1], unit=unit, note=note))


def _by_temperature(study: TransportStudy, group: Runs) -> dict[float, _Point]:
    temperatures = sorted({run.condition["temperature"] for run, _ in group})
    return {
        temperature: _Point(
            study, temperature, [one for one in group if one[0].condition["temperature"] == temperature]
        )
        for temperature in temperatures
    }


def _alike(runs: list[tuple[TransportRun, Displacements]]) -> list[tuple[TransportRun, Displacements]]:
    """The runs with as many frames as the longest; those that ended early have other lags."""
    longest = max((moved.frames for _, moved in runs), default=0)
    return [(run, moved) for run, moved in runs if moved.frames == longest]


def _combined(estimates: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Mean of independent estimates, its error no smaller than their scatter says."""
    values, errors = np.array(estimates).T
    error = float(np.sqrt((errors**2).sum()) / len(values))
    scatter = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return float(values.mean()), max(error, scatter)


def _percents(slope: Slope) -> str:
    return ", ".join(
        f"{100 * error / slope.value:.1f} %" for error in (slope.walk, slope.blocks, slope.ions, slope.window)
    )


def _arrhenius(study: TransportStudy, points: dict[float, _Point]) -> dict[str, Any]:
    """Activation energies and extrapolated values, those of a PropertyResult."""
    good = {temperature: point for temperature, point in points.items() if point.diffusion is not None}
    span = f"{min(good):g} to {max(good):g} K" if good else ""
    values: list[Value] = []
    curves: list[Curve] = []
    kinds = [("D", "cm²/s", "E_a", {t: p.diffusion for t, p in good.items()}, False)]
    if all(point.sigma is not None for point in good.values()) and good:
        kinds.append(("sigma_NE", "S/cm", "E_a_sigma", {t: p.sigma for t, p in good.items()}, True))
    for name, unit, barrier, known, times_temperature in kinds:
        temperatures = np.array(list(known))
        table = np.array([pair for pair in known.values() if pair is not None]).reshape(-1, 2)
        factor = temperatures if times_temperature else np.ones(len(temperatures))
        try:
            fit = arrhenius(temperatures, table[:, 0] * factor, table[:, 1] * factor)
        except ValueError as reason:
            return {"values": [], "failed": str(reason)}
        error, note = float(np.sqrt(fit.covariance[1, 1])), f"of {'σT' if times_temperature else 'D'}, {span}"
        values.append(Value(name=barrier, value=fit.barrier, unit="eV", uncertainty=error, note=note))
        for wanted in study.extrapolate:
            logarithm, spread = fit.log_at(wanted)
            value = float(np.exp(logarithm)) / (wanted if times_temperature else 1.0)
            outside = not min(good) <= wanted <= max(good)
            values += [
                Value(name=name, value=value, unit=unit, where=f"{wanted:g} K", uncertainty=value * spread,
                      note=f"extrapolated from {span}" if outside else "by the fit"),
                Value(name=f"log10_{name}", value=float(np.log10(value)), unit=f"log10({unit})", where=f"{wanted:g} K",
                      uncertainty=spread / np.log(10)),
            ]  # fmt: skip
        inverse = (1000 / temperatures).tolist()
        curves.append(Curve(
            name=f"arrhenius {name}", x=inverse, y=np.log10(table[:, 0]).tolist(), x_label="1000 / T (1/K)",
            y_label=f"log10 of {name} ({unit})",
        ))  # fmt: skip
    room = [f"the fit spans {span}; beyond, it assumes that nothing changes, no phase either"] if values else []
    return {"values": values, "curves": curves, "notes": room}
