"""Slips and cuts along lattice planes: γ lines, γ surfaces, stacking faults, and crystals that are pulled apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.data.properties import Curve, Reduced, Value
from lamflow.science.properties.cells import (
    PlaneCell,
    conventional,
    fractional,
    plane_cell,
    primitive,
    repeated,
    shortest_translation,
    symmetry,
    wrapped,
)
from lamflow.science.properties.sample import Answer, Crystal, Sample
from lamflow.units import EV_PER_A3_IN_GPA

EV_PER_A2_IN_J_PER_M2 = 0.1 * EV_PER_A3_IN_GPA
LAST_TRICLINIC = 2
"""Number of the last space group without any axis."""
SAME_PLANE = 0.01
"""Å between atoms that lie in one plane."""
THINNEST = 7.0
"""Å; a fault in a thinner crystal feels its own image."""


def line_frames(
    crystal: Crystal, *, miller: Sequence[int], direction: Sequence[int], thickness: float, points: int, length: float,
    cut: int = 1,
) -> list[Sample]:  # fmt: skip
    """Crystals of at least `thickness` Å with one fault each; atoms relax normal to it.

    The third vector of a periodic stack of planes is tilted by the slip, so that there is one fault a cell and no
    surface. Raises ValueError for a direction outside of the plane, and for crystals that are not cubic or hexagonal
    enough for three indices to name a plane in common axes.
    """
    bulk, plane = _plane(crystal, miller)
    if sum(m * d for m, d in zip(miller, direction, strict=True)) != 0:
        raise ValueError(f"the direction {list(direction)} does not lie in the plane {list(miller)}")
    slip = shortest_translation(bulk, np.asarray(direction) @ conventional(crystal.frame).cell) @ plane.turn
    stack, where = _stack(plane, thickness, cut)
    made = []
    for fraction in np.linspace(0, length, points):
        cell = stack.cell.copy()
        cell[2] += float(fraction) * slip
        about = {
            "fraction": round(float(fraction), 9),
            "slip": float(fraction) * float(np.linalg.norm(slip)),
            "cut": where,
        }
        made += [Sample(replace(stack, cell=cell), relax, about) for relax in ("none", "normal")]
    return made


def reduce_line(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Largest energy of the line, that of its end, minima between, and its whole course, as cut and relaxed, J/m²."""
    del crystal
    notes = [f"slips {answers[0].about['cut']}"]
    values: list[Value] = []
    curves = []
    for relax, suffix in (("normal", ""), ("none", "_unrelaxed")):
        own = [a for a in answers if a.sample.relax == relax]
        area = float(np.linalg.norm(np.cross(own[0].frame.cell[0], own[0].frame.cell[1])))
        energy = np.array([a.energy - own[0].energy for a in own]) / area * EV_PER_A2_IN_J_PER_M2
        fraction = [float(a.about["fraction"]) for a in own]
        curves.append(Curve(
            name=f"gamma{suffix}", x=[float(a.about["slip"]) for a in own], y=energy.tolist(), x_label="slip (Å)",
            y_label="energy (J/m²)",
        ))  # fmt: skip
        values.append(Value(name=f"gamma_max{suffix}", value=float(energy.max()), unit="J/m²",
                            note=f"at {fraction[int(energy.argmax())]:.3g} of the slip"))  # fmt: skip
        values.append(Value(name=f"gamma_end{suffix}", value=float(energy[-1]), unit="J/m²"))
        for index in range(1, len(energy) - 1):
            if energy[index] < energy[index - 1] and energy[index] < energy[index + 1]:
                values.append(
                    Value(name=f"gamma_min{suffix}", value=float(energy[index]), unit="J/m²",
                          where=f"{fraction[index]:.3g} of the slip")
                )  # fmt: skip
    return Reduced(values=values, curves=curves, notes=notes)


def surface_frames(
    crystal: Crystal, *, miller: Sequence[int], thickness: float, points: int, cut: int = 1
) -> list[Sample]:
    """Faults at a grid of `points` by `points` slips over the plane's cell; atoms relax normal to it."""
    _, plane = _plane(crystal, miller)
    stack, where = _stack(plane, thickness, cut)
    made = []
    for row in range(points):
        for column in range(points):
            cell = stack.cell.copy()
            cell[2] += (row * stack.cell[0] + column * stack.cell[1]) / points
            made.append(Sample(replace(stack, cell=cell), "normal", {"row": row, "column": column, "cut": where}))
    return made


