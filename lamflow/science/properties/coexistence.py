"""The melting point by coexistence: a crystal beside its own melt finds the temperature at which neither grows.

J. R. Morris et al., Phys. Rev. B 49, 3109 (1994): at constant energy, freezing heats and melting cools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.data.properties import Curve, Reduced, Value
from lamflow.science.dynamics import Dynamics, Systems
from lamflow.science.properties.cells import conventional, fractional, repeated, repeats, require_crystal
from lamflow.science.properties.motion import block_mean
from lamflow.science.properties.sample import Answer, Crystal, Sample
from lamflow.science.properties.simulated import (
    SERIES,
    Kept,
    OpenSession,
    begun,
    drop_exploded,
    in_groups,
    run_name,
    run_together,
)
from lamflow.units import BAR_IN_GPA, EV_PER_A3_IN_GPA

LONG = 2
"""Times that a supercell is as long as it is wide, so that both halves are thick."""
HOT = 2.5
"""Times the guess at which one half melts while the other one is held."""
HEAVY = 1e8
"""Times the mass of atoms that are held."""
FLOWED = 0.5
"""Of the distance between neighbours; an atom that has gone farther is in the melt."""
FAR = 0.5
"""GPa from the pressure that is asked for, beyond which it is said; metals melt 30 to 60 K higher at 1 GPa more."""
BOTH = (0.15, 0.85)
"""Fractions of atoms in the melt at which there is a crystal beside it."""


def frames(
    crystal: Crystal, *, guess: float, time: float, timestep: float, repeats: int, size: float, pressure: float
) -> list[Sample]:
    """A long supercell for each repeat, for `time` ps of coexistence. Raises ValueError for what is no crystal."""
    require_crystal(crystal.frame)
    start, steps = _long(crystal.frame, size), max(1, round(time / timestep))
    about = {"guess": guess, "pressure": pressure, "timestep": timestep, "steps": steps}
    return [Sample(start, "coexisting", {**about, "repeat": repeat}) for repeat in range(repeats)]


def _long(frame: Frame, size: float) -> Frame:
    bulk = conventional(frame)
    first, second, third = repeats(bulk.cell, size)
    return repeated(bulk, (first, second, LONG * third))


def coexisting(samples: Sequence[Sample], open_session: OpenSession, seed: Callable[[str], int]) -> list[Answer]:
    """Every sample brought to its guess, half of it molten, brought to the guess again, and left to itself.

    The series of an answer are `time` in ps, `temperature` in K, `pressure` in GPa, and `moved`, how far each atom has
    gone in the second half, as a fraction of the distance between neighbours.
    """
    return in_groups(
        samples, ("guess", "pressure", "timestep", "steps"),
        lambda group: _coexisting(group, open_session, [seed(run_name(one)) for one in group]),
    )  # fmt: skip


def _coexisting(samples: Sequence[Sample], open_session: OpenSession, seeds: Sequence[int]) -> list[Answer]:
    about: Mapping[str, Any] = samples[0].about
    warm = {"ensemble": "npt", "steps": max(100, int(about["steps"]) // 4), "equilibration": 0.5,
            "temperature": about["guess"]}  # fmt: skip
    held = [fractional(sample.frame)[:, 2] < 0.5 for sample in samples]
    warmed = run_together([_warmed(one, one.frame, warm) for one in samples], open_session, seeds)
    frames = _molten([answer.frame for answer in warmed], held, about, [seed + 1 for seed in seeds], open_session)
    settled = run_together(
        [_warmed(one, frame, warm) for one, frame in zip(samples, frames, strict=True)], open_session,
        [seed + 2 for seed in seeds],
    )  # fmt: skip
    kept = _left_alone([answer.frame for answer in settled], about, [seed + 3 for seed in seeds], open_session)
    answers = []
    for sample, first, second, own in zip(samples, warmed, settled, kept, strict=True):
        failure = first.failure or second.failure or own.failure
        answers.append(
            Answer(sample, sample.frame, None, failure is None, failure, series={} if failure else own.series)
        )
    return answers


def _warmed(sample: Sample, frame: Frame, warm: Mapping[str, Any]) -> Sample:
    """A run of a sample's atoms as they are now, at the guess."""
    return Sample(frame, "motion", {**sample.about, **warm})


