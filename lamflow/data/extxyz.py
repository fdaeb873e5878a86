"""Extended XYZ with all digits: ASE writes eight decimals, and frames that come back are not the same ones."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms


def write_images(path: Path, images: Sequence[Atoms]) -> None:
    """What ASE writes of these, with numbers of atoms that come back to the last bit."""
    from ase.io import write  # 0.3 s, which jobs that write none need not wait for

    with path.open("w", encoding="utf-8") as file:
        for atoms in images:
            text = io.StringIO()
            write(text, atoms, format="extxyz")
            count, comment, *_ = text.getvalue().splitlines()
            file.write("\n".join([count, comment, *_lines(atoms, comment)]) + "\n")


def _lines(atoms: Atoms, comment: str) -> list[str]:
    """A line an atom, with the columns that the comment names: `species:S:1:pos:R:3:forces:R:3`."""
    results = atoms.calc.results if atoms.calc is not None else {}
    known: dict[str, Any] = {**results, **atoms.arrays, "species": atoms.symbols, "pos": atoms.positions}
    words = comment.partition("Properties=")[2].split()[0].split(":")
    columns: list[list[str]] = []
    for name, kind in zip(words[::3], words[1::3], strict=True):
        values = np.asarray(known[name]).reshape(len(atoms), -1)
        columns += [[_word(kind, value) for value in column.tolist()] for column in values.T]
    return [" ".join(row) for row in zip(*columns, strict=True)]


def _word(kind: str, value: Any) -> str:
    return ("T" if value else "F") if kind == "L" else repr(value) if kind == "R" else str(value)
