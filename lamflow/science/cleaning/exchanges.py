"""Elements that stand in each other's place: labels that fit when two atoms exchange theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from lamflow.data.features import Features
from lamflow.data.frames import Floats, Frame, Ints, LabeledFrame, Labels
from lamflow.data.opinions import Opinions
from lamflow.science.cleaning.doubt import energy_beyond, expected_of
from lamflow.science.cleaning.energies import MEMBERS
from lamflow.science.cleaning.opinions import opinions

SUSPECT, FITS, BETTER = 5.0, 3.5, 3.0
"""Unlikelihood from which on exchanges are tried, below which one fits, and by how much it must fall."""
TRIES = 5
"""Exchanges of a frame that the model is asked about."""
PAIRS = 400
"""Pairs of atoms of a frame whose exchange is looked at, those with the worst forces first."""
SYMPREC = 0.1
"""Å; the symmetry of a structure that was relaxed with some steps left."""

Evaluate = Callable[[Sequence[Frame]], Sequence[Labels]]


def exchanges(
    labeled: Sequence[LabeledFrame], features: Features, opinion: Opinions, answers: Mapping[int, Labels],
    evaluate: Evaluate,
) -> Floats:  # fmt: skip
    """(C, 2) atoms of each frame whose elements must be exchanged for the labels to fit the model; NaN where none.

    A structure with two elements in each other's place has energy, forces and stress of the labels wrong at once, and
    the right one is more symmetric. So the exchanges of a frame that is wrong in all of them are tried, those that
    make the structure most symmetric first, then those of the atoms with the worst forces.
    """
    found = np.full((len(labeled), 2), np.nan)
    asked = np.flatnonzero(np.isfinite(opinion.energy))
    if len(asked) < MEMBERS:
        return found
    part, mine = features.subset(asked), opinion.subset(asked)
    residual, errors = energy_beyond(part, mine), expected_of(part, mine)
    before = unlikelihood(np.stack([residual, mine.force_error, mine.stress_error], axis=1), errors)
    for place in np.flatnonzero(before > SUSPECT):
        index = int(asked[place])
        item = labeled[index]
        pairs = likely_exchanges(item.frame, np.linalg.norm(item.labels.forces - answers[index].forces, axis=1))
        if not len(pairs):
            continue
        others = [LabeledFrame(exchanged(item.frame, *pair), item.labels) for pair in pairs]
        told = opinions(others, dict(enumerate(evaluate([other.frame for other in others]))))
        change = residual[place] + mine.energy[place] - told.energy
        after = unlikelihood(np.stack([change, told.force_error, told.stress_error], axis=1), errors[place])
        if after.min() < min(FITS, before[place] - BETTER):
            found[index] = pairs[int(after.argmin())]
    return found


def unlikelihood(differences: Floats, errors: Floats) -> Floats:
    """(…,) how unlikely differences (…, 3) of energy, forces and stress are, whose expected errors are (…, 3).

    The sum of log(1 + z²): minus the logarithm of their likelihood, were the errors distributed as Cauchy's.
    """
    return np.asarray(np.log1p((np.nan_to_num(differences) / errors) ** 2).sum(axis=-1))


def exchanged(frame: Frame, first: int, second: int) -> Frame:
    """The frame with the elements of two atoms exchanged."""
    numbers = frame.numbers.copy()
    numbers[[first, second]] = numbers[[second, first]]
    return replace(frame, numbers=numbers)


def likely_exchanges(frame: Frame, error: Floats) -> Ints:
    """(K, 2) at most TRIES pairs of atoms of different elements; error (N,) that the forces of each have, eV/Å."""
    first, second = np.triu_indices(frame.natoms, 1)
    unlike = frame.numbers[first] != frame.numbers[second]
    first, second = first[unlike], second[unlike]
    worst = np.argsort(-(error[first] + error[second]), kind="stable")[:PAIRS]
    pairs = np.stack([first[worst], second[worst]], axis=1)
    operations = np.array([_operations(exchanged(frame, *pair)) for pair in pairs], dtype=np.int64)
    return np.asarray(pairs[np.argsort(-operations, kind="stable")[:TRIES]])


def _operations(frame: Frame) -> int:
    """How many operations the space group has; 0 of an isolated structure and where none is found."""
    import spglib

    if not frame.pbc:
        return 0
    fractions = np.linalg.solve(frame.cell.T, frame.positions.T).T
    found = spglib.get_symmetry((frame.cell, fractions, frame.numbers), symprec=SYMPREC)
    return 0 if found is None else len(found["rotations"])
