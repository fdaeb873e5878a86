"""Melting as a crystal is heated and freezing as it is cooled: where its enthalpy jumps, and what lies between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lamflow.data.frames import Floats
from lamflow.data.properties import Curve, Reduced, Value
from lamflow.science.properties.cells import require_crystal
from lamflow.science.properties.motion import moving_supercell
from lamflow.science.properties.sample import Answer, Crystal, Sample
from lamflow.units import BAR_IN_EV_PER_A3, BOLTZMANN

LEAST_JUMP = 0.3
"""Of the enthalpy per atom where a crystal melts, in units of kT; metals have about 1."""
LEAST_FREEZING = 0.4
"""Of the jump on heating, that where the melt freezes; crystals that grow so fast have faults."""
SIGNIFICANT = 3.0
"""A jump is that many times the scatter of the enthalpies about the lines beside it."""
FEW = 100
"""Atoms; fewer melt and freeze too late even more."""
SHORTEST = 8
"""Points that a line needs on each side of a jump."""


class Jump(NamedTuple):
    """Where a series changes from one line to another. temperature: K; enthalpy: by how much, eV/atom"""

    temperature: float
    enthalpy: float


def frames(
    crystal: Crystal, *, coldest: float, hottest: float, rate: float, repeats: int, size: float, timestep: float,
    pressure: float,
) -> list[Sample]:  # fmt: skip
    """A supercell for each repeat, to be heated and cooled. Raises ValueError for what is no crystal."""
    require_crystal(crystal.frame)
    start = moving_supercell(crystal, size)
    steps = round(2 * (hottest - coldest) / rate / timestep)
    about = {"ensemble": "npt", "pressure": pressure, "timestep": timestep, "equilibration": 1.0, "rate": rate}
    about |= {"steps": steps, "temperature": coldest, "peak": hottest}
    return [Sample(start, "motion", {**about, "repeat": repeat}) for repeat in range(repeats)]


def reduce(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Temperatures of melting and freezing, and the estimate from both with half their distance as its error.

    T_m = T+ + T- - sqrt(T+ T-) (S.-N. Luo et al., J. Chem. Phys. 120, 11640 (2004)). Raises ValueError when nothing has
    melted, or when every run has exploded.
    """
    del crystal
    good = [answer for answer in answers if not answer.failure]
    if not good:
        raise ValueError(answers[0].failure or "nothing has moved")
    about, notes = good[0].about, [f"repeat {a.about['repeat']}: {a.failure}" for a in answers if a.failure]
    rate, hottest = float(about["rate"]), float(about["peak"])
    branches = [_branches(answer) for answer in good]
    melted = [jump for (heating, _) in branches if (jump := jump_of(*heating)) is not None]
    if not melted:
        raise ValueError(f"nothing has melted up to {hottest:g} K at {rate:g} K/ps; raise hottest")
    if len(melted) < len(good):
        notes.append(f"{len(good) - len(melted)} of {len(good)} runs have not melted")
    if good[0].frame.natoms < FEW:
        notes.append(f"{good[0].frame.natoms} atoms are few, and melt and freeze too late; raise size")
    latent = float(np.mean([jump.enthalpy for jump in melted]))
    frozen = [
        jump for (_, cooling) in branches if (jump := jump_of(*cooling)) and jump.enthalpy > LEAST_FREEZING * latent
    ]
    spacing = (hottest - float(about["temperature"])) / max(1, len(branches[0][0][0]))
    values = [
        _value("T_heating", [jump.temperature for jump in melted], "K", spacing),
        _value("latent_heat", [jump.enthalpy for jump in melted], "eV/atom", 0.0),
    ]
    if frozen:
        values.append(_value("T_cooling", [jump.temperature for jump in frozen], "K", spacing))
        values.append(_melting_point(values[0].value, values[-1].value))
        notes.append(f"at {rate:g} K/ps melting is late and freezing is late; the melting point lies between")
    else:
        notes.append(
            f"the melt has not frozen at {rate:g} K/ps, so there is no T_m: T_heating is above the melting point, by a "
            "fifth or more for a crystal without surfaces; cool more slowly"
        )
    return Reduced(values=values, curves=_curves(good[0]), notes=notes)


def _value(name: str, found: Sequence[float], unit: str, resolution: float) -> Value:
    """The mean of repeats with its standard error; a single one is known to its resolution at best."""
    error = float(np.std(found, ddof=1) / np.sqrt(len(found))) if len(found) > 1 else 0.0
    return Value(name=name, value=float(np.mean(found)), unit=unit, uncertainty=max(error, resolution) or None)


def _melting_point(heating: float, cooling: float) -> Value:
    value = heating + cooling - float(np.sqrt(heating * cooling))
    note = "from hysteresis; the error is half of it"
    return Value(name="T_m", value=value, unit="K", uncertainty=0.5 * abs(heating - cooling), note=note)


def _branches(run: Answer) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Temperatures in K and enthalpies in eV/atom while it is heated, and while it is cooled."""
    temperatures, pressure = np.array(run.series["target"]), float(run.about["pressure"]) * BAR_IN_EV_PER_A3
    enthalpies = np.array(run.series["energy"]) + pressure * np.array(run.series["volume"])
    top = int(temperatures.argmax()) + 1
    return (temperatures[:top], enthalpies[:top]), (temperatures[top:], enthalpies[top:])


def jump_of(temperatures: Floats, enthalpies: Floats) -> Jump | None:
    """Where enthalpies (F,) in eV/atom jump that would be two lines over temperatures (F,) in K; None if they do not.

    The two lines that leave the least squares, at any place; the jump counts by its size and by the scatter.
    """
    order = np.argsort(temperatures, kind="stable")
    x, y = temperatures[order], enthalpies[order]
    best: tuple[float, float, float] | None = None
    for place in range(SHORTEST, len(x) - SHORTEST):
        below, above = np.polyfit(x[:place], y[:place], 1), np.polyfit(x[place:], y[place:], 1)
        rest = np.concatenate([y[:place] - np.polyval(below, x[:place]), y[place:] - np.polyval(above, x[place:])])
        middle = 0.5 * (x[place - 1] + x[place])
        jump = float(np.polyval(above, middle) - np.polyval(below, middle))
        if best is None or rest @ rest < best[0]:
            best = float(rest @ rest), middle, jump
    if best is None:
        return None
    squares, middle, jump = best
    scatter = float(np.sqrt(squares / len(x)))
    large = jump > max(LEAST_JUMP * BOLTZMANN * middle, SIGNIFICANT * scatter)
    return Jump(float(middle), jump) if large else None


def _curves(run: Answer) -> list[Curve]:
    (hot, up), (cool, down) = _branches(run)
    return [
        Curve(name=name, x=x.tolist(), y=(y - up[0]).tolist(), x_label="temperature (K)",
              y_label="enthalpy since the beginning (eV/atom)")
        for name, x, y in (("heating", hot, up), ("cooling", cool, down))
    ]  # fmt: skip
