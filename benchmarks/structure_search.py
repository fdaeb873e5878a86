"""Relaxations that a structure search needs to find every ground state of Cu-Au by EMT, against random search.

    python benchmarks/structure_search.py [--seeds 10] [--relaxations 400]

The ground states are those of an exhaustive enumeration of fcc, bcc and hcp superlattices of up to four atoms, relaxed
by EMT. A ground state is found when a structure of its composition has relaxed to within 0.3 meV/atom of it. Both make
their random structures in the same way; random search makes nothing else, and keeps structures that are like others.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers
from enumeration import orderings
from measure import publish, published

from lamflow.config.engines import Relaxation
from lamflow.data import Frame
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


def evaluate(frames):  # type: ignore[no-untyped-def]
    """EMT."""
    return EmtEvaluator(Emt()).evaluate(frames)


def ground_states() -> list[GroundState]:
    """Corners of the hull of everything enumerated."""
    frames, parents = list[Frame](), list[str]()
    for parent, made in orderings(ELEMENTS, MOST).items():
        frames += made
        parents += [parent] * len(made)
    paths = relax(frames, evaluate, Relaxation(steps=300, fmax=0.003))
    energies = np.array([path.labels.energy / frame.natoms for path, frame in zip(paths, frames, strict=True)])
    gold = np.array([(frame.numbers == atomic_numbers[ELEMENTS[1]]).mean() for frame in frames])
    heights = above_hull(np.stack([1 - gold, gold], axis=1), energies)
    found: dict[float, GroundState] = {}
    for place in np.argsort(energies):
        fraction = round(float(gold[place]), 6)
        if heights[place] < 1e-9 and fraction not in found:
            number = space_group(paths[place].frame)
            found[fraction] = GroundState(fraction, float(energies[place]), number, parents[place])
    return [found[fraction] for fraction in sorted(found)]


def relaxations_needed(states: list[GroundState], seed: int, most: int, **settings: object) -> int | None:
    """Relaxations until every state was found; None if `most` were not enough."""
    search = CalypsoSearch.model_validate(
        {
            "engine": "calypso", "ranges": dict.fromkeys(ELEMENTS, (0, MOST)), "max_atoms": MOST,
            "population": 20, "generations": most // 20, **settings,
        }
    )  # fmt: skip
    missing, past = list(states), list[Particle]()
    for generation in range(1, search.generations + 1):
        seed_here = 1000 * seed + generation
        if generation == 1:
            frames = first_generation(search, seed_here)
        else:
            frames = next_generation(search, past, generation, seed_here)
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--relaxations", type=int, default=400)
    parser.add_argument("--only", choices=list(SEARCHES), nargs="*", default=list(SEARCHES), help="keep other rows")
    given = parser.parse_args()
    states = ground_states()
    rows = []
    for name in given.only:
        needed = []
        for seed in range(1, given.seeds + 1):
            needed.append(relaxations_needed(states, seed, given.relaxations, **SEARCHES[name]))
            print(f"{name}, seed {seed}: {needed[-1]}", flush=True)
        found = sum(count is not None for count in needed)
        median = float(np.median([np.inf if count is None else count for count in needed]))
        rows.append(
            {
                "search": name,
                "all found": f"{found} of {given.seeds}",
                "median relaxations": f"{median:g}" if np.isfinite(median) else f"more than {given.relaxations}",
                "each": " ".join("-" if count is None else str(count) for count in needed),
            }
        )
    shown = ", ".join(f"{state.fraction:g} Au: space group {state.space_group} on {state.parent}" for state in states)
    rows += [row for row in published(__file__) if row["search"] not in given.only]
    publish(__file__, f"Relaxations until the ground states of Cu-Au are found ({shown})", rows)


if __name__ == "__main__":
    main()
