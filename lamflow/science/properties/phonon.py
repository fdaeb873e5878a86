"""Phonons by finite displacements with phonopy: bands, density of states, imaginary modes, thermal properties."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lamflow.data import Frame
from lamflow.data.properties import Curve, Reduced, Value
from lamflow.errors import InputError
from lamflow.science.neighbors import heights
from lamflow.science.properties.cells import fractional, primitive, repeats
from lamflow.science.properties.sample import Answer, Crystal, Sample

IMAGINARY_THZ = 0.05
"""Imaginary frequencies that are smaller are rounding, mostly of the acoustic modes."""
FEW_IMAGINARY = 0.01
"""Of all modes; as many come of small supercells where a crystal is stable, and thermal properties leave them out."""
NARROW = 6.0
"""Å; in narrower supercells atoms feel the images of the one that is displaced."""
SAME_PLACE = 1e-9
"""1/Å; two ends of segments that are no further apart on the axis are at one place of it."""
ACOUSTIC_THZ = 1e-3
"""Modes below have no thermal energy: those at Γ that move the whole crystal."""


def frames(
    crystal: Crystal, *, size: float, supercell: Sequence[int] | None, displacement: float, mesh: int,
    temperatures: Sequence[float],
) -> list[Sample]:  # fmt: skip
    """Supercells of the primitive cell with one atom displaced by `displacement` Å each."""
    cell = primitive(crystal.frame)
    times = list(supercell or repeats(cell.cell, size))
    about = {"supercell": times, "displacement": displacement, "mesh": mesh, "temperatures": list(temperatures)}
    return displaced(cell, times, displacement, about)


def displaced(cell: Frame, times: Sequence[int], displacement: float, about: Mapping[str, Any]) -> list[Sample]:
    """Supercells of a primitive cell with one atom displaced each, as symmetry asks for them."""
    phonons = phonopy_of(cell, times)
    phonons.generate_displacements(distance=displacement)
    return [
        Sample(
            Frame(np.array(one.numbers, dtype=np.int64), np.array(one.positions), np.array(one.cell), True), "none",
            {**about, "number": number},
        )
        for number, one in enumerate(phonons.supercells_with_displacements)
    ]  # fmt: skip


def phonopy_of(cell: Frame, times: Sequence[int]) -> Any:
    """phonopy's object of a primitive cell and a supercell. Raises InputError where phonopy is missing."""
    try:
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms
    except ImportError as error:
        raise InputError('phonons need phonopy; pip install "lamflow[properties]"') from error
    atoms = PhonopyAtoms(symbols=cell.symbols, cell=cell.cell, scaled_positions=fractional(cell))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it says of symmetry, `reduce` says
        return Phonopy(atoms, np.diag(times), primitive_matrix=np.eye(3))


