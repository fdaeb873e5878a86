"""Magnetic moments in LAMMPS: its SPIN package, with models as pair style `deepspin`.

LAMMPS keeps a moment as its length (μB) and a direction. Directions precess and are damped; lengths stay.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from pydantic import Field

from lamflow.config.moments import Vector
from lamflow.config.section import Section
from lamflow.config.seeds import child_seed
from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.engines.lammps.dump import lower_triangular
from lamflow.engines.lammps.template import lammps_seed
from lamflow.units import Kelvin


class LammpsMoments(Section):
    """Moments that precess about their magnetic forces, damped and kicked by a heat bath (`fix langevin/spin`)."""

    temperatures: list[Kelvin] = Field(default_factory=list)
    """Of the moments, where they are not as hot as the atoms; combined with every other condition."""
    damping: Annotated[float, Field(gt=0, le=10)] = 0.1
    """Of the precession, without unit. Real magnets have 0.01; more brings moments to their temperature sooner."""
    magnetic_field: Vector = (0.0, 0.0, 0.0)
    """In T."""
    magnetic_field_end: Vector | None = None
    """The field grows to this one during the run, in twenty steps."""


def motion(
    settings: LammpsMoments, condition: dict[str, float], steps: int, thermostat_time: float | None, seed: int
) -> tuple[str, str, str]:
    """The lines that make atoms and moments move, the line that runs, and the lines that end it.

    thermostat_time  of the atoms, ps; None for atoms without a thermostat
    """
    temperature = condition["temperature"]
    begin, end = np.asarray(settings.magnetic_field), settings.magnetic_field_end
    fixes, lines, changes = ["bath"], list[str](), list[str]()
    for axis, name in enumerate("xyz"):
        first, last = float(begin[axis]), float(begin[axis] if end is None else end[axis])
        if first or last:
            direction = " ".join("1" if other == axis else "0" for other in range(3))
            fix = f"fix             field{name} all precession/spin zeeman"
            lines.append(f"{fix} {first:g} {direction}")
            fixes.append(f"field{name}")
            if first != last:
                changes.append(f'"{fix} $({first:g}+({last - first:g})*step/{steps}) {direction}"')
    if len(fixes) == 1:  # nve/spin asks for one
        lines.append("fix             fieldz all precession/spin zeeman 0.0 0 0 1")
        fixes.append("fieldz")
    spins = condition.get("spin_temperature", temperature)
    lines.append(
        f"fix             bath all langevin/spin {spins} {settings.damping} {lammps_seed(child_seed(seed, 'spins'))}"
    )
    if thermostat_time is not None:
        lines.append(
            f"fix             heat all langevin {temperature} {temperature} {thermostat_time} {lammps_seed(seed)}"
        )
        fixes.append("heat")
    lines.append("fix             move all nve/spin lattice moving")
    ramp = " ".join(["", "every", str(max(1, steps // 20)), *changes]) if changes else ""
    return (
        "\n".join(lines),
        f"run             {steps}{ramp}",
        "\n".join(f"unfix           {fix}" for fix in ("move", *fixes)),
    )


def moments_to_rest(steps: int) -> tuple[str, str, str]:
    """Lines as `motion` gives them that turn moments until their magnetic forces are along them, by quasi-Newton steps;
    atoms stand still (A. V. Ivanov et al., Comput. Phys. Commun. 260, 107749 (2021))."""
    style = "min_style       spin/lbfgs\nmin_modify      line spin_cubic discrete_factor 10.0"
    return style, f"minimize        0.0 1e-6 {steps} {10 * steps}", ""


def moment_lines(frame: Frame) -> str:
    """What gives the atoms of a process their moments, which are turned as the cell is."""
    if frame.spins is None:
        return ""
    rows = _directed(frame)
    set_lines = [f"set             atom {n} spin/atom {s:.12g} {x:.12g} {y:.12g} {z:.12g}" for n, (x, y, z, s) in rows]
    return "\n".join([*set_lines, "compute         moments all property/atom sp spx spy spz"])


def write_spin_data(path: Path, frame: Frame, elements: list[str]) -> None:
    """A data file of `atom_style spin` for templates; atoms are inside of the cell, which is turned to be lower
    triangular, and the moments with it."""
    lower, rotation = lower_triangular(frame.cell)
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = lower
    masses = [f"{place} {atomic_masses[atomic_numbers[element]]:.6f}" for place, element in enumerate(elements, 1)]
    atoms = [
        f"{number} {elements.index(symbol) + 1} {' '.join(f'{value:.15g}' for value in (*position, *moment))}"
        for (number, moment), symbol, position in zip(
            _directed(frame), frame.symbols, frame.positions @ rotation, strict=True
        )
    ]
    head = [
        "moments", "", f"{frame.natoms} atoms", f"{len(elements)} atom types", f"0.0 {lx:.15g} xlo xhi",
        f"0.0 {ly:.15g} ylo yhi", f"0.0 {lz:.15g} zlo zhi", f"{xy:.15g} {xz:.15g} {yz:.15g} xy xz yz",
    ]  # fmt: skip
    text = [*head, "", "Masses", "", *masses, "", "Atoms # spin", "", *atoms]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


def _directed(frame: Frame) -> list[tuple[int, Floats]]:
    """Number of each atom, and direction and length (4,) of its moment in the turned cell."""
    spins = np.zeros((frame.natoms, 3)) if frame.spins is None else frame.spins
    turned = spins @ lower_triangular(frame.cell)[1]
    lengths = np.linalg.norm(turned, axis=1, keepdims=True)
    directions = np.where(lengths > 0, turned / np.where(lengths > 0, lengths, 1.0), [0.0, 0.0, 1.0])
    return list(enumerate(np.concatenate([directions, lengths], axis=1), 1))
