"""Particle swarm evolution of crystals, as CALYPSO does it, with new random structures beside it.

(Y. Wang, J. Lv, L. Zhu, Y. Ma, Phys. Rev. B 82, 094116 (2010); Comput. Phys. Commun. 183, 2063 (2012).)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from ase.data import chemical_symbols
from ase.geometry import cell_to_cellpar, cellpar_to_cell
from scipy.optimize import linear_sum_assignment

from lamflow.data import Frame
from lamflow.data.frames import Floats, Ints
from lamflow.engines.calypso.crystals import random_counts, random_crystal, too_close
from lamflow.engines.calypso.records import Particle
from lamflow.engines.calypso.settings import CalypsoSearch
from lamflow.errors import EngineError
from lamflow.science.hull import above_hull
from lamflow.science.similarity import bond_matrix, distance

INERTIA = (0.9, 0.4)
"""Weight of the velocity in the first and in the last generation."""
PULL = 2.0
"""Largest pull to a structure's own relaxed form, and to its leader."""
FASTEST = 0.1
"""Largest first velocity of a fractional coordinate."""
LENGTHS, ANGLES = (0.6, 1.7), (40.0, 140.0)
"""How much a cell's length may change in one move, and the angles in ° that it may have."""
FLATTEST = 0.1
"""Smallest volume of a cell as a fraction of the product of its lengths."""
TRIES = 30
"""Moves or random structures that are tried before one that is much like another is taken."""
IMPOSSIBLE = 3
"""So many compositions for which no crystal can be made end a search."""


def first_generation(settings: CalypsoSearch, seed: int) -> list[Frame]:
    """Random crystals."""
    rng, seen = np.random.default_rng(seed), Seen(settings)
    return [_fresh(settings, rng, seen) for _ in range(settings.population)]


def next_generation(settings: CalypsoSearch, past: Sequence[Particle], generation: int, seed: int) -> list[Frame]:
    """The swarm's next structures, and new random ones. `past` are all structures of the generations before."""
    rng, seen = np.random.default_rng(seed), Seen(settings)
    for particle in past:
        seen.add(particle.start)
        if particle.enthalpy is not None:
            seen.add(particle.frame)
    parents = _parents(settings, past)
    made: list[Frame] = []
    wanted = round(settings.pso_ratio * settings.population) if parents else 0
    for number in range(wanted):
        parent = parents[number % len(parents)]
        other = _exchanged(settings, parent, rng, seen) if rng.uniform() < settings.exchange else None
        other = other or _moved(settings, parent, past, generation, rng, seen)
        if other is not None:
            made.append(other)
    return [*made, *(_fresh(settings, rng, seen) for _ in range(settings.population - len(made)))]


