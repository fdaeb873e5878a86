"""Formation energies against the elements, and the convex hull of all structures of a study."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lamflow.data.properties import Reduced, Value
from lamflow.science.hull import above_hull
from lamflow.science.properties.sample import Answer, Crystal, Phase, Sample


def frames(crystal: Crystal) -> list[Sample]:
    """None: the relaxed structures say all."""
    del crystal
    return []


def reduce(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Energy above the hull, and against the lowest structure of each element where the study has them."""
    del answers
    elements = sorted({element for phase in crystal.phases for element in phase.composition})
    fractions = np.array([[p.composition.get(e, 0) / p.natoms for e in elements] for p in crystal.phases])
    energies = np.array([phase.energy_per_atom for phase in crystal.phases])
    own = [phase.name for phase in crystal.phases].index(crystal.name)
    height = float(above_hull(fractions[[own]], energies[[own]], (fractions, energies))[0])
    values = [Value(name="E_above_hull", value=max(0.0, height), unit="eV/atom")]
    ground = ground_states(crystal.phases)
    lacking = sorted(set(crystal.composition) - set(ground))
    if lacking:
        return Reduced(values=values, notes=[f"no formation energy: no structure of pure {', '.join(lacking)} is here"])
    elemental = sum(n * ground[e].energy_per_atom for e, n in crystal.composition.items()) / crystal.frame.natoms
    values.insert(0, Value(name="E_form", value=crystal.energy_per_atom - elemental, unit="eV/atom"))
    used = ", ".join(f"{element}: {ground[element].name}" for element in crystal.composition)
    return Reduced(values=values, notes=[f"against {used}; hull of {len(crystal.phases)} structures of this study"])


def ground_states(phases: Sequence[Phase]) -> dict[str, Phase]:
    """The lowest structure of each element that has one."""
    lowest: dict[str, Phase] = {}
    for phase in phases:
        if len(phase.composition) == 1:
            [element] = phase.composition
            if element not in lowest or phase.energy_per_atom < lowest[element].energy_per_atom:
                lowest[element] = phase
    return lowest
