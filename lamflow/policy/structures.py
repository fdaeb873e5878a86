"""Start structures: built or read, then cut, repeated, substituted, damaged and moved, each copy from its own seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ase.data import atomic_numbers

from lamflow.config.seeds import child_seed
from lamflow.config.structures import Crystal, Slab, StructureSet
from lamflow.data import Frame
from lamflow.data.fields import SPIN
from lamflow.data.frames import Floats
from lamflow.policy.moments import with_directions, with_lengths

EDGE = 1e-6
"""Fractions of a cell that are nearer to 0 or 1 are rounding."""
SAME_DISTANCE, NEIGHBORS = 1e-4, 1.2
"""Å by which distances may differ, and how far neighbours may be, in smallest distances."""
MOST_ATOMS = 10_000_000
"""Of all structures of a set together."""
TRIAL_POINTS, REACH = 400, 3.0
"""Points that are tried for an interstitial atom, and how far from an atom they may be, in Å."""


def build_crystal(crystal: Crystal) -> Frame:
    """The crystal's cell. Raises ValueError when ASE cannot build it."""
    from ase.build import bulk

    try:
        atoms = bulk(crystal.formula, crystal.lattice, a=crystal.a, c=crystal.c, cubic=crystal.cubic)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ValueError(f"{crystal.lattice} {crystal.formula} cannot be built: {error}") from error
    return Frame.from_ase(atoms)


MIN_GAP = 0.7
"""Å; an interstitial atom that is nearer to another one than this is none."""


def make_copies(sources: Sequence[Frame], settings: StructureSet, seed: int) -> list[Frame]:
    """Copies of each source as `settings` say: source 0's first, those of its first scale before those of the others.

    Raises ValueError for a source that cannot be treated so.
    """
    copies: list[Frame] = []
    orders = len(settings.spins.orders) if settings.spins is not None else 1
    total = sum(_atoms(source, settings) for source in sources) * len(settings.scale) * settings.copies * orders
    if total > MOST_ATOMS:
        raise ValueError(f"these are {total:,} atoms, and a set has at most {MOST_ATOMS:,}; make fewer or smaller ones")
    for number, source in enumerate(sources):
        whole = _slab(source, settings.slab) if settings.slab is not None else source
        unit = whole.cell
        if whole.pbc:
            whole = Frame.from_ase(whole.to_ase().repeat(settings.supercell))
        if settings.vacancies >= whole.natoms:
            raise ValueError(f"{settings.vacancies} vacancies in a structure of {whole.natoms} atoms leave nothing")
        if settings.electronic_temperature is not None:
            whole = whole.with_fields(electronic_temperature=settings.electronic_temperature)
        for index, factor in enumerate(settings.scale):
            scaled = replace(whole, positions=whole.positions * factor, cell=whole.cell * factor)
            for copy in range(settings.copies):
                name = number if index == 0 else f"{number}x{index}"
                copy_seed = child_seed(seed, "structures", settings.name, name, copy)
                if settings.spins is None:
                    copies.append(_vary(scaled, settings, np.random.default_rng(copy_seed)))
                    continue
                for order in settings.spins.orders:
                    rng = np.random.default_rng(child_seed(copy_seed, order))
                    ordered = with_directions(scaled, unit * factor, settings.spins, order)
                    copies.append(with_lengths(_vary(ordered, settings, rng), settings.spins, rng))
    return copies


def _atoms(source: Frame, settings: StructureSet) -> int:
    """Atoms of a structure after it was cut and repeated."""
    layers = settings.slab.layers if settings.slab is not None else 1
    return source.natoms * layers * (math.prod(settings.supercell) if source.pbc else 1)


def _slab(bulk: Frame, slab: Slab) -> Frame:
    """Layers of a crystal with vacuum above. Raises ValueError for a cut that is not of the crystal."""
    from ase.build import surface

    if not bulk.pbc:
        raise ValueError("slab: a surface is cut out of a crystal, and this structure is isolated")
    atoms = _off_the_edges(bulk, slab.miller).to_ase()
    cut = Frame.from_ase(surface(atoms, slab.miller, slab.layers, vacuum=slab.vacuum / 2, periodic=True))
    _check_neighbors(cut, bulk, f"slab: miller {slab.miller}")
    return cut


def _off_the_edges(bulk: Frame, miller: Sequence[int]) -> Frame:
    """The crystal moved along the normal of the planes (hkl) so that no atom lies at the edge of the cut.

    ASE wraps atoms along the normal of a cut that is not periodic there: an atom of the lowest plane that rounding has
    put below zero would come back in a wrong place.
    """
    fractions = np.linalg.solve(bulk.cell.T, bulk.positions.T).T
    fractions -= np.floor(fractions + EDGE)
    heights = fractions @ np.asarray(miller, dtype=np.float64)  # in units of the distance of lattice planes
    heights = np.sort(heights - np.floor(heights + EDGE))
    gaps = np.diff(np.append(heights, heights[0] + 1))
    normal = np.linalg.inv(bulk.cell) @ np.asarray(miller, dtype=np.float64)
    shift = gaps[gaps > EDGE].min(initial=1.0) / 2 * normal / max(float(normal @ normal), EDGE)
    return replace(bulk, positions=fractions @ bulk.cell + shift)


