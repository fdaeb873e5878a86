"""Start structures of other programs: formats, files without chemical symbols, and how many of them there are."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase.io import write

from lamflow.data.io import read_structures
from lamflow.errors import InputError
from lamflow.migrate.keys import Notes
from lamflow.migrate.paths import Paths, Spec

FORMATS = {"vasp/poscar": "vasp", "poscar": "vasp", "POSCAR": "vasp", "vasp/contcar": "vasp", "contcar": "vasp"}
"""dpdata's names of formats that ASE knows as well."""
BY_NUMBER = ("lammps/lmp", "lmp", "lammps/dump", "dump")
"""Formats whose files name types by number; the type map names them."""


def with_format(spec: Spec, format: Any, paths: Paths, notes: Notes) -> Spec:
    """A structure set with its format. Files that name types by number are written anew with chemical symbols."""
    name = str(format or "auto")
    if name in BY_NUMBER:
        return _named(spec, name, paths, notes)
    return spec if name in ("auto", "None") else {**spec, "format": FORMATS.get(name, name)}


def _named(spec: Spec, format: str, paths: Paths, notes: Notes) -> Spec:
    images = []
    for file in spec["files"]:
        try:
            images += _by_type_map(paths.target / file, format, paths.elements)
        except InputError as error:
            why = (
                f"a file of this format names types by number, and the type map {' '.join(paths.elements)} could not "
                f"be put in: {error}; write it as extxyz"
            )
            notes.add("changed", f"{spec['name']}: {file}", "structures: format", why)
            return {**spec, "format": format}
    text = io.StringIO()
    write(text, images, format="extxyz")
    target = f"{spec['name']}.extxyz"
    paths.written[target] = text.getvalue()
    why = f"types became elements by the type map; written to {target}"
    notes.add("changed", f"{spec['name']}: {len(spec['files'])} files of {format}", "structures: files", why)
    return {**spec, "files": [target]}


def isolated(spec: Spec, paths: Paths, notes: Notes, key: str) -> Spec:
    """The set without cells, written anew as extxyz; as it is, with a note, where its files are not here."""
    images: list[Any] = []
    try:
        for file in spec["files"]:
            known = paths.written.get(str(file))
            frames = [] if known else read_structures(paths.target / file, spec.get("format"))
            images += read_text(known) if known else [frame.to_ase() for frame in frames]
    except InputError:
        notes.add("lost", key, why="the files are not here: give files without a cell, in extxyz for example")
        return spec
    for atoms in images:
        atoms.set_pbc(False)
        atoms.set_cell(None)
    text = io.StringIO()
    write(text, images, format="extxyz")
    target = f"{spec['name']}.extxyz"
    paths.written[target] = text.getvalue()
    notes.add("changed", key, "structures: files", f"the structures without their cells were written to {target}")
    return {**{name: value for name, value in spec.items() if name != "format"}, "files": [target]}


def _by_type_map(path: Path, format: str, elements: Sequence[str]) -> list[Any]:
    """Structures whose types are numbers in a type map, as ASE's atoms. Raises InputError."""
    import dpdata

    if not path.is_file():
        raise InputError("it is not here")
    try:
        system = dpdata.System(str(path), fmt=format, type_map=list(elements))
        return list(system.to("ase/structure"))
    except Exception as error:  # dpdata raises anything
        raise InputError(f"{type(error).__name__}: {error}") from error


def count(spec: Spec, paths: Paths) -> int | None:
    """Structures of a set; None where its files are not here, or cannot be read."""
    copies = int(spec.get("copies", 1)) * len(spec.get("scale", [1.0]))
    if "files" not in spec:
        return copies
    total = 0
    for file in spec["files"]:
        path = paths.target / file
        if str(file) in paths.written:
            total += len(read_text(paths.written[file]))
            continue
        if not path.exists():
            return None
        try:
            total += 1 if spec.get("format") == "vasp" else len(read_structures(path, spec.get("format")))
        except InputError:
            return None
    return total * copies


def read_text(text: str) -> list[Any]:
    """Structures of an extxyz text."""
    from ase.io import read

    images: Any = read(io.StringIO(text), index=":", format="extxyz")
    return list(images)


def elements_of(specs: Sequence[Spec], paths: Paths) -> set[str]:
    """Elements of the structure sets whose files are here, and of crystals and compositions."""
    elements: set[str] = set()
    for spec in specs:
        elements |= set(spec.get("composition", {}))
        for file in spec.get("files", []):
            try:
                frames = read_structures(paths.target / file, spec.get("format"))
            except InputError:
                continue
            elements |= {symbol for frame in frames for symbol in frame.to_ase().get_chemical_symbols()}
    return elements


def starts(spec: Spec, paths: Paths, notes: Notes, key: str) -> int | None:
    """How many structures a set has, all of which are explored there; None with a note where nobody can tell."""
    number = count(spec, paths)
    if number is None:
        why = "every structure is explored there; these files are not here to be counted: give starts"
        notes.add("changed", key, "stages: starts", why)
    return number
