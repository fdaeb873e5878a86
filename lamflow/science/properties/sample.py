"""What passes between a property and the engines: frames out, labels in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from lamflow.data import Frame, Labels
from lamflow.data.properties import Value
from lamflow.science.relaxation import Freedom

Relax = Literal["none", "positions", "normal", "cell", "moments", "sampled", "motion", "stressed", "coexisting"]
"""What of a frame moves before it is labeled: nothing, all atoms, all atoms along z only, atoms and cell, or magnetic
moments; `sampled` moments move with a temperature, in `motion` atoms move by molecular dynamics, as `about` says, and
series of numbers are the answer; the stress is measured of `stressed` ones, and half of `coexisting` ones is molten
first."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A frame that a property asks to be labeled; `about` says in JSON what it is."""

    frame: Frame
    relax: Relax = "none"
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def freedom(self) -> Freedom:
        """What of the frame may move."""
        shape = (self.frame.natoms, 3)
        if self.relax == "cell":
            return Freedom()
        if self.relax == "moments":
            return Freedom(np.zeros(shape), "none", "all")
        masks = {
            "none": np.zeros(shape),
            "motion": np.zeros(shape),
            "stressed": np.zeros(shape),
            "coexisting": np.zeros(shape),
            "normal": np.tile([0.0, 0.0, 1.0], (shape[0], 1)),
            "positions": None,
        }
        return Freedom(masks[self.relax], "none")


@dataclass(frozen=True, eq=False)
class Answer:
    """A sample with what the engine said of it.

    frame      as it was labeled, after its relaxation
    labels     None where it failed
    converged  its relaxation has ended; a frame that does not move has
    series     of a frame whose atoms or moments have moved with a temperature, by name; see simulated and curie
    """

    sample: Sample
    frame: Frame
    labels: Labels | None
    converged: bool = True
    failure: str | None = None
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def about(self) -> Mapping[str, Any]:
        """What the frame is."""
        return self.sample.about

    @property
    def energy(self) -> float:
        """eV. Raises ValueError for a frame that has no labels."""
        return self.good.energy

    @property
    def good(self) -> Labels:
        """The labels. Raises ValueError where there are none, or where the relaxation has not come to its end."""
        if self.labels is None or self.failure is not None:
            raise ValueError(f"{self.title}: {self.failure or 'no labels'}")
        if not self.converged:
            raise ValueError(f"{self.title}: its relaxation did not converge; raise relax.steps")
        return self.labels

    @property
    def title(self) -> str:
        """The frame in words."""
        return ", ".join(f"{key} {value}" for key, value in self.about.items()) or "its frame"


@dataclass(frozen=True)
class Phase:
    """A crystal among which others may fall: atoms by element, and energy of the whole in eV."""

    name: str
    composition: Mapping[str, int]
    energy: float

    @property
    def natoms(self) -> int:
        """Atoms in all."""
        return sum(self.composition.values())

    @property
    def energy_per_atom(self) -> float:
        """eV/atom."""
        return self.energy / self.natoms


@dataclass(frozen=True, eq=False)
class Crystal:
    """A relaxed structure whose properties are asked for.

    phases  all structures that the same potential has relaxed, this one among them
    seed    of what a property draws at random
    """

    name: str
    frame: Frame
    energy: float
    phases: Sequence[Phase] = ()
    seed: int = 1

    @property
    def energy_per_atom(self) -> float:
        """eV/atom."""
        return self.energy / self.frame.natoms

    @property
    def composition(self) -> dict[str, int]:
        """Atoms by element."""
        return composition(self.frame)


def composition(frame: Frame) -> dict[str, int]:
    """Atoms by element."""
    symbols = frame.symbols
    return {element: symbols.count(element) for element in sorted(set(symbols))}


def reduced(counts: Mapping[str, int]) -> dict[str, int]:
    """A composition with the smallest whole numbers."""
    divisor = math.gcd(*counts.values())
    return {element: number // divisor for element, number in counts.items()}


def reduced_formula(frame: Frame) -> str:
    """Elements in the order of the alphabet with the smallest whole numbers, `Cl Li6 P S5`."""
    return " ".join(f"{e}{n if n > 1 else ''}" for e, n in reduced(composition(frame)).items())


def both(name: str, unit: str, where: str, relaxed: float, unrelaxed: float) -> list[Value]:
    """A value after and before relaxation."""
    return [
        Value(name=name, value=relaxed, unit=unit, where=where),
        Value(name=f"{name}_unrelaxed", value=unrelaxed, unit=unit, where=where),
    ]
