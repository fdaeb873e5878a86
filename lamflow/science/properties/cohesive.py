"""Cohesive energy: the crystal against its free atoms, and on its way there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ase.data import atomic_numbers

from lamflow.data import Frame
from lamflow.data.properties import Curve, Reduced, Value
from lamflow.science.properties.sample import Answer, Crystal, Sample


def frames(crystal: Crystal, *, box: float, stretch: Sequence[float]) -> list[Sample]:
    """A free atom of each element in a cubic cell of edge `box` Å, and the crystal stretched evenly by each factor."""
    atoms = [
        Sample(
            Frame(np.array([atomic_numbers[element]]), np.full((1, 3), box / 2), np.eye(3) * box), "none",
            {"atom": element},
        )
        for element in crystal.composition
    ]  # fmt: skip
    bulk = crystal.frame
    if not bulk.pbc:
        return atoms
    line = [
        Sample(replace(bulk, cell=bulk.cell * f, positions=bulk.positions * f), "none", {"stretch": float(f)})
        for f in stretch
    ]
    return [*atoms, *line]


def reduce(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Energy that it takes to make free atoms of an atom of the crystal; the line is relative to the same atoms."""
    free = {str(a.about["atom"]): a.energy for a in answers if "atom" in a.about}
    natoms = crystal.frame.natoms
    level = sum(number * free[element] for element, number in crystal.composition.items()) / natoms
    line = [a for a in answers if "stretch" in a.about]
    curve = Curve(
        name="cohesive", x=[float(a.about["stretch"]) for a in line], y=[a.energy / natoms - level for a in line],
        x_label="lattice constant / equilibrium (1)", y_label="energy against free atoms (eV/atom)",
    )  # fmt: skip
    values = [Value(name="E_coh", value=level - crystal.energy_per_atom, unit="eV/atom")]
    values += [Value(name="E_atom", value=energy, unit="eV", where=element) for element, energy in free.items()]
    notes = ["free atoms as this potential has them; first-principles atoms need their own spin states"]
    return Reduced(values=values, curves=[curve] if line else [], notes=notes)
