"""Start structures: built or read, then repeated, substituted, strained and rattled. Every copy from its own seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lamflow.config.seeds import child_seed
from lamflow.config.structures import Crystal, StructureSet
from lamflow.data import Frame


def build_crystal(crystal: Crystal) -> Frame:
    """The crystal's cell. Raises ValueError when ASE cannot build it."""
    from ase.build import bulk

    try:
        atoms = bulk(crystal.formula, crystal.lattice, a=crystal.a, c=crystal.c, cubic=crystal.cubic)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ValueError(f"{crystal.lattice} {crystal.formula} cannot be built: {error}") from error
    return Frame.from_ase(atoms)


def make_copies(sources: Sequence[Frame], settings: StructureSet, seed: int) -> list[Frame]:
    """Copies of each source as `settings` say, in order: source 0's copies first."""
    made = []
    for number, source in enumerate(sources):
        repeated = Frame.from_ase(source.to_ase().repeat(settings.supercell)) if source.pbc else source
        for copy in range(settings.copies):
            rng = np.random.default_rng(child_seed(seed, "structures", settings.name, number, copy))
            made.append(_vary(repeated, settings, rng))
    return made


def _vary(frame: Frame, settings: StructureSet, rng: np.random.Generator) -> Frame:
    numbers, positions, cell = frame.numbers, frame.positions, frame.cell
    if settings.composition:
        from ase.data import atomic_numbers

        numbers = rng.permutation(_occupation(settings.composition, frame.natoms, atomic_numbers))
    if settings.strain and frame.pbc:
        strain = rng.uniform(-settings.strain, settings.strain, (3, 3))
        deformation = np.eye(3) + 0.5 * (strain + strain.T)
        cell, positions = cell @ deformation, positions @ deformation
    if settings.rattle:
        positions = positions + rng.normal(scale=settings.rattle, size=positions.shape)
    return replace(frame, numbers=np.asarray(numbers, dtype=np.int64), positions=positions, cell=cell)


def _occupation(composition: dict[str, float], sites: int, atomic_numbers: dict[str, int]) -> list[int]:
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
