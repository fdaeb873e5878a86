"""What the converters share: type maps, commands, held-out data."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

from ase.data import atomic_masses, atomic_numbers

from lamflow.migrate.keys import Keys, Notes
from lamflow.migrate.place import Spec

FORMATS = {"vasp/poscar": "vasp", "poscar": "vasp", "POSCAR": "vasp", "vasp/contcar": "vasp"}
"""dpdata's names of formats that ASE knows as well."""
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


def symbols(given: Sequence[Any], notes: Notes, key: str) -> list[str]:
    """Chemical symbols of a type map; names of other kinds, like those of force fields, become their element."""
    found = []
    for item in given:
        name = str(item)
        candidates = [name, name[:2].capitalize(), name[:1].upper()]
        if name[:2].upper() in ("HW", "OW"):  # of water
            candidates = [name[:1].upper()]
        symbol = next((each for each in candidates if each in atomic_numbers and each != "X"), None)
        if symbol != name:
            notes.add("changed", f"{key}: {name}", "elements", f"types are elements in lamflow: {symbol or 'left out'}")
        if symbol and symbol not in found:
            found.append(symbol)
    return found


def check_masses(keys: Keys, elements: Sequence[str]) -> None:
    """lamflow takes every element's own mass; say where the file does not."""
    masses = keys.take("mass_map")
    if isinstance(masses, list):
        other = [
            f"{element} {mass:g} u"
            for element, mass in zip(elements, masses, strict=False)
            if abs(float(mass) / atomic_masses[atomic_numbers[element]] - 1) > 0.05
        ]
        if other:
            keys.notes.add(
                "lost", keys.name("mass_map"), why=f"every element has its own mass; given were {', '.join(other)}"
            )
        else:
            keys.notes.add("translated", keys.name("mass_map"), "nothing: every element has its own mass")


def command(text: Any) -> list[str]:
    """A command as lamflow starts it: a list, or a shell where the text needs one, which passes arguments on."""
    text = str(text).strip()
    text = re.sub(r"\s*2>&1|\s*[12]?>>?\s*\S+|\s*<\s*\S+|\s*\|\|.*$", "", text).strip()
    if re.search(r"[;&|`$<>]|\bsource\b|\bulimit\b", text):
        return ["bash", "-c", f'{text} "$@"', "bash"]
    words = shlex.split(text)
    return ["env", *words] if words and re.fullmatch(r"\w+=\S*", words[0]) else words


def lammps_command(text: Any) -> list[str]:
    """LAMMPS's command without the arguments that lamflow gives; empty for plain `lmp`, which lamflow finds."""
    words = command(text)
    if words[:1] == ["bash"]:
        return words
    kept: list[str] = []
    skip = 0
    for word in words:
        if skip:
            skip -= 1
        elif word in ("-i", "-in", "-log", "-screen"):
            skip = 1
        elif word in ("-v", "-var"):
            skip = 2
        else:
            kept.append(word)
    return [] if kept in (["lmp"], ["lmp_serial"], []) else kept


def heldout(structures: list[Spec], notes: Notes, data: Sequence[str]) -> Spec:
    """Held-out data, which these programs do not have: whole files where there are several, new labels otherwise."""
    if len(data) > 1:
        notes.add("changed", "(validation)", "heldout", "models are judged on a tenth of the files of the start data")
        return {"share": 0.1}
    if structures:
        first = next((item for item in structures if "files" in item or "crystal" in item), structures[0])
        made = {key: value for key, value in first.items() if key in ("files", "format", "crystal", "supercell")}
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
    return {"share": 0.1}


def pressed(own: Keys, name: str) -> Spec:
    """The ensemble of a name, and its pressures in bar."""
    made: Spec = {"ensemble": ENSEMBLES.get(name, name)}
    if made["ensemble"] not in ("nve", "nvt", *ENSEMBLES.values()):
        made["ensemble"] = "npt" if name.startswith("np") else "nvt"
        why = f"there is no ensemble {name!r}; {made['ensemble']} was put in"
        own.notes.add("changed", own.name("ensemble"), "stages: ensemble", why)
    pressures = [float(item) for item in listed(own.take("press", "Ps"))]
    if made["ensemble"].startswith("npt"):
        made["pressures"] = pressures or [0.0]
        own.notes.add("translated", own.name("press"), "stages: pressures")
    elif pressures:
        own.notes.add("lost", own.name("press"), why=f"pressures have no meaning in {name}")
    return made


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
