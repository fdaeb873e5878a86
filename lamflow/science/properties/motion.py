"""Properties of atoms that move: energy drift, stability, lattices at temperatures, radial distribution functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.data.properties import Curve, Reduced, Value
from lamflow.science.properties.cells import conventional, primitive, repeated, repeats
from lamflow.science.properties.sample import Answer, Crystal, Sample

BLOCKS = 5
"""Parts of a run whose means scatter as its mean may be wrong."""


def frames(
    crystal: Crystal, *, temperatures: Sequence[float], repeats: int, size: float, time: float, timestep: float,
    **about: Any,
) -> list[Sample]:  # fmt: skip
    """A supercell for every temperature and repeat, to be moved for `time` ps. Raises ValueError for what cannot.

    about  ensemble, pressure in bar, and equilibration, a fraction of a run
    """
    if about["ensemble"] == "npt" and not crystal.frame.pbc:
        raise ValueError("it is isolated, and ensemble npt needs a volume")
    start = supercell(crystal, size)
    if start.natoms < 2:
        raise ValueError("dynamics needs at least two atoms")
    about |= {"timestep": timestep, "steps": max(1, round(time / timestep))}
    return [
        Sample(start, "motion", {**about, "temperature": temperature, "repeat": repeat})
        for temperature in temperatures
        for repeat in range(repeats)
    ]


def supercell(crystal: Crystal, size: float) -> Frame:
    """The primitive cell repeated until opposite faces are `size` Å apart; an isolated structure as it is."""
    if not crystal.frame.pbc:
        return crystal.frame
    bulk = primitive(crystal.frame)
    return repeated(bulk, repeats(bulk.cell, size))


def moving_supercell(crystal: Crystal, size: float) -> Frame:
    """The same. Raises ValueError for a single atom: without the motion of its centre of mass it has no temperature."""
    start = supercell(crystal, size)
    if start.natoms < 2:
        raise ValueError("dynamics needs at least two atoms; raise size")
    return start


def reduce(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Means of every temperature with the standard error of their blocks; a run that exploded says when.

    Raises ValueError when no run has moved at all.
    """
    if not any(answer.series for answer in answers):
        raise ValueError(answers[0].failure or "nothing has moved")
    values: list[Value] = []
    curves: list[Curve] = []
    notes = [f"{_where(answer)}: {answer.failure}" for answer in answers if answer.failure]
    for where in dict.fromkeys(_where(answer) for answer in answers):
        group = [answer for answer in answers if _where(answer) == where]
        lived = min(float(answer.series["time"][-1]) if answer.series else 0.0 for answer in group)
        values.append(Value(name="stable_time", value=lived, unit="ps", where=where))
        good = [answer for answer in group if not answer.failure]
        if good:
            values += [value.model_copy(update={"where": where}) for value in _values(crystal, good)]
            curves += [curve.model_copy(update={"where": where}) for curve in _curves(good)]
    return Reduced(values=values, curves=curves, notes=notes)


def _where(answer: Answer) -> str:
    return f"{float(answer.about['temperature']):g} K"


def _values(crystal: Crystal, runs: Sequence[Answer]) -> Iterator[Value]:
    """What runs at one temperature say together."""
    for name, key, unit in (("E", "energy", "eV/atom"), ("T", "temperature", "K")):
        mean, error = block_mean([_equilibrated(run, key) for run in runs])
        yield Value(name=name, value=mean, uncertainty=error, unit=unit)
    last = np.array([float(np.mean(run.series["msd"][-10:])) for run in runs])
    yield Value(name="displacement", value=float(np.sqrt(last.mean())), unit="Å", note="root mean square, at the end")
    ensemble = runs[0].about["ensemble"]
    if ensemble == "nve":
        slopes, scatter = np.array([_drift(run) for run in runs]).T
        doubt = float(slopes.std(ddof=1) / np.sqrt(len(slopes))) if len(slopes) > 1 else None
        yield Value(name="energy_drift", value=float(slopes.mean()), uncertainty=doubt, unit="meV/atom/ps")
        yield Value(name="energy_fluctuation", value=float(scatter.mean()), unit="meV/atom")
    if ensemble == "npt":
        volume, spread = block_mean([_equilibrated(run, "volume") for run in runs])
        yield Value(name="V", value=volume, uncertainty=spread, unit="Å³/atom")
        relative = (volume * crystal.frame.natoms / crystal.frame.volume) ** (1 / 3)
        lengths = conventional(crystal.frame).to_ase().cell.lengths()
        for name, length in zip("abc", lengths, strict=True):
            value = float(length) * relative
            yield Value(name=name, value=value, uncertainty=value * spread / volume / 3, unit="Å", note="scaled evenly")
    if runs[0].frame.pbc:
        yield from _peak(runs)


def block_mean(series: Sequence[Floats]) -> tuple[float, float]:
    """Mean of several series and its standard error, by the scatter of BLOCKS parts of each."""
    blocks = [float(part.mean()) for one in series for part in np.array_split(one, BLOCKS)]
    return float(np.mean(blocks)), float(np.std(blocks, ddof=1) / np.sqrt(len(blocks)))


def _equilibrated(run: Answer, key: str) -> Floats:
    values = np.array(run.series[key])
    return values[int(float(run.about["equilibration"]) * len(values)) :]


def _drift(run: Answer) -> tuple[float, float]:
    """Slope of the total energy in meV/atom/ps, and its root mean square distance from the line in meV/atom."""
    time, energy = (_equilibrated(run, key) for key in ("time", "total"))
    slope, level = np.polyfit(time, energy, 1)
    rest = energy - slope * time - level
    return 1000 * float(slope), 1000 * float(np.sqrt(np.mean(rest**2)))


def _peak(runs: Sequence[Answer]) -> Iterator[Value]:
    """Place and height of the highest point of the radial distribution function, with the scatter of blocks."""
    radius, blocks = np.array(runs[0].series["rdf_r"]), _rdf(runs)
    mean = blocks.mean(axis=0)
    top = int(mean.argmax())
    if not 0 < top < len(mean) - 1:
        return
    height = blocks[:, top].std(ddof=1) / np.sqrt(len(blocks))
    curvature = mean[top - 1] - 2 * mean[top] + mean[top + 1]
    shift = 0.5 * (mean[top - 1] - mean[top + 1]) / curvature if curvature < 0 else 0.0
    yield Value(name="rdf_peak", value=float(radius[top] + shift * (radius[1] - radius[0])), unit="Å")
    yield Value(name="rdf_height", value=float(mean[top]), uncertainty=float(height), unit="1")


def _rdf(runs: Sequence[Answer]) -> Floats:
    """The radial distribution functions of all blocks of all runs (B, R)."""
    bins = len(runs[0].series["rdf_r"])
    return np.concatenate([np.reshape(run.series["rdf"], (-1, bins)) for run in runs])


def _curves(runs: Sequence[Answer]) -> Iterator[Curve]:
    first: Mapping[str, Sequence[float]] = runs[0].series
    yield Curve(
        name="total energy", x=list(first["time"]), y=(np.array(first["total"]) - first["total"][0]).tolist(),
        x_label="time (ps)", y_label="total energy since the beginning (eV/atom)",
    )  # fmt: skip
    if runs[0].frame.pbc:
        yield Curve(
            name="rdf", x=list(first["rdf_r"]), y=_rdf(runs).mean(axis=0).tolist(), x_label="distance (Å)",
            y_label="radial distribution function (1)",
        )  # fmt: skip
