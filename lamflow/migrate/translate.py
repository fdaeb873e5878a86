"""What the converters share: type maps, commands, held-out data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lamflow.migrate.keys import Keys, Notes
from lamflow.migrate.paths import Paths, Spec

TENTH: Spec = {"fraction": 0.1}
"""Held-out data of which nothing is said: a tenth of the start data."""
ENSEMBLES = {
    "npt-i": "npt",
    "npt-iso": "npt",
    "npt-a": "npt-aniso",
    "npt-aniso": "npt-aniso",
    "npt-t": "npt-tri",
    "npt-tri": "npt-tri",
}


def listed(value: Any) -> list[Any]:
    """A list, also of what is one thing or none."""
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def one_of_several(value: Any, notes: Notes, key: str, to: str) -> float | None:
    """A number that may be given for each system, as a list or a mapping: the smallest of them."""
    several = list(value.values()) if isinstance(value, dict) else listed(value)
    numbers = [float(item) for item in several if item is not None]
    if not numbers:
        return None
    if len(set(numbers)) > 1:
        text = f"one number holds for all systems; the smallest of {sorted(set(numbers))} was taken"
        notes.add("changed", key, to, text)
    else:
        notes.add("translated", key, to)
    return min(numbers)


def data_files(keys: Keys, key: str, items: Sequence[Any], paths: Paths, prefix: Any = None) -> list[str]:
    """Paths of labeled data. An HDF5 file is named once, whatever groups of it are: all of them are read."""
    files: list[str] = []
    for item in items:
        name, _, group = str(item).partition("#")
        if group:
            why = "all systems in this file are read, not those groups alone that are named"
            keys.notes.add("changed", f"{keys.name(key)}: {name}", "start.data", why)
        files += [path for path in paths.files(prefix, name) if path not in files or not group]
    return files


def branch(arguments: Any) -> str | None:
    """The head that DeePMD-kit's arguments of fine-tuning name."""
    match = re.search(r"(?:--model-branch[\s=]+|(?<!\S)-m\s+)(\S+)", str(arguments or ""))
    return match[1] if match else None


def learns_electronic_temperature(keys: Keys) -> bool:
    """Models learn an electronic temperature: of the frame (1) there as here, or of each atom (2)."""
    kind = int(keys.take("use_ele_temp", default=0))
    name, to = keys.name("use_ele_temp"), "train.electronic_temperature"
    if kind == 1:
        keys.notes.add("translated", f"{name} = 1", to)
    elif kind:
        why = "a parameter of each atom (aparam) there, one of the whole frame (fparam) here; data need fparam.npy"
        keys.notes.add("changed", f"{name} = {kind}", to, why)
    return bool(kind)


def heldout(structures: list[Spec], notes: Notes, data: Sequence[str]) -> Spec:
    """Held-out data, which these programs do not have: whole files where there are several, new labels otherwise."""
    if len(data) > 1:
        notes.add("changed", "(validation)", "heldout", "models are judged on a tenth of the start data")
        return dict(TENTH)
    if structures:
        first = next((item for item in structures if "files" in item or "crystal" in item), structures[0])
        made = {key: value for key, value in first.items() if key in COPIED}
        structures.append({"name": "heldout", **made, "copies": 10, "strain": 0.03, "rattle": 0.05})
        notes.add(
            "changed",
            "(validation)",
            "heldout",
            "ten copies or more of the first structures are rattled, labeled first "
            "and never trained on, for models are judged before they explore",
        )
        return {"label": ["heldout"]}
    notes.add("changed", "(validation)", "heldout", "the start data are one file: split it, or give heldout.data")
    return dict(TENTH)


def pressed(keys: Keys, name: str) -> Spec:
    """The ensemble of a name, and its pressures in bar."""
    made: Spec = {"ensemble": ENSEMBLES.get(name, name)}
    if made["ensemble"] not in ("nve", "nvt", *ENSEMBLES.values()):
        made["ensemble"] = "npt" if name.startswith("np") else "nvt"
        why = f"there is no ensemble {name!r}; {made['ensemble']} was put in"
        keys.notes.add("changed", keys.name("ensemble"), "stages: ensemble", why)
    pressures = [float(item) for item in listed(keys.take("press", "Ps"))]
    if made["ensemble"].startswith("npt"):
        made["pressures"] = pressures or [0.0]
        keys.notes.add("translated", keys.name("press"), "stages: pressures")
    elif pressures:
        keys.notes.add("lost", keys.name("press"), why=f"pressures have no meaning in {name}")
    return made


COPIED = ("files", "format", "crystal", "slab", "supercell", "composition")
"""What held-out structures have in common with the first ones."""


def is_true(value: Any) -> bool:
    """True as Fortran and these programs write it, also as a text."""
    return str(value).strip(".").upper().startswith("T")


def number(value: Any) -> float | int | None:
    """A number, also of a text; None for what is none."""
    if isinstance(value, int):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