def reduce(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Frequencies in THz at special points and of a mesh, and harmonic thermal properties.

    Raises ValueError where the answers are not those of one displacement set.
    """
    about = answers[0].about
    phonons = phonopy_of(primitive(crystal.frame), about["supercell"])
    phonons.generate_displacements(distance=float(about["displacement"]))
    phonons.forces = [answer.good.forces for answer in answers]
    phonons.produce_force_constants()
    phonons.symmetrize_force_constants()
    phonons.run_mesh([int(about["mesh"])] * 3)
    frequencies, weights = phonons.mesh.frequencies, phonons.mesh.weights
    imaginary = float(
        ((frequencies < -IMAGINARY_THZ) * weights[:, None]).sum() / (weights.sum() * frequencies.shape[1])
    )
    points, curves = _bands(phonons)
    special = np.array([value.value for value in points])
    at_points = float((special < -IMAGINARY_THZ).mean())
    values = [
        Value(name="frequency_max", value=float(max(frequencies.max(), special.max())), unit="THz"),
        Value(name="frequency_min", value=float(min(frequencies.min(), special.min())), unit="THz",
              note="negative stands for imaginary"),
        Value(name="imaginary_fraction", value=max(imaginary, at_points), unit="1",
              note=f"of modes below -{IMAGINARY_THZ:g} THz, on the mesh or at the special points, whichever are more"),
    ]  # fmt: skip
    notes = []
    if not _is_symmetric(phonons):
        notes.append("the supercell has less symmetry than the crystal: its bands may break the symmetry, too")
    if imaginary:
        notes.append(f"{100 * imaginary:.2g} % of the modes are imaginary: it is no minimum")
    if at_points and not imaginary:
        lowest = min(points, key=lambda value: value.value)
        notes.append(
            f"the mode of {lowest.value:.3g} THz at {lowest.where} is imaginary, and the mesh lacks this point: it "
            "is no minimum, or the supercell does not hold this wave; a larger one (`size`) or an even multiple tells"
        )
    width = float((np.array(about["supercell"]) * heights(primitive(crystal.frame).cell[None])[0]).min())
    if width < NARROW:
        notes.append(f"the supercell is {width:.1f} Å wide: forces reach farther, so only its own q points are right")
    if imaginary <= FEW_IMAGINARY:
        values += _thermal(phonons, about["temperatures"], natoms=primitive(crystal.frame).natoms)
    else:
        notes.append("free energy, entropy and heat capacity are those of a minimum, and are left out")
    return Reduced(values=[*values, *points], curves=[*curves, _dos(phonons)], notes=notes)


def _is_symmetric(phonons: Any) -> bool:
    """The supercell has all point operations of the crystal."""
    own, crystal = (len(np.unique(each.symmetry_operations["rotations"], axis=0)) for each in
                    (phonons.symmetry, phonons.primitive_symmetry))  # fmt: skip
    return own >= crystal


def _thermal(phonons: Any, temperatures: Sequence[float], natoms: int) -> list[Value]:
    """Harmonic free energy, entropy and heat capacity per atom; imaginary modes are left out, as phonopy does."""
    phonons.run_thermal_properties(temperatures=list(temperatures), cutoff_frequency=ACOUSTIC_THZ)
    found = phonons.thermal_properties
    names = (("free_energy", "F", "kJ/mol"), ("entropy", "S", "J/K/mol"), ("heat_capacity", "Cv", "J/K/mol"))
    return [
        Value(name=name, value=float(getattr(found, key)[index]) / natoms, unit=unit, where=f"{temperature:g} K")
        for index, temperature in enumerate(temperatures)
        for key, name, unit in names
    ]


def _bands(phonons: Any) -> tuple[list[Value], list[Curve]]:
    """Frequencies at the special points of seekpath's path, lowest first, and along the path."""
    from phonopy.phonon.band_structure import get_band_qpoints_by_seekpath

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bands, labels, connections = get_band_qpoints_by_seekpath(phonons.primitive, 51)
    phonons.run_band_structure(bands, path_connections=connections, labels=labels)
    found = phonons.band_structure
    names = iter(labels)
    points: dict[str, list[float]] = {}
    for frequencies, connected in zip(found.frequencies, _starts(connections), strict=True):
        if connected:
            points.setdefault(_plain(next(names)), frequencies[0].tolist())
        points.setdefault(_plain(next(names)), frequencies[-1].tolist())
    values = [
        Value(name=f"mode_{index + 1}", value=float(value), unit="THz", where=name)
        for name, modes in points.items()
        if name != "Γ"
        for index, value in enumerate(modes)
    ]
    return values, _branches(found.distances, found.frequencies, connections, labels)


def _branches(
    distances: Sequence[Any], frequencies: Sequence[Any], connections: Sequence[bool], labels: Sequence[str]
) -> list[Curve]:
    """A curve for each branch and each piece of the path, which jumps where segments are not connected."""
    names, ticks = iter(labels), dict[float, list[str]]()
    for distance, begins in zip(distances, _starts(connections), strict=True):
        for place in (distance[0], distance[-1]) if begins else (distance[-1],):
            here = next((known for known in ticks if abs(known - place) < SAME_PLACE), float(place))
            ticks.setdefault(here, []).append(_plain(next(names)))
    named: dict[str, list[float]] = {}
    for place, own in ticks.items():
        named.setdefault("|".join(dict.fromkeys(own)), []).append(place)
    pieces = np.split(np.arange(len(distances)), [n + 1 for n, joined in enumerate(connections[:-1]) if not joined])
    return [
        Curve(name="bands", where=f"branch {branch + 1}", x=np.concatenate([distances[n] for n in piece]).tolist(),
              y=np.concatenate([frequencies[n][:, branch] for n in piece]).tolist(),
              x_label="path through the Brillouin zone (1/Å)", y_label="frequency (THz)", ticks=named)
        for branch in range(frequencies[0].shape[1])
        for piece in pieces
    ]  # fmt: skip


def _starts(connections: Sequence[bool]) -> list[bool]:
    """Whether each segment begins with a label of its own: the first, and those after a gap."""
    return [True, *(not connected for connected in connections[:-1])]


def _plain(label: str) -> str:
    return "Γ" if "Gamma" in label or label == "GAMMA" else label.strip("$").replace(r"\mathrm", "").strip("{}")


def _dos(phonons: Any) -> Curve:
    phonons.run_total_dos()
    found = phonons.total_dos
    return Curve(
        name="dos", x=np.asarray(found.frequency_points).tolist(), y=np.asarray(found.dos).tolist(),
        x_label="frequency (THz)", y_label="density of states (1/THz)",
    )  # fmt: skip
