"""Relaxations that a structure search needs to find every ground state of Cu-Au by EMT, against random search.

    python benchmarks/structure_search.py [--seeds 10] [--relaxations 400] [--atoms 4]

The ground states are those of an exhaustive enumeration of fcc, bcc and hcp superlattices of up to four atoms, relaxed
by EMT. A ground state is found when a structure of its composition has relaxed to within 0.3 meV/atom of it. Both make
their random structures in the same way; random search makes nothing else, and keeps structures that are like others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from _bench import Cell, parse_arguments, parser, publish
from _enumeration import orderings
from ase.data import atomic_numbers

from lamflow.config.engines import Relaxation
from lamflow.data import Frame, Labels
from lamflow.engines.calypso.records import Particle
from lamflow.engines.calypso.settings import CalypsoSearch
from lamflow.engines.calypso.swarm import first_generation, next_generation
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.science.hull import above_hull
from lamflow.science.relaxation import relax
from lamflow.science.similarity import space_group

ELEMENTS = ("Cu", "Au")
MOST = 4
NEAR = 3e-4
"""eV/atom"""
SEARCHES = {
    "swarm": {},
    "swarm without exchanges": {"exchange": 0.0},
    "random": {"pso_ratio": 0.0, "similarity": 0.0},
}


@dataclass(frozen=True)
class GroundState:
    """A corner of the hull: fraction of gold, energy in eV/atom, and where it was enumerated."""

    fraction: float
    energy: float
    space_group: int
    parent: str


def evaluate(frames: Sequence[Frame]) -> list[Labels]:
    """EMT."""
    return EmtEvaluator(Emt()).evaluate(frames)


def ground_states(most: int = MOST) -> list[GroundState]:
    """Corners of the hull of everything with at most `most` atoms."""
    frames, parents = list[Frame](), list[str]()
    for parent, made in orderings(ELEMENTS, most).items():
        frames += made
        parents += [parent] * len(made)
    paths = relax(frames, evaluate, Relaxation(steps=300, fmax=0.003))
    energies = np.array([path.labels.energy / frame.natoms for path, frame in zip(paths, frames, strict=True)])
    gold = np.array([(frame.numbers == atomic_numbers[ELEMENTS[1]]).mean() for frame in frames])
    heights = above_hull(np.stack([1 - gold, gold], axis=1), energies)
    corners: dict[float, GroundState] = {}
    for index in np.argsort(energies):
        fraction = round(float(gold[index]), 6)
        if heights[index] < 1e-9 and fraction not in corners:
            number = space_group(paths[index].frame)
            corners[fraction] = GroundState(fraction, float(energies[index]), number, parents[index])
    return [corners[fraction] for fraction in sorted(corners)]


def relaxations_needed(
    states: list[GroundState], seed: int, most: int, max_atoms: int = MOST, **settings: object
) -> int | None:
    """Relaxations until every state was found; None if `most` were not enough."""
    search = CalypsoSearch.model_validate(
        {
            "engine": "calypso", "ranges": dict.fromkeys(ELEMENTS, (0, max_atoms)), "max_atoms": max_atoms,
            "population": 20, "generations": most // 20, **settings,
        }
    )  # fmt: skip
    missing, past = list(states), list[Particle]()
    for generation in range(1, search.generations + 1):
        generation_seed = 1000 * seed + generation
        if generation == 1:
            frames = first_generation(search, generation_seed)
        else:
            frames = next_generation(search, past, generation, generation_seed)
        for number, (frame, path) in enumerate(zip(frames, relax(frames, evaluate, search.relax), strict=True), 1):
            energy = None if path.failure else path.labels.energy / frame.natoms
            past.append(Particle(generation, number, frame, path.frame, energy))
            fraction = (frame.numbers == atomic_numbers[ELEMENTS[1]]).mean()
            missing = [
                state
                for state in missing
                if energy is None or abs(state.fraction - fraction) > 1e-6 or energy > state.energy + NEAR
            ]
            if not missing:
                return len(past)
    return None


def main() -> None:
    """Measure and publish."""
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=10)
    options.add_argument("--relaxations", type=int, default=400, help="at most, of each search; a multiple of 20")
    options.add_argument("--atoms", type=int, default=MOST, help="at most, in a cell")
    settings = parse_arguments(options, seeds=1, relaxations=60, atoms=2)
    states = ground_states(settings.atoms)
    rows: list[dict[str, Cell]] = []
    for name, search in SEARCHES.items():
        needed = [
            relaxations_needed(states, seed, settings.relaxations, settings.atoms, **search)
            for seed in range(1, settings.seeds + 1)
        ]
        median = float(np.median([np.inf if count is None else count for count in needed]))
        rows.append(
            {
                "search": name,
                "all found": f"{sum(count is not None for count in needed)} of {settings.seeds}",
                "median relaxations": f"{median:g}" if np.isfinite(median) else f"more than {settings.relaxations}",
                "each": " ".join("-" if count is None else str(count) for count in needed),
            }
        )
    corners: list[dict[str, Cell]] = [
        {
            "gold": state.fraction,
            "energy (eV/atom)": state.energy,
            "space group": state.space_group,
            "parent": state.parent,
        }
        for state in states
    ]
    publish(
        settings,
        "structure_search",
        "Relaxations until the ground states of Cu-Au are found",
        rows,
        ground_states=corners,
    )


if __name__ == "__main__":
    main()
