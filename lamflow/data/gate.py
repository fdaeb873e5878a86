"""The gate for labeled frames that come together: what a single frame cannot show.

What is wrong with one frame or its labels, `Labels.problem` says; every door asks it, and this module for all frames
of a source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamflow.data.frames import Frame, LabeledFrame, Labels
from lamflow.errors import InputError

DIGITS = 12
"""Labels of different frames that agree to so many digits are one label that was given twice."""
SAME_ENERGY = 1e-6
"""eV/atom; labels of one structure that differ by more are in conflict."""


@dataclass(frozen=True, eq=False)
class Reading:
    """The labeled frames of one source, as they passed the gate.

    index      number of each frame in the source
    left_out   frames of the source that are no labels
    notes      what is to be said of the source
    """

    path: Path
    frames: list[LabeledFrame]
    index: list[int]
    left_out: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Repeats:
    """Frames that repeat the structure of an earlier one.

    repeated     how many
    conflicts    how many of them have another energy than the first
    difference   largest difference of two energies of one structure, eV
    example      numbers of two frames in conflict, or that repeat
    """

    repeated: int = 0
    conflicts: int = 0
    difference: float = 0.0
    example: tuple[int, int] = (0, 0)

    def says(self, names: Sequence[str]) -> str | None:
        """What a person should know of them, with the names of the frames; None without any."""
        if not self.repeated:
            return None
        first, second = (names[number] for number in self.example)
        text = f"{self.repeated} frames repeat the structure of another and are left out ({second} that of {first})"
        if not self.conflicts:
            return text
        return (
            f"{text}; {self.conflicts} of them have another energy, by up to {self.difference:.6g} eV: the first label "
            "is kept, so give data of one level of theory and one electronic state"
        )


def admit(frames: Sequence[LabeledFrame], path: Path, index: Sequence[int] | None = None) -> None:
    """Raise InputError that names the first frame of a source that cannot be used, and why."""
    numbers = range(len(frames)) if index is None else index
    for number, item in zip(numbers, frames, strict=True):
        problem = item.labels.problem(item.frame)
        if problem:
            raise InputError(f"{path}: frame {number}: {problem}")
    seen = SeenLabels()
    for number, item in zip(numbers, frames, strict=True):
        problem = seen.problem(item.frame, item.labels)
        if problem:
            raise InputError(f"{path}: frame {number}: {problem}")


class SeenLabels:
    """Labels that came through one door, to tell when one of them was given for another structure, too.

    Single atoms, the same structure given twice, and one that was only shifted have the same labels by right.
    """

    def __init__(self) -> None:
        self.frames: dict[tuple[int, bytes], Frame] = {}

    def problem(self, frame: Frame, labels: Labels) -> str | None:
        """Why `labels` are those of an earlier, different frame, or None; they are remembered."""
        if frame.natoms < 2:
            return None
        key = frame.natoms, f"{labels.energy:.{DIGITS - 1}e}".encode() + _digits(labels.forces)
        earlier = self.frames.setdefault(key, frame)
        if earlier is frame or _shifted(earlier, frame):
            return None
        return f"its labels are those of another structure to {DIGITS} digits: one label was read twice"


def repeats(keys: Sequence[str], frames: Sequence[LabeledFrame]) -> Repeats:
    """Frames whose key (content hash, or that of the dataset) another one before has."""
    first: dict[str, int] = {}
    repeated, conflicts, difference = 0, 0, 0.0
    example: tuple[int, int] | None = None
    for number, (key, item) in enumerate(zip(keys, frames, strict=True)):
        earlier = first.setdefault(key, number)
        if earlier == number:
            continue
        repeated += 1
        example = example or (earlier, number)
        change = abs(item.labels.energy - frames[earlier].labels.energy)
        if change > SAME_ENERGY * item.frame.natoms:
            if not conflicts:
                example = (earlier, number)
            conflicts, difference = conflicts + 1, max(difference, change)
    return Repeats(repeated, conflicts, difference, example or (0, 0))


def _digits(values: np.ndarray) -> bytes:
    """`values` to 12 significant digits of the largest one."""
    largest = float(np.abs(values).max(initial=0.0))
    scale = 10.0 ** (DIGITS - 1 - np.floor(np.log10(largest))) if largest else 1.0
    return f"{largest:.{DIGITS - 2}e}".encode() + np.round(values * scale / 10).astype(np.int64).tobytes()


def _shifted(first: Frame, second: Frame) -> bool:
    """Whether two frames with the same labels are one structure up to a shift and periodic images."""
    if first.pbc != second.pbc or not np.array_equal(first.numbers, second.numbers):
        return False
    if not np.allclose(first.cell, second.cell, atol=1e-4):
        return False
    vectors = (first.positions - first.positions[0]) - (second.positions - second.positions[0])
    if first.pbc:
        scaled = np.linalg.solve(first.cell.T, vectors.T).T
        vectors = (scaled - np.round(scaled)) @ first.cell
    return bool(np.abs(vectors).max() < 1e-4)
