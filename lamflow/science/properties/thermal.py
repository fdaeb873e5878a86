"""Isothermal elastic constants at temperatures: mean stresses of crystals that move under strains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lamflow.data.frames import Floats
from lamflow.data.properties import Reduced, Value
from lamflow.science.properties.cells import primitive, require_crystal, symmetry, to_standard
from lamflow.science.properties.elastic import (
    described,
    fitted_tensor,
    invariant_tensors,
    point_group,
    rotated,
    strain_directions,
    voigt,
)
from lamflow.science.properties.motion import moving_supercell
from lamflow.science.properties.sample import Answer, Crystal, Sample
from lamflow.science.properties.stressed import series_name
from lamflow.units import BAR_IN_GPA

RESIDUAL = 0.5
"""GPa of anisotropic stress that is left in the unstrained crystal, beyond which it is worth a note."""


def frames(
    crystal: Crystal, *, temperatures: Sequence[float], repeats: int, size: float, time: float, timestep: float,
    **about: Any,
) -> list[Sample]:  # fmt: skip
    """A supercell for every temperature and repeat, to be moved for `time` ps under each strain that symmetry asks for.

    about  strain, pressure in bar, and equilibration, a fraction of a run; raises ValueError for what is no crystal
    """
    require_crystal(crystal.frame)
    start, steps = moving_supercell(crystal, size), max(1, round(time / timestep))
    directions = strain_directions(invariant_tensors(point_group(primitive(crystal.frame))))
    about |= {"ensemble": "langevin", "timestep": timestep, "steps": steps, "warming": steps, "directions": directions}
    return [
        Sample(start, "stressed", {**about, "temperature": temperature, "repeat": repeat})
        for temperature in temperatures
        for repeat in range(repeats)
    ]


def reduce(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Cij in the axes of the conventional cell and moduli at each temperature; errors by the jackknife over blocks.

    Raises ValueError when no run has come to its end.
    """
    if all(answer.failure for answer in answers):
        raise ValueError(answers[0].failure or "nothing has moved")
    values: list[Value] = []
    tables: dict[str, list[list[float]]] = {}
    notes = [f"{_where(answer)}: {answer.failure}" for answer in answers if answer.failure]
    bulk = primitive(crystal.frame)
    basis, turn = invariant_tensors(point_group(bulk)), to_standard(symmetry(bulk))
    for where in dict.fromkeys(_where(answer) for answer in answers):
        good = [answer for answer in answers if _where(answer) == where and not answer.failure]
        if not good:
            continue
        blocks = [block for answer in good for block in _slopes(answer)]
        found = described(_stiffness(basis, turn, blocks))
        parts = [described(_stiffness(basis, turn, blocks[:n] + blocks[n + 1 :])) for n in range(len(blocks))]
        values += [_measured(value, parts, where) for value in found.values]
        values += _surroundings(good, where)
        tables |= {f"{where}: {name}": table for name, table in found.tables.items()}
        notes += [f"{where}: {note}" for note in (*found.notes, *_stressed(good))]
    return Reduced(values=values, tables=tables, notes=notes)


def _where(answer: Answer) -> str:
    return f"{float(answer.about['temperature']):g} K"


def _slopes(answer: Answer) -> list[dict[int, Floats]]:
    """Of each block, derivatives (6,) of the stress along each strain, GPa."""
    about: Mapping[str, Any] = answer.about
    differences = {
        int(direction): np.subtract(
            *(np.reshape(answer.series[series_name(int(direction), sign)], (-1, 6)) for sign in (1, -1))
        )
        / (2 * float(about["strain"]))
        for direction in about["directions"]
    }
    return [
        {direction: table[block] for direction, table in differences.items()}
        for block in range(len(next(iter(differences.values()))))
    ]


def _stiffness(basis: Floats, turn: Floats, blocks: Sequence[Mapping[int, Floats]]) -> Floats:
    """6 × 6, GPa, in the axes of the conventional cell, from the mean of blocks."""
    mean = {direction: np.mean([block[direction] for block in blocks], axis=0) for direction in blocks[0]}
    return voigt(rotated(fitted_tensor(basis, mean), turn))


def _measured(value: Value, parts: Sequence[Reduced], where: str) -> Value:
    """A value with the jackknife's standard error, from those of all blocks but one."""
    others = [v.value for part in parts for v in part.values if (v.name, v.where) == (value.name, value.where)]
    count = len(others)
    error = float(np.sqrt((count - 1) * np.var(others))) if count == len(parts) else None
    place = f"{where}, {value.where}" if value.where else where
    return value.model_copy(update={"where": place, "uncertainty": error})


def _surroundings(runs: Sequence[Answer], where: str) -> list[Value]:
    """The volume at which constants are those, and the stress that is left in the unstrained crystal."""
    volumes = [answer.series["volume"][0] for answer in runs]
    spread = float(np.std(volumes, ddof=1) / np.sqrt(len(volumes))) if len(volumes) > 1 else None
    return [
        Value(name="V", value=float(np.mean(volumes)), unit="Å³/atom", where=where, uncertainty=spread),
        Value(name="residual_stress", value=_residual(runs), unit="GPa", where=where, note="largest component"),
    ]


def _residual(runs: Sequence[Answer]) -> float:
    return float(np.abs(np.mean([np.reshape(a.series["none"], (-1, 6)).mean(axis=0) for a in runs], axis=0)).max())


def _stressed(runs: Sequence[Answer]) -> list[str]:
    residual = _residual(runs)
    pressure = float(runs[0].about["pressure"]) * BAR_IN_GPA
    if abs(residual - abs(pressure)) < RESIDUAL:
        return []
    return [f"a stress of {residual:.2f} GPa is left: runs are too short, or axes differ that were scaled alike"]
