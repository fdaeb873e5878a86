"""Crystals that move under strains: mean stresses in blocks of time, all strains with the same random forces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.science.dynamics import Dynamics, Systems
from lamflow.science.properties.elastic import VOIGT, unit_strain
from lamflow.science.properties.sample import Answer, Sample
from lamflow.science.properties.simulated import (
    Kept,
    Moving,
    begun,
    drop_exploded,
    in_groups,
    run_name,
    run_together,
)
from lamflow.units import BOLTZMANN, EV_PER_A3_IN_GPA

BLOCKS = 5
"""Parts of a run whose mean stresses are kept."""
KEYS = ("timestep", "steps", "warming", "directions", "strain")
"""What samples share that move together."""
Run = tuple[int, str, Frame]
"""Number of its sample, name of its series, start."""


def strained(samples: Sequence[Sample], moving: Moving, seed: Callable[[str], int]) -> list[Answer]:
    """Every sample brought to its temperature and pressure, then strained and moved at constant volume.

    The series of an answer are `volume` in Å³/atom, and `none` and `0 +`, `0 -`, … of each direction of strain: BLOCKS
    times 6 numbers in Voigt's order, the mean stress in GPa, positive under tension, kinetic part included. The same
    random forces act under all strains of a sample, so that most of the noise falls out of their differences.
    """
    return in_groups(samples, KEYS, lambda group: _strained(group, moving, [seed(run_name(one)) for one in group]))


def _strained(samples: Sequence[Sample], moving: Moving, seeds: Sequence[int]) -> list[Answer]:
    warm = run_together([_warming(sample) for sample in samples], moving, seeds)
    runs = [run for number, answer in enumerate(warm) if not answer.failure for run in _strains(number, answer)]
    kept = _stresses(samples, runs, moving, seeds) if runs else []
    answers = []
    for number, (sample, first) in enumerate(zip(samples, warm, strict=True)):
        mine = {key: own for (owner, key, _), own in zip(runs, kept, strict=True) if owner == number}
        failure = first.failure or next((own.failure for own in mine.values() if own.failure), None)
        series = {key: own.series["stress"] for key, own in mine.items()} if not failure else {}
        volume = {"volume": [mean_volume(first)]} if series else {}
        answers.append(Answer(sample, sample.frame, None, failure is None, failure, series=series | volume))
    return answers


def _warming(sample: Sample) -> Sample:
    """The run that brings a sample to its temperature and pressure."""
    about = {**sample.about, "ensemble": "npt", "steps": sample.about["warming"], "equilibration": 0.5}
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


def _stresses(samples: Sequence[Sample], runs: Sequence[Run], moving: Moving, seeds: Sequence[int]) -> list[Kept]:
    """Every run, all together; its series `stress` are blocks of 6 numbers in GPa."""
    about: Mapping[str, float] = samples[0].about
    steps, first = int(about["steps"]), int(about["steps"] * about["equilibration"])
    temperatures = np.array([float(samples[number].about["temperature"]) for number, _, _ in runs])
    own = [seeds[number] + 1 for number, _, _ in runs]  # others than those that have warmed it
    dynamics = Dynamics("langevin", float(about["timestep"]), temperatures, own)
    systems, evaluate = begun(dynamics, [frame for _, _, frame in runs], moving)
    kept, volumes = [Kept() for _ in runs], systems.volumes.copy()
    totals, block = np.zeros((BLOCKS, len(runs), 6)), -(-(steps - first) // BLOCKS)
    for step in range(steps):
        dynamics.step(systems, evaluate)
        drop_exploded(systems, kept, step + 1, dynamics.timestep, volumes)
        if not len(systems.number):
            break
        if step >= first:
            place = (step - first) // block
            totals[place, systems.number] += _stress(systems, temperatures) / min(block, steps - first - place * block)
    for number, one in enumerate(kept):
        one.series["stress"] = totals[:, number].ravel().tolist()
    return kept


def _stress(systems: Systems, temperatures: Floats) -> Floats:
    """(B, 6) in Voigt's order, GPa. What moves adds its mean, that of an ideal gas, which carries no noise."""
    natoms = systems.positions.shape[1]
    inner = np.stack([systems.virials[:, i, j] for i, j in VOIGT], axis=1)
    inner[:, :3] += (natoms * BOLTZMANN * temperatures[systems.number])[:, None]
    return np.asarray(-inner / systems.volumes[:, None] * EV_PER_A3_IN_GPA)
