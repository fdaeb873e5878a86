"""all_result.json: results as APEX writes them, for what reads its results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ase.cell import Cell

from lamflow.data.properties import PropertyResult

NAN = "nan"
"""What APEX's reporter reads as a number that is none; JSON has no such number."""
NAMES = {"dynamics": "finite_t_latt", "thermal-elastic": "finite_t_elastic"}
"""What APEX calls properties that it calls otherwise."""
SYSTEMS = ((2, "triclinic"), (15, "monoclinic"), (74, "orthorhombic"), (142, "tetragonal"), (167, "trigonal"),
           (194, "hexagonal"), (230, "cubic"))  # fmt: skip
"""Number of the last space group of each crystal system."""


def apex_document(results: Sequence[PropertyResult], potential: str) -> dict[str, Any]:
    """Results of one potential as an all_result.json, in APEX's units.

    These are eos, elastic, surface, vacancy, gamma, and lattices and elastic constants at temperatures.

    Energies per atom of slabs and supercells, which lamflow does not keep, are NAN.
    """
    document: dict[str, Any] = {"work_path": ".", "archive_key": None}
    for result in results:
        if result.potential != potential or result.failed:
            continue
        entry = document.setdefault(f"confs/{result.structure}", {})
        values = {(value.name, value.where): value.value for value in result.values}
        found = re.fullmatch(r"(.+?)(?:-(\d+))?", result.property)
        kind, number = (found[1], found[2]) if found else (result.property, None)
        if result.property == "relaxation":
            entry["relaxation"] = {"parameter": {}, "structure_info": _symmetry(result.notes),
                                   "result": _relaxed(values), "energy_per_atom": values["E", ""]}  # fmt: skip
            continue
        made = _written(kind, result, values, entry.get("relaxation", {}).get("energy_per_atom"))
        if made is not None:
            suffix = int(number or 1) - 1
            name = NAMES.get(kind, kind)
            entry[f"{name}_{suffix:02d}"] = {"parameter": {"type": name}, "result": made}
    return document


def _written(
    kind: str, result: PropertyResult, values: Mapping[tuple[str, str], float], bulk: float | None
) -> dict[str, Any] | None:
    """A property's result in APEX's form; None for one that APEX has not, or has otherwise."""
    curves = {curve.name: curve for curve in result.curves}
    if kind == "eos" and "energy" in curves:
        return {str(v): e for v, e in zip(curves["energy"].x, curves["energy"].y, strict=True)}
    if kind == "elastic":
        return {
            "elastic_tensor": result.tables["stiffness (GPa)"], "B": values.get(("B", "voigt")),
            "G": values.get(("G", "voigt")), "E": values.get(("E", "hill")), "u": values.get(("poisson", "hill")),
        }  # fmt: skip
    if kind == "thermal-elastic":
        return {"temperatures": {t: _warm_elastic(result, values, where) for t, where in _temperatures(values)}}
    if kind == "dynamics":
        found = {t: [*(values.get((n, w)) for n in "abc"), float(t)] for t, w in _temperatures(values)}
        return {t: own for t, own in found.items() if None not in own} or None
    if kind == "surface":
        faces = [(where, value) for (name, where), value in values.items() if name == "gamma"]
        return {f"[{_face(where)}]_task.{n:06d}": [value, NAN, bulk] for n, (where, value) in enumerate(faces)}
    if kind == "vacancy":
        sites = [value for (name, _), value in values.items() if name == "E_f"]
        return {f"[1, 1, 1]-task.{n:06d}": [value, NAN, bulk] for n, value in enumerate(sites)}
    if kind == "gamma" and "gamma" in curves:
        curve, length = curves["gamma"], max(curves["gamma"].x) or 1.0
        return {str(x / length): [x, y, NAN, bulk] for x, y in zip(curve.x, curve.y, strict=True)}
    return None


def _temperatures(values: Mapping[tuple[str, str], float]) -> list[tuple[str, str]]:
    """Each temperature in K as APEX writes it, and as places of values have it."""
    wheres = dict.fromkeys(where for _, where in values if where.endswith(" K"))
    return [(where.removesuffix(" K"), where) for where in wheres]


def _warm_elastic(result: PropertyResult, values: Mapping[tuple[str, str], float], where: str) -> dict[str, Any]:
    """Elastic constants at one temperature."""
    return {
        "elastic_tensor": result.tables[f"{where}: stiffness (GPa)"], "B": values.get(("B", f"{where}, voigt")),
        "G": values.get(("G", f"{where}, voigt")), "E": values.get(("E", f"{where}, hill")),
        "u": values.get(("poisson", f"{where}, hill")),
    }  # fmt: skip


def _relaxed(values: Mapping[tuple[str, str], float]) -> dict[str, Any] | None:
    """Energy and conventional cell as dpdata writes them, without its atoms; None for an isolated structure."""
    if ("a", "") not in values:
        return None
    cell = Cell.fromcellpar([values[name, ""] for name in ("a", "b", "c", "alpha", "beta", "gamma")])
    natoms = round(cell.volume / values["V", ""])
    return {"data": {"energies": {"data": [values["E", ""] * natoms]}, "cells": {"data": [cell.tolist()]}}}


def _symmetry(notes: Sequence[str]) -> dict[str, Any]:
    """The space group that the first note says, under APEX's names."""
    found = re.match(r"space group (.+) \((\d+)\)", notes[0] if notes else "")
    number = int(found[2]) if found else None
    system = next((name for last, name in SYSTEMS if number is not None and number <= last), "")
    return {"space_group_symbol": found[1] if found else "", "space_group_number": number, "point_group_symbol": "",
            "crystal_system": system, "lattice_type": system}  # fmt: skip


def _face(where: str) -> str:
    inside = where[1 : where.index(")")]
    return ", ".join(inside.split() if " " in inside else list(inside))