def _molten(
    frames: Sequence[Frame],
    held: Sequence[Any],
    about: Mapping[str, Any],
    seeds: Sequence[int],
    open_session: OpenSession,
) -> list[Frame]:
    """Frames with the atoms that are not held molten, at their volume."""
    temperatures = np.full(len(frames), HOT * float(about["guess"]))
    dynamics = Dynamics("langevin", 0.5 * float(about["timestep"]), temperatures, seeds)
    systems, evaluate = begun(dynamics, frames, open_session)
    heavy = np.where(np.stack(list(held)), HEAVY, 1.0)
    systems.masses = systems.masses * heavy
    systems.velocities = systems.velocities / np.sqrt(heavy)[:, :, None]
    for _ in range(max(200, int(about["steps"]) // 2)):
        dynamics.step(systems, evaluate)
    return [replace(frame, positions=own) for frame, own in zip(frames, systems.positions, strict=True)]


def _left_alone(
    frames: Sequence[Frame], about: Mapping[str, Any], seeds: Sequence[int], open_session: OpenSession
) -> list[Kept]:
    """Series at constant energy; see `coexisting`."""
    steps, timestep = int(about["steps"]), float(about["timestep"])
    dynamics = Dynamics("nve", timestep, np.full(len(frames), float(about["guess"])), seeds)
    systems, evaluate = begun(dynamics, frames, open_session)
    kept, volumes, every = [Kept() for _ in frames], systems.volumes.copy(), max(1, steps // SERIES)
    middle = systems.positions.copy()
    for step in range(1, steps + 1):
        dynamics.step(systems, evaluate)
        drop_exploded(systems, kept, step, timestep, volumes)
        if not len(systems.number):
            break
        if step == steps // 2:
            middle[systems.number] = systems.positions
        if step % every == 0:
            _record(systems, dynamics, kept, step * timestep)
    for row, number in enumerate(systems.number):
        moved = systems.positions[row] - middle[number]
        far = np.linalg.norm(moved - moved.mean(axis=0), axis=1) / _neighbours(frames[number])
        kept[number].series["moved"] = far.tolist()
    return kept


def _record(systems: Systems, dynamics: Dynamics, kept: Sequence[Kept], time: float) -> None:
    temperatures, pressures = dynamics.temperatures(systems), systems.pressures * EV_PER_A3_IN_GPA
    for row, number in enumerate(systems.number):
        kept[number].add(time=time, temperature=temperatures[row], pressure=pressures[row])


def _neighbours(frame: Frame) -> float:
    """Distance between neighbours as in a dense packing of the same density, Å."""
    return float((np.sqrt(2) * frame.volume / frame.natoms) ** (1 / 3))


def reduce(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """The temperature over the second half of each run in which crystal and melt are left, and the pressure there.

    Raises ValueError where only one of them is left, or every run has exploded.
    """
    del crystal
    notes: list[str] = []
    good: list[Answer] = []
    for answer in answers:
        reason = answer.failure or _alone(answer)
        if reason is None:
            good.append(answer)
        else:
            notes.append(f"repeat {answer.about['repeat']}: {reason}")
    if not good:
        raise ValueError("; ".join(dict.fromkeys(note.partition(": ")[2] for note in notes)))
    values = []
    for name, key, unit in (("T_m", "temperature", "K"), ("pressure", "pressure", "GPa")):
        own = [_second_half(answer, key) for answer in good]
        mean, error = block_mean(own)
        scatter = float(np.std([one.mean() for one in own], ddof=1) / np.sqrt(len(own))) if len(own) > 1 else 0.0
        values.append(Value(name=name, value=mean, uncertainty=max(error, scatter), unit=unit))
    wanted = float(good[0].about["pressure"]) * BAR_IN_GPA
    if abs(values[1].value - wanted) > FAR:
        notes.append(f"T_m is that at {values[1].value:.1f} GPa, not at {wanted:g} GPa; a better guess comes nearer")
    melt = float(np.mean([_melt(answer) for answer in good]))
    values.append(Value(name="melt_fraction", value=melt, unit="1"))
    first: Mapping[str, Sequence[float]] = good[0].series
    curve = Curve(name="coexistence", x=list(first["time"]), y=list(first["temperature"]), x_label="time (ps)",
                  y_label="temperature (K)")  # fmt: skip
    return Reduced(values=values, curves=[curve], notes=notes)


def _second_half(run: Answer, key: str) -> Floats:
    values = np.array(run.series[key])
    return values[len(values) // 2 :]


def _melt(run: Answer) -> float:
    return float(np.mean(np.array(run.series["moved"]) > FLOWED))


def _alone(run: Answer) -> str | None:
    """Why there is no coexistence; None where there is."""
    melt, guess = _melt(run), float(run.about["guess"])
    if melt < BOTH[0]:
        return f"all of it has frozen from {guess:g} K; raise guess, or size"
    if melt > BOTH[1]:
        return f"all of it has molten from {guess:g} K; lower guess, or raise size"
    return None