class Seen:
    """Bond matrices of all structures so far, each scaled to the volume that its atoms are given."""

    def __init__(self, settings: CalypsoSearch) -> None:
        self.settings = settings
        self.matrices: dict[bytes, list[Floats]] = {}

    def add(self, frame: Frame) -> bool:
        """Remember `frame`; False if one much like it was there."""
        scaled, key = self._scaled(frame), self.key(frame)
        matrix = bond_matrix(scaled, self.settings.numbers)
        known = self.matrices.setdefault(key, [])
        if any(distance(matrix, other) < self.settings.similarity for other in known):
            return False
        known.append(matrix)
        return True

    def _scaled(self, frame: Frame) -> Frame:
        wanted = sum(self.settings.volume(symbol) for symbol in frame.symbols)
        scale = (wanted / abs(float(np.linalg.det(frame.cell)))) ** (1 / 3)
        return Frame(frame.numbers, frame.positions * scale, frame.cell * scale, True)

    def key(self, frame: Frame) -> bytes:
        """The ratio of the elements."""
        counts = np.array([(frame.numbers == number).sum() for number in self.settings.numbers])
        reduced: bytes = (counts // math.gcd(*counts.tolist())).tobytes()
        return reduced


def ranking(settings: CalypsoSearch, past: Sequence[Particle]) -> Floats:
    """Fitness of each particle, (n,) in eV/atom above the hull of all of them; infinite for failures."""
    numbers = np.array(settings.numbers)
    fractions = np.array([(each.frame.numbers[:, None] == numbers).mean(axis=0) for each in past]).reshape(
        -1, len(numbers)
    )
    enthalpies = np.array([np.inf if each.enthalpy is None else each.enthalpy for each in past])
    found = above_hull(fractions, enthalpies)
    return np.where(np.isfinite(found), found, np.inf)


def _parents(settings: CalypsoSearch, past: Sequence[Particle]) -> list[Particle]:
    """The best structures of all generations, each once: as many as a generation has, less the worst.

    The best of every ratio of the elements come first, then the second, and so on, the nearest to the hull first.
    """
    fitness, seen = ranking(settings, past), Seen(settings)
    ranked: list[tuple[int, float, int]] = []
    had: Counter[bytes] = Counter()
    for place in np.argsort(fitness, kind="stable"):
        if np.isfinite(fitness[place]) and seen.add(past[place].frame):
            key = seen.key(past[place].frame)
            ranked.append((had[key], float(fitness[place]), int(place)))
            had[key] += 1
    count = max(1, round((1 - settings.penalty) * settings.population))
    return [past[place] for _, _, place in sorted(ranked)[:count]]


def _leaders(settings: CalypsoSearch, particle: Particle, past: Sequence[Particle]) -> list[Particle]:
    """The best structures of the particle's composition, best first, each once."""
    mine = [each for each in past if each.enthalpy is not None and each.counts == particle.counts]
    mine.sort(key=lambda each: (each.enthalpy, each.generation, each.number))
    count = 1 if settings.swarm == "global" else settings.leaders
    found, seen = list[Particle](), Seen(settings)
    for each in mine:
        if len(found) < count and seen.add(each.frame):
            found.append(each)
    return found


def _moved(
    settings: CalypsoSearch,
    particle: Particle,
    past: Sequence[Particle],
    generation: int,
    rng: np.random.Generator,
    seen: Seen,
) -> Frame | None:
    """The particle's next place, or None when no move is possible."""
    leaders = _leaders(settings, particle, past)
    matrix = bond_matrix(particle.frame, settings.numbers)
    leader = min(leaders, key=lambda each: distance(matrix, bond_matrix(each.frame, settings.numbers)))
    done = (generation - 1) / max(1, settings.generations - 1)
    inertia = INERTIA[0] + done * (INERTIA[1] - INERTIA[0])
    last = None
    for _ in range(TRIES):
        frame = _move(particle, leader.frame, inertia, rng)
        if frame is not None and not too_close(settings, frame):
            if seen.add(frame):
                return frame
            last = frame
    return last


def _move(particle: Particle, leader: Frame, inertia: float, rng: np.random.Generator) -> Frame | None:
    """One move: v = ωv + c r (own best - x) + c r (leader - x), for fractional coordinates and for the cell."""
    start, own = _fractions(particle.start), _fractions(particle.frame)
    drawn = _aligned(own, particle.frame.numbers, _fractions(leader), leader.numbers)
    velocity = inertia * rng.uniform(-FASTEST, FASTEST, start.shape)
    for target in (own, drawn):
        apart = target - start
        velocity += PULL * rng.uniform() * (apart - np.rint(apart))
    shape = cell_to_cellpar(particle.start.cell)
    change = np.zeros(6)
    for other in (particle.frame.cell, leader.cell):
        change += rng.uniform() * (cell_to_cellpar(other) - shape)
    shape = shape + change + rng.normal(scale=0.02, size=6) * shape
    before = cell_to_cellpar(particle.frame.cell)
    ratio = shape[:3] / before[:3]
    if (ratio < LENGTHS[0]).any() or (ratio > LENGTHS[1]).any():
        return None
    cosines = np.cos(np.radians(shape[3:]))
    flat = 1 - float((cosines**2).sum()) + 2 * float(cosines.prod()) < FLATTEST**2
    if flat or (shape[3:] < ANGLES[0]).any() or (shape[3:] > ANGLES[1]).any():
        return None
    cell = cellpar_to_cell(shape)
    volume = abs(float(np.linalg.det(cell)))
    wanted = abs(float(np.linalg.det(particle.frame.cell))) * rng.uniform(0.95, 1.1)
    cell = cell * (wanted / volume) ** (1 / 3)
    return Frame(particle.start.numbers, ((start + velocity) % 1.0) @ cell, cell, True)


def _exchanged(settings: CalypsoSearch, parent: Particle, rng: np.random.Generator, seen: Seen) -> Frame | None:
    """The parent's relaxed form, or a superlattice of it, with elements exchanged or replaced; None if all is known.

    Compounds of one lattice differ in this alone, and a swarm's moves never do it.
    """
    allowed = {tuple(counts.get(each, 0) for each in settings.elements) for counts in settings.compositions()}
    kinds = np.array(settings.numbers)
    for _ in range(TRIES):
        frame = _superlattice(parent.frame, settings.max_atoms, rng)
        numbers = frame.numbers.copy()
        if settings.ranges and rng.uniform() < 0.5:
            places = rng.choice(frame.natoms, size=int(rng.integers(1, frame.natoms + 1)), replace=False)
            numbers[places] = rng.choice(kinds, size=len(places))
        numbers = rng.permutation(numbers) if rng.uniform() < 0.5 else numbers
        if tuple(int((numbers == kind).sum()) for kind in kinds) not in allowed:
            continue
        before, after = (
            sum(settings.volume(chemical_symbols[number]) for number in each) for each in (frame.numbers, numbers)
        )
        scale = (after / before) ** (1 / 3)
        order = np.argsort([list(kinds).index(number) for number in numbers], kind="stable")
        made = Frame(numbers[order], frame.positions[order] * scale, frame.cell * scale, True)
        if not too_close(settings, made) and seen.add(made):
            return made
    return None


def _superlattice(frame: Frame, most: int, rng: np.random.Generator) -> Frame:
    """The crystal in a random cell of a random size, with at most `most` atoms."""
    size = int(rng.integers(1, max(1, most // frame.natoms) + 1))
    a = int(rng.choice([n for n in range(1, size + 1) if size % n == 0]))
    c = int(rng.choice([n for n in range(1, size // a + 1) if (size // a) % n == 0]))
    f = size // a // c
    form = np.array([[a, 0, 0], [rng.integers(a), c, 0], [rng.integers(a), rng.integers(c), f]])
    shifts = np.array([[i, j, k] for i in range(a) for j in range(c) for k in range(f)]) @ frame.cell
    positions = (frame.positions[:, None] + shifts).reshape(-1, 3)
    return Frame(np.repeat(frame.numbers, size), positions, form @ frame.cell, True)


def _fractions(frame: Frame) -> Floats:
    return np.asarray(np.linalg.solve(frame.cell.T, frame.positions.T).T)


def _aligned(own: Floats, numbers: Ints, other: Floats, others: Ints) -> Floats:
    """Fractional coordinates of `other` shifted and with atoms in the order that brings them nearest to `own`."""
    kinds, counts = np.unique(numbers, return_counts=True)
    rarest = kinds[np.argmin(counts)]
    best, cost = other, np.inf
    for mine in own[numbers == rarest]:
        for theirs in other[others == rarest]:
            shifted = other + (mine - theirs)
            order = np.zeros(len(own), dtype=np.int64)
            total = 0.0
            for kind in kinds:
                here, there = np.flatnonzero(numbers == kind), np.flatnonzero(others == kind)
                apart = own[here, None] - shifted[None, there]
                apart -= np.rint(apart)
                squared = (apart**2).sum(axis=2)
                rows, columns = linear_sum_assignment(squared)
                order[here[rows]] = there[columns]
                total += float(squared[rows, columns].sum())
            if total < cost:
                best, cost = shifted[order], total
    return best


def _fresh(settings: CalypsoSearch, rng: np.random.Generator, seen: Seen) -> Frame:
    """A random crystal that is not much like any before, if there is one. Raises EngineError where none can be made."""
    frame, problems = None, 0
    for _ in range(TRIES):
        try:
            frame = random_crystal(settings, random_counts(settings, rng), rng)
        except EngineError:
            problems += 1
            if frame is None and problems == min(IMPOSSIBLE, len(settings.compositions())):
                raise
            continue
        if seen.add(frame):
            break
    if frame is None:
        raise EngineError(f"calypso: no random crystal could be made in {TRIES} tries")
    return frame
