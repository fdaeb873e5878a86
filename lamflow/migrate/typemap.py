"""Type maps: chemical symbols, masses, and the elements of a whole periodic table that a study is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ase.data import atomic_masses, atomic_numbers

from lamflow.migrate.keys import Keys, Notes
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.structures import elements_of

WHOLE_TABLE = 50
"""A type map with so many elements stands for any element, not for those of the study."""
SAME_MASS, ISOTOPE = 5e-4, 0.05
"""Relative differences of a mass from the element's own: none, and one that a rounded number does not explain."""


def symbols(type_map: Sequence[Any], notes: Notes, key: str) -> list[str]:
    """Chemical symbols of a type map; names of other kinds, like those of force fields, become their element."""
    elements: list[str] = []
    for item in type_map:
        name = str(item)
        candidates = [name, name[:2].capitalize(), name[:1].upper()]
        if name[:2].upper() in ("HW", "OW"):  # of water
            candidates = [name[:1].upper()]
        symbol = next((each for each in candidates if each in atomic_numbers and each != "X"), None)
        if symbol != name:
            notes.add("changed", f"{key}: {name}", "elements", f"types are elements in lamflow: {symbol or 'left out'}")
        if symbol and symbol not in elements:
            elements.append(symbol)
    return elements


def check_masses(keys: Keys, elements: Sequence[str]) -> None:
    """lamflow takes every element's own mass; say where the file does not."""
    masses = keys.take("mass_map")
    if not isinstance(masses, list):
        if "mass_map" in keys:
            keys.notes.add("translated", keys.name("mass_map"), "nothing: every element has its own mass")
        return
    isotopes, rounded = [], []
    for element, mass in zip(elements, masses, strict=False):
        element_mass = float(atomic_masses[atomic_numbers[element]])
        difference = abs(float(mass) / element_mass - 1)
        if difference > ISOTOPE:
            isotopes.append(f"{element} {mass:g} u")
        elif difference > SAME_MASS:
            rounded.append(f"{element} {mass:g} u instead of {element_mass:g} u")
    name, own = keys.name("mass_map"), "every element has its own mass"
    if isotopes:
        keys.notes.add("lost", name, why=f"{own}; given were {', '.join(isotopes)}")
    if rounded:
        keys.notes.add("changed", name, "nothing", f"{own}; given were {', '.join(rounded)}")
    if not isotopes and not rounded:
        keys.notes.add("translated", name, f"nothing: {own}")


def narrowed(elements: list[str], named: Iterable[str], notes: Notes, who: str) -> list[str]:
    """The elements of a type map that `who` names, where it does not name all; all of them where it names none."""
    known = set(named)
    kept = [element for element in elements if element in known]
    if not kept or len(kept) == len(elements):
        return elements
    left_out = [element for element in elements if element not in known]
    shown = ", ".join(left_out) if len(left_out) <= 5 else f"{len(left_out)} elements"
    notes.add("changed", "(type map)", "elements", f"those that {who}; left out: {shown}")
    return kept


def of_study(
    keys: Keys, elements: list[str], label: Spec, structures: Sequence[Spec], data: Sequence[str], paths: Paths
) -> list[str]:
    """The elements of a type map that a study is about.

    Those that the label engine has potentials for and that structures are searched of; of a whole periodic table,
    where none are named, those of the structures and data that are here.
    """
    notes = keys.notes
    potentials = label.get("pseudopotentials") or label.get("potcar_names") or label.get("basis") or {}
    searched = _searched(keys.raw)
    elements = narrowed(
        elements, {*potentials, *searched} if potentials else (), notes, "the label engine has potentials for"
    )
    if len(elements) < WHOLE_TABLE:
        return elements
    present = (
        searched
        | elements_of(structures, paths)
        | {element for path in data for element in _elements_below(path, paths)}
    )
    elements = narrowed(elements, present, notes, "structures and data have")
    for key in ("pseudopotentials", "potcar_names", "basis", "potentials", "orbitals"):
        if key in label:
            label[key] = {element: value for element, value in label[key].items() if element in elements}
    return elements


def _searched(raw: Any) -> set[str]:
    """Elements that a search by CALYPSO names."""
    if isinstance(raw, list):
        return {element for item in raw for element in _searched(item)}
    if not isinstance(raw, dict):
        return set()
    elements: set[str] = set()
    for key, value in raw.items():
        if key in ("name_of_atoms", "NameOfAtoms"):
            slots = value if isinstance(value, list) else [value]
            elements |= {str(atom) for slot in slots for atom in (slot if isinstance(slot, list) else [slot])}
        else:
            elements |= _searched(value)
    return elements


def _elements_below(path: str, paths: Paths) -> set[str]:
    """Elements of the deepmd/npy data in a folder that has them, by the types that occur."""
    present: set[str] = set()
    for file in (paths.target / path).rglob("type_map.raw"):
        names, types = file.read_text(encoding="utf-8").split(), file.with_name("type.raw")
        if not list(file.parent.glob("set.*/real_atom_types.npy")) and types.is_file():
            used = {int(word) for word in types.read_text(encoding="utf-8").split()}
            names = [name for number, name in enumerate(names) if number in used]
        present |= set(names)
    return present


def without_elements(structures: Sequence[Spec], elements: Sequence[str]) -> None:
    """Take the elements that a study is not about out of random alloys, whose fractions then add up to 1 again."""
    for spec in structures:
        kept = {symbol: value for symbol, value in spec.get("composition", {}).items() if symbol in elements}
        if "composition" in spec and kept:
            total = sum(kept.values())
            spec["composition"] = {symbol: value / total for symbol, value in kept.items()}