def reduce_surface(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Largest energy and the whole grid in J/m²; rows go along the first vector of the plane's cell."""
    del crystal
    points = 1 + max(int(a.about["row"]) for a in answers)
    area = float(np.linalg.norm(np.cross(answers[0].frame.cell[0], answers[0].frame.cell[1])))
    grid = np.zeros((points, points))
    for answer in answers:
        place = int(answer.about["row"]), int(answer.about["column"])
        grid[place] = (answer.energy - answers[0].energy) / area * EV_PER_A2_IN_J_PER_M2
    first, second = answers[0].frame.cell[0], answers[0].frame.cell[1]
    angle = math.degrees(math.acos(first @ second / np.linalg.norm(first) / np.linalg.norm(second)))
    note = f"vectors of {np.linalg.norm(first):.4f} and {np.linalg.norm(second):.4f} Å at {angle:.1f}°"
    values = [Value(name="gamma_max", value=float(grid.max()), unit="J/m²")]
    notes = [f"slips {answers[0].about['cut']}", note]
    return Reduced(values=values, tables={"gamma (J/m²)": grid.tolist()}, notes=notes)


def decohesive_frames(
    crystal: Crystal, *, miller: Sequence[int], thickness: float, gap: float, points: int, cut: int = 1
) -> list[Sample]:
    """A stack of planes whose images are pulled apart rigidly, from 0 to `gap` Å."""
    _, plane = _plane(crystal, miller)
    stack, where = _stack(plane, thickness, cut)
    made = []
    for width in np.linspace(0, gap, points):
        cell = stack.cell.copy()
        cell[2, 2] += float(width)
        made.append(Sample(replace(stack, cell=cell), "none", {"gap": round(float(width), 9), "cut": where}))
    return made


def reduce_decohesive(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Work of separation, which is 2γ of the unrelaxed surface, γ, and the largest stress on the way."""
    del crystal
    area = float(np.linalg.norm(np.cross(answers[0].frame.cell[0], answers[0].frame.cell[1])))
    gaps = np.array([float(a.about["gap"]) for a in answers])
    energy = np.array([a.energy - answers[0].energy for a in answers]) / area * EV_PER_A2_IN_J_PER_M2
    pull = np.diff(energy) / np.diff(gaps) * 10  # 1 J/m² per Å is 10 GPa
    values = [
        Value(name="work_of_separation", value=float(energy[-1]), unit="J/m²", note="2γ, unrelaxed"),
        Value(name="gamma_unrelaxed", value=float(energy[-1] / 2), unit="J/m²"),
        Value(name="largest_stress", value=float(pull.max()), unit="GPa"),
    ]
    curve = Curve(name="decohesive", x=gaps.tolist(), y=energy.tolist(), x_label="gap (Å)", y_label="energy (J/m²)")
    slope = abs(energy[-1] - energy[-2])
    attract = [] if slope < 0.01 * abs(energy[-1]) else ["the halves still attract each other at the widest gap"]
    return Reduced(values=values, curves=[curve], notes=[f"parts {answers[0].about['cut']}", *attract])


def _plane(crystal: Crystal, miller: Sequence[int]) -> tuple[Frame, PlaneCell]:
    """The primitive cell, as spglib orients it, and its cell in the plane."""
    if not any(miller):
        raise ValueError("the plane (0 0 0) is none")
    if symmetry(crystal.frame).number <= LAST_TRICLINIC:
        raise ValueError("it is triclinic: its axes are a matter of choice, so three indices name no plane")
    normal: Floats = np.asarray(miller) @ np.linalg.inv(conventional(crystal.frame).cell).T
    bulk = primitive(crystal.frame)
    return bulk, plane_cell(bulk, normal)


def _gaps(frame: Frame) -> list[tuple[float, float]]:
    """Widths of the different gaps between planes of atoms normal to z, the widest first, and how far along the third
    vector the middle of each lies, as a fraction.

    Gaps of one width are different where the planes at their sides have other atoms.
    """
    order = np.argsort(fractional(frame)[:, 2], kind="stable")
    heights, numbers = fractional(frame)[order, 2] * frame.cell[2, 2], frame.numbers[order]
    steps = np.flatnonzero(np.diff(heights) > SAME_PLANE) + 1
    planes = [(float(part.mean()), tuple(sorted(kinds.tolist())))
              for part, kinds in zip(np.split(heights, steps), np.split(numbers, steps), strict=True)]  # fmt: skip
    found: dict[tuple[float, Any], tuple[float, float]] = {}
    for index, (height, kinds) in enumerate(planes):
        above, others = planes[(index + 1) % len(planes)]
        width = (above - height) % frame.cell[2, 2] or frame.cell[2, 2]
        key = -round(width / SAME_PLANE) * SAME_PLANE, tuple(sorted((kinds, others)))
        found.setdefault(key, (float(width), float((height + width / 2) / frame.cell[2, 2])))
    return [found[key] for key in sorted(found)]


def _stack(plane: PlaneCell, thickness: float, cut: int) -> tuple[Frame, str]:
    """Planes of at least `thickness` Å that end in a gap, and where that is in words.

    cut  which of the different gaps, the widest first, wherever the crystal's origin is

    Atoms keep their order along z. Raises ValueError for a stack that is too thin, and where there is no such gap.
    """
    gaps = _gaps(plane.frame)
    widths = ", ".join(f"{width:.3f}" for width, _ in gaps)
    if cut > len(gaps):
        raise ValueError(f"cut: there are {len(gaps)} different gaps between planes, of {widths} Å; {cut} is none")
    width, middle = gaps[cut - 1]
    others = f", of gaps of {widths} Å" if len(gaps) > 1 else ""
    moved = plane.frame.positions - middle * plane.frame.cell[2]
    plane = replace(plane, frame=wrapped(replace(plane.frame, positions=moved)))
    times = max(1, math.ceil(thickness / plane.spacing - 1e-6))
    if times * plane.spacing < THINNEST:
        raise ValueError(f"thickness: {times * plane.spacing:.1f} Å between two faults is less than {THINNEST:g} Å")
    stack = repeated(plane.frame, (1, 1, times))
    shift = np.round(stack.cell[2, :2] @ np.linalg.inv(stack.cell[:2, :2]))  # as upright as the lattice allows
    cell = stack.cell.copy()
    cell[2, :2] -= shift @ stack.cell[:2, :2]
    return replace(stack, cell=cell), f"where planes are {width:.3f} Å apart{others}"
