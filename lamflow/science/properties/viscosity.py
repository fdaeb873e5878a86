"""The shear viscosity of a liquid: the integral of the correlation of its stress with itself (Green and Kubo)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lamflow.data.frames import Floats
from lamflow.data.properties import Curve, Reduced, Value
from lamflow.science.properties.motion import moving_supercell
from lamflow.science.properties.sample import Answer, Crystal, Sample
from lamflow.units import BOLTZMANN, EV_PER_A3_IN_GPA

FLOWS = 1.0
"""Å that atoms of a liquid have moved at least, root mean square; others rattle in their places."""
NOISE = 2.0
"""A correlation below so many of its standard errors is none any more."""


def frames(
    crystal: Crystal, *, temperatures: Sequence[float], repeats: int, size: float, time: float, timestep: float,
    **about: Any,
) -> list[Sample]:  # fmt: skip
    """A supercell for every temperature and repeat, to be moved for `time` ps.

    about  pressure in bar, and equilibration, a fraction of a run; raises ValueError for what has no volume
    """
    if not crystal.frame.pbc:
        raise ValueError("it is isolated, and a viscosity needs a volume")
    start, steps = moving_supercell(crystal, size), max(1, round(time / timestep))
    warming = max(100, int(steps * float(about["equilibration"])))
    about |= {"ensemble": "nvt", "timestep": timestep, "steps": steps, "warming": warming, "directions": [],
              "correlate": True}  # fmt: skip
    return [
        Sample(start, "stressed", {**about, "temperature": temperature, "repeat": repeat})
        for temperature in temperatures
        for repeat in range(repeats)
    ]


def reduce(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """The viscosity at each temperature with the scatter of blocks and runs; a solid gives a reason.

    Raises ValueError when no temperature has a value.
    """
    del crystal
    values: list[Value] = []
    curves: list[Curve] = []
    notes: list[str] = []
    for where in dict.fromkeys(_where(answer) for answer in answers):
        group = [answer for answer in answers if _where(answer) == where]
        notes += [f"{where}: {answer.failure}" for answer in group if answer.failure]
        good = [answer for answer in group if not answer.failure]
        if not good:
            continue
        try:
            values += [value.model_copy(update={"where": where}) for value in _values(good)]
        except ValueError as reason:
            notes.append(f"{where}: {reason}")
        curves.append(_curve(good).model_copy(update={"where": where}))
    if not values:
        raise ValueError("; ".join(notes))
    return Reduced(values=values, curves=curves, notes=notes)


def _where(answer: Answer) -> str:
    return f"{float(answer.about['temperature']):g} K"


def _values(runs: Sequence[Answer]) -> Iterator[Value]:
    """Raises ValueError for a solid, and for runs that are too short."""
    moved = float(np.sqrt(np.mean([run.series["msd"][0] for run in runs])))
    if moved < FLOWS:
        raise ValueError(
            f"atoms have moved by {moved:.1f} Å, as in a solid, which has no viscosity; begin with a melt or run longer"
        )
    lags, functions, integrals = _tables(runs)
    viscosity, error, cut = plateau(lags, functions, integrals)
    yield Value(name="viscosity", value=viscosity, uncertainty=error, unit="mPa s",
                note=f"the stress forgets itself after {cut:.3g} ps")  # fmt: skip
    volumes = [run.series["volume"][0] for run in runs]
    yield Value(name="V", value=float(np.mean(volumes)), unit="Å³/atom")


def _tables(runs: Sequence[Answer]) -> tuple[Floats, Floats, Floats]:
    """Lags (L,) in ps, and of all blocks of all runs correlations (B, L) in GPa² and viscosities until there (B, L) in
    mPa s, which are GPa ps: V/kT times the integral."""
    lags = np.array(runs[0].series["lags"])
    functions = np.concatenate([np.reshape(run.series["correlation"], (-1, len(lags))) for run in runs])
    factors = [
        run.series["volume"][0] * run.frame.natoms / EV_PER_A3_IN_GPA / (BOLTZMANN * float(run.about["temperature"]))
        for run in runs
    ]
    integrals = [
        np.reshape(run.series["integral"], (-1, len(lags))) * factor for run, factor in zip(runs, factors, strict=True)
    ]
    return lags, functions, np.concatenate(integrals)


def plateau(lags: Floats, functions: Floats, integrals: Floats) -> tuple[float, float, float]:
    """Mean of integrals (B, L) from where their functions (B, L) have died away to twice as late, its standard error by
    the scatter of the B blocks, and that lag in the unit of `lags` (L,).

    Raises ValueError where the functions have not died away within half of the longest lag.
    """
    mean, error = functions.mean(axis=0), functions.std(axis=0, ddof=1) / np.sqrt(len(functions))
    dead = np.flatnonzero((np.abs(mean) < NOISE * error) | (mean <= 0))
    if not len(dead) or lags[dead[0]] > 0.5 * lags[-1]:
        raise ValueError(f"the stress still remembers itself after {lags[-1]:.3g} ps; run longer")
    cut = float(lags[dead[0]])
    window = (lags >= cut) & (lags <= 2 * cut)
    own = integrals[:, window].mean(axis=1)
    return float(own.mean()), float(own.std(ddof=1) / np.sqrt(len(own))), cut


def _curve(runs: Sequence[Answer]) -> Curve:
    lags, _, integrals = _tables(runs)
    return Curve(name="viscosity", x=lags.tolist(), y=integrals.mean(axis=0).tolist(), x_label="time (ps)",
                 y_label="viscosity by the integral until there (mPa s)")  # fmt: skip
