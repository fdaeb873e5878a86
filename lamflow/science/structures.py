"""Start structures: built or read, then cut, repeated, substituted, damaged and moved, each copy from its own seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ase.data import atomic_numbers

from lamflow.config.seeds import child_seed
from lamflow.config.structures import Crystal, Slab, StructureSet
from lamflow.data import Frame
from lamflow.data.frames import Floats

TRIED, REACH = 400, 3.0
"""Points that are tried for an interstitial atom, and how far from an atom they may be, in Å."""


def build_crystal(crystal: Crystal) -> Frame:
    """The crystal's cell. Raises ValueError when ASE cannot build it."""
    from ase.build import bulk

    try:
        atoms = bulk(crystal.formula, crystal.lattice, a=crystal.a, c=crystal.c, cubic=crystal.cubic)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ValueError(f"{crystal.lattice} {crystal.formula} cannot be built: {error}") from error
    return Frame.from_ase(atoms)


ROOM = 0.7
"""Å; an interstitial atom that is nearer to another one than this is none."""


def make_copies(sources: Sequence[Frame], settings: StructureSet, seed: int) -> list[Frame]:
    """Copies of each source as `settings` say: source 0's first, those of its first scale before those of the others.

    Raises ValueError for a source that cannot be treated so.
    """
    made = []
    for number, source in enumerate(sources):
        whole = _slab(source, settings.slab) if settings.slab is not None else source
        if whole.pbc:
            whole = Frame.from_ase(whole.to_ase().repeat(settings.supercell))
        if settings.vacancies >= whole.natoms:
            raise ValueError(f"{settings.vacancies} vacancies in a structure of {whole.natoms} atoms leave nothing")
        if settings.electronic_temperature is not None:
            whole = replace(whole, electronic_temperature=settings.electronic_temperature)
        for place, factor in enumerate(settings.scale):
            scaled = replace(whole, positions=whole.positions * factor, cell=whole.cell * factor)
            for copy in range(settings.copies):
                name = number if place == 0 else f"{number}x{place}"
                rng = np.random.default_rng(child_seed(seed, "structures", settings.name, name, copy))
                made.append(_vary(scaled, settings, rng))
    return made


def _slab(bulk: Frame, slab: Slab) -> Frame:
    from ase.build import surface

    if not bulk.pbc:
        raise ValueError("slab: a surface is cut out of a crystal, and this structure is isolated")
    atoms = surface(bulk.to_ase(), slab.miller, slab.layers, vacuum=slab.vacuum / 2, periodic=True)
    return Frame.from_ase(atoms)


def _vary(frame: Frame, settings: StructureSet, rng: np.random.Generator) -> Frame:
    numbers, positions, cell = frame.numbers, frame.positions, frame.cell
    if settings.composition:
        numbers = rng.permutation(_occupation(settings.composition, frame.natoms))
    if settings.vacancies:
        kept = np.sort(rng.permutation(len(numbers))[settings.vacancies :])
        numbers, positions = numbers[kept], positions[kept]
    for element, count in settings.interstitials.items():
        for _ in range(count):
            positions = np.vstack([positions, _gap(positions, cell, frame.pbc, rng)])
            numbers = np.append(numbers, atomic_numbers[element])
    if settings.strain and frame.pbc:
        strain = rng.uniform(-settings.strain, settings.strain, (3, 3))
        deformation = np.eye(3) + 0.5 * (strain + strain.T)
        cell, positions = cell @ deformation, positions @ deformation
    if settings.rattle:
        positions = positions + rng.normal(scale=settings.rattle, size=positions.shape)
    return replace(frame, numbers=np.asarray(numbers, dtype=np.int64), positions=positions, cell=cell)


def _gap(positions: Floats, cell: Floats, pbc: bool, rng: np.random.Generator) -> Floats:
    """Of random points near the atoms the one that is farthest from all of them."""
    near = positions[rng.integers(len(positions), size=TRIED)]
    direction = rng.normal(size=(TRIED, 3))
    points = near + direction / np.linalg.norm(direction, axis=1)[:, None] * rng.uniform(0.5, REACH, (TRIED, 1))
    away = points[:, None] - positions[None]
    if pbc:
        from ase.geometry import find_mic

        away = find_mic(away.reshape(-1, 3), cell)[0].reshape(away.shape)
    room = np.linalg.norm(away, axis=-1).min(axis=1)
    if room.max() < ROOM:
        raise ValueError(
            f"there is no room for another interstitial: the widest gap that was found is {room.max():.2f} Å"
        )
    return np.asarray(points[room.argmax()])


def _occupation(composition: dict[str, float], sites: int) -> list[int]:
    """Atomic numbers for `sites` sites; whole numbers of atoms as close to the shares as they can be."""
    exact = {element: share * sites for element, share in composition.items()}
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
