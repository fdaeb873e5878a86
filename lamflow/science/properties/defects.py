"""Point defects: vacancies, interstitials, foreign atoms and antisites, with chemical potentials from the hull."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.data.properties import Reduced, Value
from lamflow.science.properties.cells import conventional, inequivalent, repeated, repeats, symmetry
from lamflow.science.properties.sample import Answer, Crystal, Sample, both, composition, reduced

SMALLEST = 5.0
"""Å; a defect in a narrower supercell feels its own image."""
DUMBBELL = 0.3
"""Of the distance between neighbours: how far both atoms of a dumbbell stand from the site."""
NAMED_SITES = {
    "fcc": {"octahedral": (0.5, 0.5, 0.5), "tetrahedral": (0.25, 0.25, 0.25), "crowdion": (0.25, 0.25, 0.0)},
    "bcc": {"octahedral": (0.5, 0.5, 0.0), "tetrahedral": (0.5, 0.25, 0.0), "crowdion": (0.25, 0.25, 0.25)},
}
"""Places of interstitial atoms as seen from an atom, in the axes of the conventional cell."""
DUMBBELLS = {"⟨100⟩ dumbbell": (1, 0, 0), "⟨110⟩ dumbbell": (1, 1, 0), "⟨111⟩ dumbbell": (1, 1, 1)}


KINDS = ("vacancy", "interstitial", "substitution")


def vacancy_frames(
    crystal: Crystal, *, sizes: Sequence[float], cell: bool, chemical_potentials: Mapping[str, float]
) -> list[Sample]:
    """Supercells without one atom, one for each inequivalent site and size."""
    bulk = conventional(crystal.frame)
    made = []
    for whole in _supercells(bulk, sizes):
        for site, name in _sites(bulk):
            kept = np.arange(whole.natoms) != site
            frame = replace(whole, numbers=whole.numbers[kept], positions=whole.positions[kept])
            made += _pair(frame, whole.natoms, name, -1, chemical_potentials, cell)
    return made


def substitution_frames(
    crystal: Crystal, *, elements: Sequence[str], sizes: Sequence[float], cell: bool,
    chemical_potentials: Mapping[str, float],
) -> list[Sample]:  # fmt: skip
    """Supercells with one atom of another element, one for each inequivalent site and size."""
    bulk = conventional(crystal.frame)
    made = []
    for whole in _supercells(bulk, sizes):
        for site, name in _sites(bulk):
            for element in elements or crystal.composition:
                if atomic_numbers[element] != bulk.numbers[site]:
                    numbers = whole.numbers.copy()
                    numbers[site] = atomic_numbers[element]
                    frame, title = replace(whole, numbers=numbers), f"{element} on {name}"
                    made += _pair(frame, whole.natoms, title, 0, chemical_potentials, cell)
    if not made:
        raise ValueError("no element is another one than that of the site; name some in `elements`")
    return made


def interstitial_frames(
    crystal: Crystal, *, elements: Sequence[str], sizes: Sequence[float], cell: bool, min_distance: float,
    chemical_potentials: Mapping[str, float],
) -> list[Sample]:  # fmt: skip
    """Supercells with one more atom: the known places of fcc and bcc, corners of Voronoi cells elsewhere."""
    bulk = conventional(crystal.frame)
    places, lattice = list(_places(bulk, min_distance)), _lattice(bulk)
    made = []
    for whole in _supercells(bulk, sizes):
        for element in elements or crystal.composition:
            number = atomic_numbers[element]
            inserted = {
                name: replace(
                    whole, numbers=np.append(whole.numbers, number), positions=np.vstack([whole.positions, place])
                )
                for name, place in places
            }
            if lattice is not None and number == bulk.numbers[0]:
                inserted |= {name: _dumbbell(whole, direction) for name, direction in DUMBBELLS.items()}
            for name, frame in inserted.items():
                made += _pair(frame, whole.natoms, f"{element} {name}", 1, chemical_potentials, cell)
    if not made:
        raise ValueError(f"no place is at least {min_distance:g} Å from all atoms; lower min_distance")
    return made


def reduce(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Formation energies E - E_bulk(same atoms but for the exchanged ones) ∓ μ, relaxed and not, eV.

    For a compound there are as many values as limits of the chemical potentials. Of several supercells the error in the
    largest is what has changed since the next smaller one. Raises ValueError where the potentials are not known.
    """
    exchanged = _exchanged(crystal, answers)
    limits = chemical_potentials(crystal, answers[0].about["chemical_potentials"], exchanged)
    energies: dict[tuple[str, str, int], dict[str, float]] = {}
    for answer in answers:
        cells, difference = _difference(crystal, composition(answer.sample.frame), int(answer.about["change"]))
        for limit, mu in limits.items():
            energy = answer.energy - cells * crystal.energy - sum(n * mu[e] for e, n in difference.items())
            kind = "none" if answer.sample.relax == "none" else "relaxed"
            energies.setdefault((str(answer.about["defect"]), limit, int(answer.about["sites"])), {})[kind] = energy
    values: list[Value] = []
    for (defect, limit, sites), own in energies.items():
        others = sorted(n for name, other, n in energies if (name, other) == (defect, limit))
        where = ", ".join(filter(None, [defect, f"{sites} sites" if len(others) > 1 else "", limit]))
        pair = both("E_f", "eV", where, own["relaxed"], own["none"])
        if len(others) > 1 and sites == others[-1]:
            before = energies[defect, limit, others[-2]]
            changes = (own["relaxed"] - before["relaxed"], own["none"] - before["none"])
            pair = [v.model_copy(update={"uncertainty": abs(c)}) for v, c in zip(pair, changes, strict=True)]
        values += pair
    named = [f"{limit or 'chemical potentials'}: " + ", ".join(f"{e} {mu[e]:.4f} eV" for e in exchanged)
             for limit, mu in limits.items()]  # fmt: skip
    return Reduced(values=values, notes=named)


