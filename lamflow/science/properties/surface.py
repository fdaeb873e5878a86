"""Surface energies of slabs cut by pymatgen, all terminations of all faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lamflow.data import Frame
from lamflow.data.properties import Reduced, Value
from lamflow.errors import InputError
from lamflow.science.properties.cells import conventional, fractional
from lamflow.science.properties.gamma import EV_PER_A2_IN_J_PER_M2
from lamflow.science.properties.sample import Answer, Crystal, Sample, both, composition


def frames(
    crystal: Crystal, *, max_miller: int, millers: Sequence[Sequence[int]], thickness: float, vacuum: float
) -> list[Sample]:
    """Slabs with vacuum, as cut and to be relaxed in a fixed cell. Polar and off-stoichiometric ones are marked."""
    try:
        from pymatgen.core import Lattice, Structure
        from pymatgen.core.surface import SlabGenerator, get_symmetrically_distinct_miller_indices
    except ImportError as error:
        raise InputError('surfaces need pymatgen; pip install "lamflow[properties]"') from error
    cell = conventional(crystal.frame)
    bulk = Structure(Lattice(cell.cell), cell.symbols, fractional(cell))
    wanted = [tuple(m) for m in millers] or get_symmetrically_distinct_miller_indices(bulk, max_miller)
    made = []
    for miller in wanted:
        if not any(miller):
            raise ValueError("millers: the plane (0 0 0) is none")
        generator = SlabGenerator(bulk, miller, thickness, vacuum, center_slab=True, primitive=True)
        for number, slab in enumerate(generator.get_slabs()):
            about = {"miller": list(miller), "termination": number, "same_faces": bool(slab.is_symmetric())}
            frame = _frame(slab)
            made += [Sample(frame, relax, about) for relax in ("none", "positions")]
    return made


def _frame(slab: Any) -> Frame:
    numbers = np.array([site.specie.Z for site in slab], dtype=np.int64)
    return Frame(numbers, np.array(slab.cart_coords), np.array(slab.lattice.matrix), True)


def reduce(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """γ = (E - N e_bulk) / 2A of every termination that has the composition of the crystal, J/m²."""
    energies: dict[tuple[tuple[int, ...], int], dict[str, float]] = {}
    notes: list[str] = []
    for answer in answers:
        miller, number = tuple(answer.about["miller"]), int(answer.about["termination"])
        where, frame = _name(miller, number), answer.sample.frame
        if not _same_composition(composition(frame), crystal.composition):
            if answer.sample.relax == "none":
                notes.append(f"{where}: no value, its composition is not that of the crystal")
            continue
        area = float(np.linalg.norm(np.cross(frame.cell[0], frame.cell[1])))
        energy = (answer.energy - frame.natoms * crystal.energy_per_atom) / (2 * area) * EV_PER_A2_IN_J_PER_M2
        energies.setdefault((miller, number), {})[answer.sample.relax] = energy
        if not answer.about["same_faces"] and answer.sample.relax == "none":
            notes.append(f"{where}: mean of two different faces")
    if not energies:
        raise ValueError("; ".join(notes) or "there is no slab")
    values: list[Value] = []
    for (miller, number), own in energies.items():
        values += both("gamma", "J/m²", _name(miller, number), own["positions"], own["none"])
    return Reduced(values=values, notes=notes)


def _name(miller: Sequence[int], number: int) -> str:
    """`(111)`, with the number of the termination after the first one."""
    return f"({' '.join(map(str, miller)) if any(m < 0 or m > 9 for m in miller) else ''.join(map(str, miller))})" + (
        f" termination {number + 1}" if number else ""
    )


def _same_composition(first: dict[str, int], second: dict[str, int]) -> bool:
    total, other = sum(first.values()), sum(second.values())
    return set(first) == set(second) and all(first[e] * other == second[e] * total for e in first)
