"""all_result.json: results as APEX writes them, for what reads its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lamflow.data.properties import PropertyResult


def apex_document(results: Sequence[PropertyResult], potential: str) -> dict[str, Any]:
    """Results of one potential as an all_result.json: eos, elastic, surface, vacancy and gamma, in APEX's units.

    Energies per atom of slabs and supercells, which lamflow does not keep, are null.
    """
    document: dict[str, Any] = {"work_path": ".", "archive_key": None}
    for result in results:
        if result.potential != potential or result.failed:
            continue
        entry = document.setdefault(f"confs/{result.structure}", {})
        values = {(value.name, value.where): value.value for value in result.values}
        kind, _, number = result.property.partition("-")
        if result.property == "relaxation":
            entry["relaxation"] = {"parameter": {}, "structure_info": result.notes, "result": None}
            entry["relaxation"]["energy_per_atom"] = values["E", ""]
            continue
        made = _written(kind, result, values, entry.get("relaxation", {}).get("energy_per_atom"))
        if made is not None:
            suffix = int(number or 1) - 1
            entry[f"{kind}_{suffix:02d}"] = {"parameter": {"type": kind}, "result": made}
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
    if kind == "surface":
        faces = [(where, value) for (name, where), value in values.items() if name == "gamma"]
        return {f"[{_face(where)}]_task.{n:06d}": [value, None, bulk] for n, (where, value) in enumerate(faces)}
    if kind == "vacancy":
        sites = [value for (name, _), value in values.items() if name == "E_f"]
        return {f"[1, 1, 1]-task.{n:06d}": [value, None, bulk] for n, value in enumerate(sites)}
    if kind == "gamma" and "gamma" in curves:
        curve, length = curves["gamma"], max(curves["gamma"].x) or 1.0
        return {str(x / length): [x, y, None, bulk] for x, y in zip(curve.x, curve.y, strict=True)}
    return None


def _face(where: str) -> str:
    inside = where[1 : where.index(")")]
    return ", ".join(inside.split() if " " in inside else list(inside))