def chemical_potentials(
    crystal: Crystal, known: Mapping[str, float], exchanged: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Chemical potentials by element in eV per atom, for each limit by its name; one without name where all are fixed.

    Of an element its own crystal says them; of a compound they are bounded by all phases of the study: each limit is
    as rich in one element as no phase would form (S. B. Zhang and J. E. Northrup, PRL 67, 2339 (1991)). Crystals of the
    same composition bound nothing: one that is lower says that this one is metastable, not that it has no defects.
    """
    from scipy.optimize import linprog

    if all(element in known for element in exchanged):
        return {"": dict(known)}
    phases = [phase for phase in crystal.phases if reduced(phase.composition) != reduced(crystal.composition)]
    elements = sorted({*crystal.composition, *exchanged, *(e for p in phases for e in p.composition)})
    equal = np.array([[crystal.composition.get(e, 0) for e in elements]], dtype=np.float64)
    rows = np.array([[p.composition.get(e, 0) for e in elements] for p in phases], dtype=np.float64)
    bounds = [(known[e], known[e]) if e in known else (None, None) for e in elements]
    found: dict[str, dict[str, float]] = {}
    wanted = [element for element in exchanged if element not in known]
    if len(crystal.composition) == 1:  # what a foreign element is worth tells its own, too
        wanted = [element for element in wanted if element not in crystal.composition] or wanted
    for element in wanted:
        cost = -np.array([1.0 if e == element else 0.0 for e in elements])
        solution = linprog(
            cost, A_ub=rows if len(rows) else None, b_ub=[p.energy for p in phases] if len(rows) else None,
            A_eq=equal, b_eq=[crystal.energy], bounds=bounds, method="highs",
        )  # fmt: skip
        if solution.status == 3:
            raise ValueError(
                f"the chemical potential of {element} is not known: give chemical_potentials, or add a structure of "
                f"pure {element} to the study"
            )
        if not solution.success:
            raise ValueError(f"{crystal.name} is not stable against the other structures of the study, so chemical "
                             "potentials have no limits; give chemical_potentials")  # fmt: skip
        single = len(crystal.composition) == 1 and element in crystal.composition
        found["" if single else f"{element}-rich"] = dict(zip(elements, solution.x.tolist(), strict=True))
    return found


def check_limits(crystal: Crystal, samples: Sequence[Sample], known: Mapping[str, float]) -> None:
    """Raise ValueError when the compositions alone tell that chemical potentials will have no limits."""
    whole = [Answer(sample, sample.frame, None) for sample in samples]
    chemical_potentials(crystal, known, _exchanged(crystal, whole))


def _exchanged(crystal: Crystal, answers: Sequence[Answer]) -> list[str]:
    """Elements of which a defect has more or fewer atoms than the crystal."""
    differences = [_difference(crystal, composition(a.sample.frame), int(a.about["change"]))[1] for a in answers]
    return sorted({element for difference in differences for element in difference})


def _difference(crystal: Crystal, defective: dict[str, int], change: int) -> tuple[float, dict[str, int]]:
    """Cells of the crystal in a supercell, and how many atoms of each element the defect has more."""
    cells = (sum(defective.values()) - change) / crystal.frame.natoms
    elements = {*crystal.composition, *defective}
    difference = {e: defective.get(e, 0) - round(cells * crystal.composition.get(e, 0)) for e in elements}
    return cells, {element: number for element, number in sorted(difference.items()) if number}


def _pair(
    frame: Frame, sites: int, defect: str, change: int, potentials: Mapping[str, float], cell: bool
) -> list[Sample]:
    """A defect as it was made and to be relaxed; `change` is by how many atoms it has more than the crystal of so many
    `sites`."""
    about = {"defect": defect, "chemical_potentials": dict(potentials), "change": change, "sites": sites}
    return [Sample(frame, "none", about), Sample(frame, "cell" if cell else "positions", about)]


def _sites(bulk: Frame) -> list[tuple[int, str]]:
    """Inequivalent sites with their names, numbered where an element has several."""
    sites = [int(site) for site in inequivalent(bulk)]
    elements = [chemical_symbols[bulk.numbers[site]] for site in sites]
    return [
        (
            site,
            f"{element} site {elements[:place].count(element) + 1}"
            if elements.count(element) > 1
            else f"{element} site",
        )
        for place, (site, element) in enumerate(zip(sites, elements, strict=True))
    ]


def _supercells(bulk: Frame, sizes: Sequence[float]) -> list[Frame]:
    """The supercells that sizes come to, smallest first, each once. Raises ValueError for one that is too small."""
    small = min(sizes)
    if small < SMALLEST:
        raise ValueError(f"a supercell of {small:g} Å is too small for a defect; give at least {SMALLEST:g} Å")
    return [repeated(bulk, times) for times in dict.fromkeys(repeats(bulk.cell, size) for size in sorted(sizes))]


def _lattice(bulk: Frame) -> str | None:
    """fcc or bcc for elements that are."""
    found = symmetry(bulk)
    return {(225, 4): "fcc", (229, 2): "bcc"}.get((found.number, bulk.natoms)) if len(set(bulk.numbers)) == 1 else None


def _places(bulk: Frame, min_distance: float) -> Iterator[tuple[str, Floats]]:
    """Names and Cartesian places (3,) of interstitial atoms in the first cell."""
    lattice = _lattice(bulk)
    if lattice is not None:
        for name, fractions in NAMED_SITES[lattice].items():
            yield name, bulk.positions[0] + np.array(fractions) @ bulk.cell
        return
    for number, place in enumerate(_voronoi(bulk, min_distance)):
        yield f"hole {number + 1}", place


def _voronoi(bulk: Frame, min_distance: float) -> list[Floats]:
    """Corners of the Voronoi cells that symmetry does not make alike, widest first."""
    from scipy.spatial import Voronoi, cKDTree

    shifts = np.array(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij")).reshape(3, -1).T @ bulk.cell
    images = (bulk.positions[None] + shifts[:, None]).reshape(-1, 3)
    corners = Voronoi(images).vertices
    inside = np.linalg.solve(bulk.cell.T, corners.T).T
    inside = inside[((inside > -1e-6) & (inside < 1 - 1e-6)).all(axis=1)]
    found = symmetry(bulk)
    width, _ = cKDTree(images).query(inside @ bulk.cell)
    kept: list[Floats] = []
    for index in np.argsort(-width, kind="stable"):
        if width[index] < min_distance:
            break
        orbit = found.rotations @ inside[index] + found.translations
        alike = [((orbit - one + 0.5) % 1 - 0.5) @ bulk.cell for one in kept]
        if not any((np.linalg.norm(distance, axis=1) < 0.1).any() for distance in alike):
            kept.append(inside[index])
    return [place @ bulk.cell for place in kept]


def _dumbbell(whole: Frame, direction: Sequence[int]) -> Frame:
    """The first atom of a supercell replaced by two, along a direction of the cubic axes."""
    away = np.linalg.norm(whole.positions[1:] - whole.positions[0], axis=1).min()
    step = DUMBBELL * away * np.asarray(direction) / np.linalg.norm(direction)
    positions = np.vstack([whole.positions[0] - step, whole.positions[1:], whole.positions[0] + step])
    return replace(whole, numbers=np.append(whole.numbers, whole.numbers[0]), positions=positions)
