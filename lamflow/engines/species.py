"""Orders: codes sort atoms by species, and want what belongs to a species in the order of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from lamflow.config.section import expand
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.fields import turned
from lamflow.data.frames import Ints
from lamflow.engines.protocol import LabelFailure

SAME = 1e-2
"""Å; outputs whose atoms are farther away than this from where they should be are of another structure."""
SAME_CELL = 2e-4
"""Relative; cells that differ by more belong to another structure, by less they lack digits that were not printed."""


def linked(key: str, files: Mapping[str, Path], symbols: Sequence[str]) -> dict[str, tuple[str, Path]]:
    """The file of each element in `symbols`: what it is called where the program runs, and where it lies.

    Files of two elements may have the same name in different folders. Raises ValueError for an element without one.
    """
    made = {}
    for element in dict.fromkeys(symbols):
        if element not in files:
            raise ValueError(f"label.{key}: there is none for {element}")
        path = expand(files[element])
        made[element] = (f"{element}-{path.name}", path)
    return made


def by_element(tags: dict[str, Any], defaults: Mapping[str, float | None], symbols: Sequence[str]) -> dict[str, Any]:
    """`tags` with values that are given by element as the list over species that codes read.

    defaults  value of an element without one, by the tags that may be given so
    symbols   of the atoms in the order in which the code gets them
    Raises ValueError for an element without a value that needs one.
    """
    species, made = list(dict.fromkeys(symbols)), dict(tags)
    for tag in [tag for tag in tags if tag in defaults]:
        made[tag] = [tags[tag].get(element, defaults[tag]) for element in species]
        if None in made[tag]:
            raise ValueError(f"{tag}: there is no value for {species[made[tag].index(None)]}")
    return made


def check_by_element(where: str, tags: Mapping[str, Any], defaults: Mapping[str, float | None]) -> None:
    """Raise ValueError for a tag of species that is no mapping of elements: their order differs between frames."""
    for tag, value in tags.items():
        wanted, given = tag in defaults, isinstance(value, Mapping)
        if wanted and not given:
            raise ValueError(
                f"{where}: {tag} = {value}: species come in another order in every frame, so give it by element in "
                f"`input`, for example `{tag}: {{Fe: 4.0}}`"
            )
        if wanted:
            for element in value:
                if element not in atomic_numbers:
                    raise ValueError(f"{where}: {tag}: {element!r} is not a chemical symbol")
        elif given:
            raise ValueError(f"{where}: {tag}: only {', '.join(defaults)} are given by element")


def by_species(frame: Frame) -> Ints:
    """Order (N,) in which codes that list atoms by species take them: elements by number, order kept within one."""
    return np.argsort(frame.numbers, kind="stable")


def aligned(parsed: LabeledFrame, frame: Frame) -> Labels | LabelFailure:
    """The labels of a parsed output for `frame`, whose atoms the code may have sorted by species and its cell turned.

    A failure when the output is of another structure.
    """
    order, species = np.arange(frame.natoms), list(dict.fromkeys(parsed.frame.numbers.tolist()))
    if sorted(parsed.frame.numbers) != sorted(frame.numbers):
        return LabelFailure("the output is of another structure: its atoms are others", kind="invalid")
    if not np.array_equal(parsed.frame.numbers, frame.numbers):  # grouped by species, in whatever order of these
        order = np.argsort([species.index(number) for number in frame.numbers], kind="stable")
        if not np.array_equal(parsed.frame.numbers, frame.numbers[order]):
            return LabelFailure("the output is of another structure: its atoms are in another order", kind="invalid")
    away: NDArray[Any] = parsed.frame.positions - frame.positions[order]
    rotation: NDArray[Any] = np.eye(3)
    if frame.pbc:
        left, stretch, right = np.linalg.svd(np.linalg.solve(parsed.frame.cell, frame.cell))
        if np.abs(stretch - 1).max() > SAME_CELL:
            return LabelFailure("the output is of another structure: its cell is another one", kind="invalid")
        rotation = left @ right
        fractions = np.linalg.solve(parsed.frame.cell.T, parsed.frame.positions.T).T
        fractions -= np.linalg.solve(frame.cell.T, frame.positions[order].T).T
        fractions -= fractions[0]  # some codes shift the origin
        away = (fractions - np.round(fractions)) @ frame.cell
    away -= away.mean(axis=0)
    if np.abs(away).max() > SAME:
        return LabelFailure("the output is of another structure: its atoms are elsewhere", kind="invalid")
    return Labels.of(turned(parsed.labels.fields, rotation), frame.natoms).reordered(np.argsort(order))
