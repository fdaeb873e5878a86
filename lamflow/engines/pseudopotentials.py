"""Which element a file of a pseudopotential is of, by what it says itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ase.data import atomic_numbers, chemical_symbols

from lamflow.config.section import expand

UPF_HEADER = re.compile(r"<(?:\w+:)?pp_header\b.*?(?:/>|</(?:\w+:)?pp_header>)", re.DOTALL | re.IGNORECASE)
UPF_ELEMENT = (
    re.compile(r"\belement\s*=\s*[\"']\s*([A-Za-z]{1,2})\s*[\"']", re.IGNORECASE),  # version 2
    re.compile(r"<(?:\w+:)?element>\s*([A-Za-z]{1,2})\s*</", re.IGNORECASE),  # XML with a schema
    re.compile(r"^\s*([A-Za-z]{1,2})\s+Element\b", re.MULTILINE | re.IGNORECASE),  # version 1
)
ABINIT_CHARGE = re.compile(r"^\s*(\d+(?:\.\d*)?)\s+\d+(?:\.\d*)?\s+\d+.*\bzatom\b", re.MULTILINE)
"""Second line of ABINIT's formats, which pw.x reads as `.gth`."""
ORBITAL_ELEMENT = re.compile(r"^\s*Element\s+([A-Z][a-z]?)\s*$", re.MULTILINE)
"""Of ABACUS's numerical atomic orbitals."""
POTCAR_ELEMENT = (
    re.compile(r"^\s*VRHFIN\s*=\s*([A-Z][a-z]?)", re.MULTILINE),
    re.compile(r"^\s*TITEL\s*=\s*\S+\s+([A-Z][a-z]?)(?![a-z])", re.MULTILINE),
)


def upf_element(text: str) -> str | None:
    """The element that a UPF file of any version is of, or a file of ABINIT's; None where it does not say."""
    header = UPF_HEADER.search(text)
    for pattern in UPF_ELEMENT if header else ():
        stated = pattern.search(header[0]) if header else None
        if stated and stated[1].capitalize() in atomic_numbers:
            return stated[1].capitalize()
    charge = ABINIT_CHARGE.search(text[:2000])
    number = round(float(charge[1])) if charge else 0
    return chemical_symbols[number] if 0 < number < len(chemical_symbols) else None


def orbital_element(text: str) -> str | None:
    """The element that a file of numerical atomic orbitals of ABACUS is of; None where it does not say."""
    stated = ORBITAL_ELEMENT.search(text[:2000])
    return stated[1] if stated else None


def potcar_elements(text: str) -> list[str]:
    """The elements of the potentials in a POTCAR, one after the other; empty where it does not say."""
    for pattern in POTCAR_ELEMENT:
        elements = [element for element in pattern.findall(text) if element in atomic_numbers]
        if elements:
            return elements
    return []


def check_potcar(path: Path, text: str, element: str) -> None:
    """Raise ValueError when a POTCAR is of another element than `element`, or of several."""
    elements = potcar_elements(text)
    if len(elements) > 1:
        raise ValueError(f"{path} has {len(elements)} potentials ({', '.join(elements)}); give a file with one")
    if elements and elements[0] != element:
        raise ValueError(f"the POTCAR of {element} is of {elements[0]}, as its VRHFIN or TITEL says: {path}")


def check_pseudopotentials(files: Mapping[str, Path], elements: Iterable[str]) -> None:
    """Raise ValueError when the pseudopotential of one of `elements` says that it is of another element."""
    for element in elements:
        stated = upf_element(_text(files, element))
        if stated not in (None, element):
            raise ValueError(f"pseudopotentials.{element}: {files[element]} is of {stated}, as its header says")


def check_orbitals(files: Mapping[str, Path], elements: Iterable[str]) -> None:
    """Raise ValueError when the orbitals of one of `elements` say that they are of another element."""
    for element in elements:
        stated = orbital_element(_text(files, element))
        if stated not in (None, element):
            raise ValueError(f"orbitals.{element}: {files[element]} is of {stated}, as its header says")


def _text(files: Mapping[str, Path], element: str) -> str:
    path = expand(files[element]) if element in files else None
    return path.read_text(errors="replace", encoding="utf-8") if path is not None and path.is_file() else ""
