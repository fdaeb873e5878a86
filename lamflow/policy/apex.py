"""What APEX's all_result.json says, as references."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lamflow.config.properties import ReferenceValue
from lamflow.science.properties.eos import fitted

SOURCE = "APEX"
NAMES = {"finite_t_latt": "dynamics", "finite_t_elastic": "thermal-elastic"}
"""What lamflow calls properties that it calls otherwise."""


def is_apex(document: Any) -> bool:
    """It is an all_result.json."""
    return isinstance(document, dict) and any(
        isinstance(entry, dict) and "relaxation" in entry for entry in document.values()
    )


def apex_values(document: Mapping[str, Any]) -> list[ReferenceValue]:
    """Values of an all_result.json under lamflow's names; what has no counterpart is left out.

    A structure is called by the last folder of its path: `confs/std-fcc` is `std-fcc`. An equation of state, which APEX
    leaves as points, is fitted.
    """
    values: list[ReferenceValue] = []
    for path, entry in document.items():
        if not isinstance(entry, dict) or "relaxation" not in entry:
            continue
        structure = re.sub(r"[^a-z0-9]+", "-", str(path).rstrip("/").rsplit("/", 1)[-1].lower()).strip("-")
        for title, content in entry.items():
            kind = title.rsplit("_", 1)[0] if title != "relaxation" else title
            result = content.get("result") if isinstance(content, dict) else None
            result = json.loads(result) if isinstance(result, str) else result
            if not isinstance(result, dict):
                continue
            for name, where, value, unit in _READERS.get(kind, lambda _: iter(()))(result):
                about = {"structure": structure, "property": NAMES.get(kind, kind), "source": SOURCE}
                values.append(ReferenceValue(**about, name=name, where=where, value=value, unit=unit))
    return values


Found = Iterator[tuple[str, str, float, str]]


def _relaxation(result: Mapping[str, Any]) -> Found:
    data = result.get("data", result)
    if "cells" in data and "atom_types" not in data:  # it was written by lamflow, which says the same elsewhere
        return
    natoms = len(_array(data["atom_types"]))
    yield "E", "", float(np.ravel(_array(data["energies"]))[-1]) / natoms, "eV/atom"
    yield "V", "", abs(float(np.linalg.det(np.reshape(_array(data["cells"]), (-1, 3, 3))[-1]))) / natoms, "Å³/atom"


def _eos(result: Mapping[str, Any]) -> Found:
    points = sorted((float(volume), float(energy)) for volume, energy in result.items())
    if len(points) >= 6:
        volumes, energies = np.array(points).T
        yield from ((name, "", value, unit) for name, value, unit in fitted(volumes, energies))


def _elastic(result: Mapping[str, Any]) -> Found:
    tensor = np.reshape(_array(result["elastic_tensor"]), (6, 6))
    for row in range(6):
        for column in range(row, 6):
            if abs(tensor[row, column]) > 1e-3:
                yield f"C{row + 1}{column + 1}", "", float(tensor[row, column]), "GPa"
    yield "B", "voigt", float(result["B"]), "GPa"
    yield "G", "voigt", float(result["G"]), "GPa"


def _surface(result: Mapping[str, Any]) -> Found:
    seen: dict[str, int] = {}
    for key, numbers in result.items():
        face = [int(n) for n in re.findall(r"-?\d+", str(key).split("_")[0])]
        plain = " ".join(map(str, face)) if any(n < 0 for n in face) else "".join(map(str, face))
        seen[plain] = seen.get(plain, 0) + 1
        where = f"({plain})" + (f" termination {seen[plain]}" if seen[plain] > 1 else "")
        yield "gamma", where, float(numbers[0]), "J/m²"


def _gamma(result: Mapping[str, Any]) -> Found:
    energies = [float(numbers[1]) for numbers in result.values()]
    yield "gamma_max", "", max(energies), "J/m²"
    yield "gamma_end", "", energies[-1], "J/m²"


def _warm_lattice(result: Mapping[str, Any]) -> Found:
    for numbers in result.values():
        *lengths, temperature = (float(number) for number in numbers[:4])
        for name, length in zip("abc", lengths, strict=True):
            yield name, f"{temperature:g} K", length, "Å"


def _warm_elastic(result: Mapping[str, Any]) -> Found:
    for temperature, content in result["temperatures"].items():
        where = f"{float(temperature):g} K"
        for name, place, value, unit in _elastic(content):
            yield name, f"{where}, {place}" if place else where, value, unit


_READERS = {
    "finite_t_latt": _warm_lattice,
    "finite_t_elastic": _warm_elastic,
    "relaxation": _relaxation,
    "eos": _eos,
    "elastic": _elastic,
    "surface": _surface,
    "gamma": _gamma,
}


def _array(value: Any) -> Any:
    """Numbers as monty writes an array, or as they are."""
    return np.array(value["data"] if isinstance(value, dict) else value)
