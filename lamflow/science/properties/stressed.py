"""The stress of what moves: its means under strains, and how it correlates with itself, in blocks of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.science.dynamics import ACCELERATION, Dynamics, Systems
from lamflow.science.properties.elastic import VOIGT, unit_strain
from lamflow.science.properties.sample import Answer, Sample
from lamflow.science.properties.simulated import (
    Kept,
    OpenSession,
    begun,
    drop_exploded,
    in_groups,
    run_name,
    run_together,
)
from lamflow.units import BOLTZMANN, EV_PER_A3_IN_GPA

BLOCKS = 5
"""Parts of a run whose mean stresses are kept."""
LAGS = 120
"""Points of a correlation function."""
KEYS = ("ensemble", "timestep", "steps", "equilibration", "warming", "directions", "fixed_volume")
"""What samples share that move together."""
Run = tuple[int, str, Frame]
"""Number of its sample, name of its series, start."""


def stressed(samples: Sequence[Sample], open_session: OpenSession, seed: Callable[[str], int]) -> list[Answer]:
    """Every sample brought to its temperature and pressure, then moved at constant volume while its stress is measured.

    The series of an answer are `volume` in Å³/atom, `msd` at the end in Å², and `none` and `0 +`, `0 -`, … of each
    direction of strain: BLOCKS times 6 numbers in Voigt's order, the mean stress in GPa, positive under tension,
    kinetic part included. The same random forces act under all strains of a sample, so that most of the noise falls out
    of their differences. Where `about` says `correlate`, `lags` in ps and `correlation` and `integral`, BLOCKS times as
    many numbers, see `correlations`.
    """
    return in_groups(
        samples, KEYS, lambda group: _stressed(group, open_session, [seed(run_name(one)) for one in group])
    )


def _stressed(samples: Sequence[Sample], open_session: OpenSession, seeds: Sequence[int]) -> list[Answer]:
    warm = run_together([_warming(sample) for sample in samples], open_session, seeds)
    runs = [run for number, answer in enumerate(warm) if not answer.failure for run in _strains(number, answer)]
    kept = _stresses(samples, runs, open_session, seeds) if runs else []
    return [
        _answer(sample, first, {k: own for (owner, k, _), own in zip(runs, kept, strict=True) if owner == number})
        for number, (sample, first) in enumerate(zip(samples, warm, strict=True))
    ]


def _answer(sample: Sample, warm: Answer, runs: Mapping[str, Kept]) -> Answer:
    """What a sample comes to: series of all its runs, or the first failure."""
    failure = warm.failure or next((own.failure for own in runs.values() if own.failure), None)
    if failure is not None:
        return Answer(sample, sample.frame, None, False, failure)
    series = {key: own.series.pop("stress") for key, own in runs.items()}
    return Answer(sample, sample.frame, None, series={**series, **runs["none"].series, "volume": [mean_volume(warm)]})


def _warming(sample: Sample) -> Sample:
    """The run that brings a sample to its temperature and, where its volume may change, to its pressure."""
    ensemble = "nvt" if sample.about.get("fixed_volume") else "npt"
    about = {**sample.about, "ensemble": ensemble, "steps": sample.about["warming"], "equilibration": 0.5}
    return replace(sample, relax="motion", about=about)


def mean_volume(warm: Answer) -> float:
    """Over the second half of a run, Å³/atom."""
    volumes = warm.series["volume"]
    return float(np.mean(volumes[len(volumes) // 2 :]))


def _strains(number: int, warm: Answer) -> Iterator[Run]:
    """Where runs under strain begin: the end of another one, at its mean volume."""
    frame, about = warm.frame, warm.about
    scale = (mean_volume(warm) * frame.natoms / frame.volume) ** (1 / 3)
    yield number, "none", _deformed(frame, scale * np.eye(3))
    for direction in about["directions"]:
        for sign in (1, -1):
            tensor = np.eye(3) + sign * float(about["strain"]) * unit_strain(int(direction))
            yield number, series_name(int(direction), sign), _deformed(frame, scale * tensor)


def series_name(direction: int, sign: int) -> str:
    """Of the stress under a strain."""
    return f"{direction} {'+' if sign > 0 else '-'}"


def _deformed(frame: Frame, tensor: Floats) -> Frame:
    return replace(frame, cell=frame.cell @ tensor, positions=frame.positions @ tensor)


def _stresses(
    samples: Sequence[Sample], runs: Sequence[Run], open_session: OpenSession, seeds: Sequence[int]
) -> list[Kept]:
    """Every run, all together, with its series; see `stressed`."""
    about: Mapping[str, Any] = samples[0].about
    steps, first, ensemble = int(about["steps"]), int(about["steps"] * about["equilibration"]), about["ensemble"]
    temperatures = np.array([float(samples[number].about["temperature"]) for number, _, _ in runs])
    own = [seeds[number] + 1 for number, _, _ in runs]  # others than those that have warmed it
    dynamics = Dynamics(ensemble, float(about["timestep"]), temperatures, own)
    systems, evaluate = begun(dynamics, [frame for _, _, frame in runs], open_session)
    kept, volumes, start = [Kept() for _ in runs], systems.volumes.copy(), systems.positions.copy()
    found = np.full((steps - first, len(runs), 6), np.nan)
    for step in range(steps):
        dynamics.step(systems, evaluate)
        drop_exploded(systems, kept, step + 1, dynamics.timestep, volumes)
        if not len(systems.number):
            break
        if step >= first:
            found[step - first, systems.number] = _stress(systems, temperatures if ensemble == "langevin" else None)
    blocks = np.array_split(found, BLOCKS)
    for row, number in enumerate(systems.number):
        one, moved = kept[number], systems.positions[row] - start[number]
        one.add(msd=float(np.mean(np.sum((moved - moved.mean(axis=0)) ** 2, axis=1))))
        one.series["stress"] = np.concatenate([block[:, number].mean(axis=0) for block in blocks]).tolist()
        if about.get("correlate"):
            one.series |= correlations([block[:, number] for block in blocks], dynamics.timestep)
    return kept


def _stress(systems: Systems, temperatures: Floats | None) -> Floats:
    """(B, 6) in Voigt's order, GPa. Of moving atoms that of an ideal gas at `temperatures`, which carries no noise, or
    their own."""
    inner = np.stack([systems.virials[:, i, j] for i, j in VOIGT], axis=1)
    if temperatures is not None:
        inner[:, :3] += (systems.positions.shape[1] * BOLTZMANN * temperatures[systems.number])[:, None]
    else:
        flow = np.einsum("bn,bnx,bny->bxy", systems.masses, systems.velocities, systems.velocities) / ACCELERATION
        inner = inner + np.stack([flow[:, i, j] for i, j in VOIGT], axis=1)
    return np.asarray(-inner / systems.volumes[:, None] * EV_PER_A3_IN_GPA)


def correlations(blocks: Sequence[Floats], timestep: float) -> dict[str, list[float]]:
    """How the shear stress of each block (F, 6) in GPa, `timestep` ps apart, correlates with itself.

    `lags` (L,) in ps; of each block `correlation` (L,) in GPa² and its `integral` (L,) in GPa² ps until there: means
    over the five independent components of the traceless stress (P. J. Daivis and D. J. Evans, J. Chem. Phys. 100, 541
    (1994)).
    """
    count = min(len(block) for block in blocks)
    longest = max(2, count // 2)
    lags = np.unique(np.geomspace(1, longest - 1, LAGS).astype(np.int64))
    means = np.mean([block.mean(axis=0) for block in blocks], axis=0)
    functions, integrals = [], []
    for block in blocks:
        xx, yy, zz, yz, xz, xy = (block[:count] - means).T
        shear = [yz, xz, xy, (xx - yy) / 2, (2 * zz - xx - yy) / (2 * np.sqrt(3))]
        function = np.mean([_autocorrelation(one)[:longest] for one in shear], axis=0)
        whole = np.concatenate([[0.0], np.cumsum(0.5 * (function[1:] + function[:-1]))]) * timestep
        functions.append(function[lags])
        integrals.append(whole[lags])
    return {"lags": (lags * timestep).tolist(), "correlation": np.concatenate(functions).tolist(),
            "integral": np.concatenate(integrals).tolist()}  # fmt: skip


def _autocorrelation(series: Floats) -> Floats:
    """Of a series (F,) at all lags, by fast Fourier transforms."""
    count = len(series)
    spectrum = np.fft.rfft(series, 2 * count)
    return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2, 2 * count)[:count] / (count - np.arange(count)))
