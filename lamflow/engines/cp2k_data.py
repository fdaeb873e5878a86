"""Basis sets, potentials and kinds of CP2K: whether they are of the elements that they are given for."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers

from lamflow.config.section import expand


def check_kinds(sections: Mapping[str, Any]) -> None:
    """Raise ValueError for a KIND of the user's input that is another element than its name."""
    subsystem: Any = sections
    for name in ("FORCE_EVAL", "SUBSYS"):
        subsystem = subsystem.get(name) if isinstance(subsystem, Mapping) else None
    kinds = subsystem.get("KIND", []) if isinstance(subsystem, Mapping) else []
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        name = str(kind.get("_", "")) if isinstance(kind, Mapping) else ""
        element = str(kind.get("ELEMENT", name)) if isinstance(kind, Mapping) else ""
        if name in atomic_numbers and element.capitalize() != name:
            raise ValueError(f"input.FORCE_EVAL.SUBSYS.KIND: atoms of the kind {name} would be of {element}")


def check_data_files(
    named: Mapping[str, tuple[Mapping[str, str], str]], files: Sequence[Path], elements: Iterable[str]
) -> None:
    """Raise ValueError when a file that is on this machine has no entry of an element's name for that element.

    named  by the key of the settings: the name of the entry of each element, and the file that has them
    files  the user's own
    """
    for key, (names, file) in named.items():
        path = _path(files, file)
        entries = _entries(path) if path is not None else frozenset()
        for element in elements if entries else ():
            name = names.get(element)
            if name is None or (element.upper(), name.upper()) in entries:
                continue
            others = sorted(other for other, entry in entries if entry == name.upper())
            known = f"; it has one of {', '.join(other.capitalize() for other in others[:5])}" if others else ""
            raise ValueError(f"{key}.{element}: {path} has no {name} of {element}{known}")


def _path(files: Sequence[Path], file: str) -> Path | None:
    """Where CP2K would read a file of its own or of the user's, if that can be told here."""
    for given in files:
        if given.name == file:
            return expand(given) if expand(given).is_file() else None
    folders = [Path(os.environ["CP2K_DATA_DIR"])] if "CP2K_DATA_DIR" in os.environ else []
    program = shutil.which("cp2k")
    folders += [Path(program).resolve().parents[1] / "share" / "cp2k"] if program else []
    return next((folder / file for folder in folders if (folder / file).is_file()), None)


@lru_cache(maxsize=16)
def _entries(path: Path) -> frozenset[tuple[str, str]]:
    """Element and name of every entry of a file of basis sets or potentials, aliases too, in upper case."""
    entries = set()
    for line in path.read_text(errors="replace", encoding="utf-8").splitlines():
        words = line.partition("#")[0].partition("!")[0].split()
        if len(words) > 1 and words[0].capitalize() in atomic_numbers and not re.match(r"[-+.\d]", words[1]):
            entries |= {(words[0].upper(), word.upper()) for word in words[1:]}
    return frozenset(entries)
