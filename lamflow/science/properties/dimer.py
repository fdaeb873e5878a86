"""The energy of two free atoms against their distance: does the potential repel, and is it smooth?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from ase.data import atomic_numbers

from lamflow.data import Frame
from lamflow.data.properties import Curve, Reduced, Value
from lamflow.science.properties.sample import Answer, Crystal, Sample

VACUUM = 20.0
"""Å between a pair and its images; potentials see less far."""


def frames(crystal: Crystal, *, shortest: float, longest: float, points: int) -> list[Sample]:
    """Pairs of each two elements of the crystal at distances from `shortest` to `longest` Å."""
    if not longest > shortest:
        raise ValueError(f"longest ({longest:g} Å) must be more than shortest ({shortest:g} Å)")
    made = []
    for pair in itertools.combinations_with_replacement(crystal.composition, 2):
        numbers = np.array([atomic_numbers[element] for element in pair])
        for distance in np.linspace(shortest, longest, points):
            positions = np.array([[VACUUM / 2, VACUUM / 2, 5.0], [VACUUM / 2, VACUUM / 2, 5.0 + distance]])
            cell = np.diag([VACUUM, VACUUM, VACUUM + longest])
            made.append(
                Sample(Frame(numbers, positions, cell), "none", {"pair": "-".join(pair), "distance": float(distance)})
            )
    return made


def reduce(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Distance and depth of the minimum, the wiggles of the force, and the energy at the shortest distance.

    A wiggle is a change of the force's direction of growth beyond the two of a smooth pair.
    """
    del crystal
    values: list[Value] = []
    curves, notes = [], []
    for pair in dict.fromkeys(str(a.about["pair"]) for a in answers):
        own = [a for a in answers if a.about["pair"] == pair]
        distance = np.array([float(a.about["distance"]) for a in own])
        energy = np.array([a.energy for a in own])
        energy = energy - energy[-1]
        force = np.array([a.good.forces[1, 2] for a in own])
        lowest = int(np.argmin(energy))
        curves.append(Curve(
            name="dimer", where=pair, x=distance.tolist(), y=energy.tolist(), x_label="distance (Å)",
            y_label="energy (eV)",
        ))  # fmt: skip
        values += [
            Value(name="r_min", value=float(distance[lowest]), unit="Å", where=pair),
            Value(name="E_min", value=float(energy[lowest]), unit="eV", where=pair),
            Value(name="E_shortest", value=float(energy[0]), unit="eV", where=pair),
            Value(name="wiggles", value=float(_turns(force)), unit="1", where=pair),
            Value(name="force_error", value=_inconsistency(distance, energy, force), unit="eV/Å", where=pair),
        ]
        if lowest == 0 or energy[0] < 0:
            notes.append(f"{pair}: atoms attract each other at {distance[0]:g} Å; nothing keeps them apart")
    return Reduced(values=values, curves=curves, notes=notes)


def _turns(force: np.ndarray) -> int:
    """Extrema of the force beyond the one of a smooth pair, counting those of more than a hundredth of the depth."""
    size = 0.01 * max(float(-force.min()), 1e-3)
    turns, extreme, rising = 0, force[0], None
    for value in force[1:]:
        if rising is None:
            rising = bool(value > extreme) if abs(value - extreme) > size else None
        elif (value > extreme) == rising:
            extreme = value
        elif abs(value - extreme) > size:
            turns, rising, extreme = turns + 1, not rising, value
    return max(0, turns - 1)


def _inconsistency(distance: np.ndarray, energy: np.ndarray, force: np.ndarray) -> float:
    """Root mean square difference of the force and minus the slope of the energy beyond the repulsive wall, eV/Å."""
    from scipy.interpolate import CubicSpline

    slope = -CubicSpline(distance, energy)(distance, 1)
    inside = (np.abs(force) < 10) & (np.arange(len(force)) > 1) & (np.arange(len(force)) < len(force) - 2)
    return float(np.sqrt(np.mean((slope - force)[inside] ** 2))) if inside.any() else 0.0