def _check_neighbors(cut: Frame, bulk: Frame, what: str) -> None:
    """Raise ValueError where atoms that were cut out of a crystal are nearer to others, or to more, than inside it."""
    nearest, coordination = _neighbors(bulk)
    closest, most = _neighbors(cut, NEIGHBORS * nearest)
    if closest < nearest - SAME_DISTANCE or most > coordination:
        raise ValueError(
            f"{what}: the cut is not of the crystal: its atoms are {closest:.4f} Å apart and have up to {most} "
            f"neighbours, inside of the crystal {nearest:.4f} Å and {coordination}; please report this"
        )


def _neighbors(frame: Frame, within: float | None = None) -> tuple[float, int]:
    """Smallest distance of two atoms in Å, and the largest number of neighbours `within` so many Å.

    Without a number it is NEIGHBORS times the smallest distance.
    """
    from ase.neighborlist import neighbor_list

    atoms = frame.to_ase()
    reach = within or (8 * abs(np.linalg.det(frame.cell)) / frame.natoms) ** (1 / 3)
    distances = np.zeros(0)
    while not len(distances):
        index, distances = neighbor_list("id", atoms, reach)
        reach *= 1.5
    shell = within or NEIGHBORS * float(distances.min())
    index, distances = neighbor_list("id", atoms, shell) if within is None else (index, distances)
    return float(distances.min()), int(np.bincount(index).max())


def _vary(frame: Frame, settings: StructureSet, rng: np.random.Generator) -> Frame:
    numbers, positions, cell, spins = frame.numbers, frame.positions, frame.cell, frame.spins
    if settings.composition:
        numbers = rng.permutation(_occupation(settings.composition, frame.natoms))
    if settings.vacancies:
        kept = np.sort(rng.permutation(len(numbers))[settings.vacancies :])
        numbers, positions, spins = numbers[kept], positions[kept], None if spins is None else spins[kept]
    for element, count in sorted(settings.interstitials.items()):
        for _ in range(count):
            positions = np.vstack([positions, _gap(positions, cell, frame.pbc, rng)])
            numbers = np.append(numbers, atomic_numbers[element])
            spins = None if spins is None else np.vstack([spins, np.zeros(3)])
    if settings.strain and frame.pbc:
        strain = rng.uniform(-settings.strain, settings.strain, (3, 3))
        deformation = np.eye(3) + 0.5 * (strain + strain.T)
        cell, positions = cell @ deformation, positions @ deformation
    if settings.rattle:
        positions = positions + rng.normal(scale=settings.rattle, size=positions.shape)
    fields = {**frame.fields, **({} if spins is None else {SPIN: spins})}
    return replace(frame, numbers=np.asarray(numbers, dtype=np.int64), positions=positions, cell=cell, fields=fields)


def _gap(positions: Floats, cell: Floats, pbc: bool, rng: np.random.Generator) -> Floats:
    """Of random points near the atoms the one that is farthest from all of them."""
    near = positions[rng.integers(len(positions), size=TRIAL_POINTS)]
    direction = rng.normal(size=(TRIAL_POINTS, 3))
    points = near + direction / np.linalg.norm(direction, axis=1)[:, None] * rng.uniform(0.5, REACH, (TRIAL_POINTS, 1))
    vectors = points[:, None] - positions[None]
    if pbc:
        from ase.geometry import find_mic

        vectors = find_mic(vectors.reshape(-1, 3), cell)[0].reshape(vectors.shape)
    clearance = np.linalg.norm(vectors, axis=-1).min(axis=1)
    if clearance.max() < MIN_GAP:
        raise ValueError(
            f"there is no room for another interstitial: the widest gap that was found is {clearance.max():.2f} Å"
        )
    return np.asarray(points[clearance.argmax()])


def _occupation(composition: dict[str, float], sites: int) -> list[int]:
    """Atomic numbers for `sites` sites; whole numbers of atoms as close to the fractions as they can be."""
    exact = {element: composition[element] * sites for element in sorted(composition)}
    whole = {element: int(value) for element, value in exact.items()}
    by_remainder = sorted(exact, key=lambda element: whole[element] - exact[element])
    for element in by_remainder[: sites - sum(whole.values())]:
        whole[element] += 1
    return [atomic_numbers[element] for element, count in whole.items() for _ in range(count)]


def enlarged(frame: Frame, atoms: int) -> Frame:
    """A periodic frame repeated along its shortest vectors until it has at least so many atoms; others as they are."""
    if not frame.pbc:
        return frame
    repeats = np.ones(3, dtype=np.int64)
    while frame.natoms * int(repeats.prod()) < atoms:
        repeats[int(np.argmin(repeats * np.linalg.norm(frame.cell, axis=1)))] += 1
    return Frame.from_ase(frame.to_ase().repeat(tuple(repeats)))
