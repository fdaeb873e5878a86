"""Thermal expansion and Grüneisen parameters in the quasi-harmonic approximation, with phonopy."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.data.properties import Curve, Reduced, Value
from lamflow.science.properties.cells import primitive, repeats, symmetry
from lamflow.science.properties.phonon import ACOUSTIC_THZ, IMAGINARY_THZ, displaced, phonopy_of
from lamflow.science.properties.sample import Answer, Crystal, Sample
from lamflow.science.symmetry import SpaceGroup
from lamflow.units import BOLTZMANN

STEP = 10.0
"""K between the temperatures of the free energy."""
THZ_IN_EV = 4.135667696e-3
"""h · 1 THz (exact, SI 2019)."""


def frames(
    crystal: Crystal, *, strain: float, points: int, size: float, supercell: Sequence[int] | None, displacement: float,
    mesh: int, temperatures: Sequence[float],
) -> list[Sample]:  # fmt: skip
    """The crystal at `points` volumes from 1 - strain to 1 + strain of its own, and displacements at each of them.

    Raises ValueError for crystals whose atoms symmetry does not hold in their places: these would move with the volume.
    """
    bulk = primitive(crystal.frame)
    if _has_internal_freedom(bulk):
        raise ValueError("symmetry lets its atoms move as the volume changes, which is left out here")
    times = list(supercell or repeats(bulk.cell, size))
    about = {"supercell": times, "displacement": displacement, "mesh": mesh, "temperatures": list(temperatures)}
    made = []
    for factor in np.linspace(1 - strain, 1 + strain, points):
        own = {**about, "volume_factor": round(float(factor), 9)}
        cell = _scaled(bulk, float(factor))
        made.append(Sample(cell, "none", own))
        made += displaced(cell, times, displacement, own)
    return made


def _has_internal_freedom(bulk: Frame) -> bool:
    """A displacement of the atoms that is more than a shift of the whole keeps the symmetry."""
    moves = np.random.default_rng(1).normal(size=(bulk.natoms, 3))
    return bool(np.abs(SpaceGroup.of(bulk).vectors(moves - moves.mean(axis=0))).max() > 1e-6)


def _scaled(frame: Frame, factor: float) -> Frame:
    scale = factor ** (1 / 3)
    return replace(frame, cell=frame.cell * scale, positions=frame.positions * scale)


def reduce(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Grüneisen parameters, expansion coefficients (volumetric and linear), volume and bulk modulus by temperature.

    Free energies over volumes are fitted by Vinet's form (S. Baroni et al., Rev. Mineral. Geochem. 71, 39 (2010));
    mode Grüneisen parameters are differences of the frequencies around the volume in the middle. Raises ValueError for
    imaginary modes, and where the volume at a temperature lies outside of those that were looked at.
    """
    about, bulk = answers[0].about, primitive(crystal.frame)
    factors = sorted({float(answer.about["volume_factor"]) for answer in answers})
    sets = [[a for a in answers if float(a.about["volume_factor"]) == factor] for factor in factors]
    phonons = [_phonons(_scaled(bulk, factor), own[1:]) for factor, own in zip(factors, sets, strict=True)]
    volumes = np.array([own[0].frame.volume for own in sets])
    energies = np.array([own[0].energy for own in sets])
    wanted = [float(t) for t in about["temperatures"]]
    grid = np.arange(0.0, max(wanted) + 4 * STEP, STEP)
    expansion = _expansion(phonons, volumes, energies, grid, int(about["mesh"]), factors)
    middle = len(factors) // 2
    gamma = _gruneisen(phonons[middle - 1 : middle + 2], int(about["mesh"]))
    values: list[Value] = []
    for temperature in wanted:
        where = f"{temperature:g} K"
        volume, alpha, modulus = (float(np.interp(temperature, grid[: len(row)], row)) for row in expansion)
        if not volumes.min() < volume < volumes.max():
            raise ValueError(f"at {where} the crystal is larger than all volumes that were looked at; raise strain")
        values += [
            Value(name="V", value=volume / bulk.natoms, unit="Å³/atom", where=where),
            Value(name="alpha_V", value=alpha, unit="1/K", where=where, note="volumetric"),
            Value(name="alpha_L", value=alpha / 3, unit="1/K", where=where, note="linear, a third of the volumetric"),
            Value(name="B_T", value=modulus, unit="GPa", where=where, note="isothermal"),
            Value(name="gruneisen", value=gamma(temperature), unit="1", where=where, note="mean by heat capacity"),
        ]
    curve = Curve(
        name="expansion", x=grid[: len(expansion[0])].tolist(), y=(expansion[0] / bulk.natoms).tolist(),
        x_label="temperature (K)", y_label="volume (Å³/atom)",
    )  # fmt: skip
    cubic = symmetry(bulk).number >= 195
    notes = [] if cubic else ["all axes are scaled alike: how they expand on their own is left out"]
    return Reduced(values=values, curves=[curve], notes=notes)


def _phonons(cell: Frame, answers: Sequence[Answer]) -> Any:
    phonons = phonopy_of(cell, answers[0].about["supercell"])
    phonons.generate_displacements(distance=float(answers[0].about["displacement"]))
    phonons.forces = [answer.good.forces for answer in answers]
    phonons.produce_force_constants()
    phonons.symmetrize_force_constants()
    return phonons


def _expansion(
    phonons: Sequence[Any], volumes: Floats, energies: Floats, grid: Floats, mesh: int, factors: Sequence[float]
) -> tuple[Floats, Floats, Floats]:
    """Volume in Å³, its expansion coefficient in 1/K and the bulk modulus in GPa on the grid, its end left out."""
    from phonopy import PhonopyQHA

    thermal = []
    for factor, one in zip(factors, phonons, strict=True):
        one.run_mesh([mesh] * 3)
        if one.mesh.frequencies.min() < -IMAGINARY_THZ:
            raise ValueError(f"at {factor:g} of its volume it has imaginary modes, which have no free energy")
        one.run_thermal_properties(temperatures=grid, cutoff_frequency=ACOUSTIC_THZ)
        thermal.append(one.thermal_properties)
    tables = {
        name: np.array([getattr(one, attribute) for one in thermal]).T
        for name, attribute in (("free_energy", "free_energy"), ("cv", "heat_capacity"), ("entropy", "entropy"))
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            qha = PhonopyQHA(
                volumes=volumes, electronic_energies=energies, temperatures=grid, t_max=float(grid[-2]), **tables
            )
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"the free energies do not fit an equation of state: {error}") from error
    found = (qha.volume_temperature, qha.thermal_expansion, qha.bulk_modulus_temperature)
    count = min(len(row) for row in found)
    return tuple(np.asarray(row[:count], dtype=np.float64) for row in found)  # type: ignore[return-value]


def _gruneisen(phonons: Sequence[Any], mesh: int) -> Any:
    """The mean of the modes' Grüneisen parameters by their heat capacities, as a function of the temperature in K."""
    from phonopy import PhonopyGruneisen

    smaller, middle, larger = phonons
    found = PhonopyGruneisen(middle, larger, smaller)
    found.set_mesh([mesh] * 3)
    _, weights, frequencies, _, gammas = found.get_mesh()
    good = frequencies > IMAGINARY_THZ
    counts = np.broadcast_to(weights[:, None], frequencies.shape)[good]

    def mean(temperature: float) -> float:
        x = frequencies[good] * THZ_IN_EV / (BOLTZMANN * max(temperature, 1e-3))
        capacity = counts * (x / 2 / np.sinh(np.minimum(x / 2, 300.0))) ** 2
        return float((capacity * gammas[good]).sum() / capacity.sum())

    return mean
