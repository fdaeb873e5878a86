"""Which input an output belongs to, and which inputs give the same labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from lamflow.data import Frame
from lamflow.data.files import file_hash

INPUT_HASH = "input.sha256"
"""Hash of the input that an output belongs to."""


def hash_of_input(files: Mapping[str, str | Path], told: Sequence[Any]) -> str:
    """Hash of input files, whose texts or paths are given by name, and of what the program is told beside them."""
    contents = {name: _content(file) if isinstance(file, Path) else file for name, file in files.items()}
    return hashlib.sha256(json.dumps([contents, *told], sort_keys=True).encode()).hexdigest()


def belongs(folder: Path, input_hash: str) -> bool:
    """The output in a folder is final, and that of this input."""
    return (folder / INPUT_HASH).is_file() and (folder / INPUT_HASH).read_text() == input_hash


def record_input(folder: Path, input_hash: str) -> None:
    """Say which input the final output in a folder belongs to."""
    (folder / INPUT_HASH).write_text(input_hash)


def row_of_atoms(symbols: Sequence[str], pbc: bool) -> Frame:
    """One atom of each element in a row: what a program is told of it is what all frames of these elements share."""
    numbers = np.array([atomic_numbers[symbol] for symbol in symbols])
    row = np.arange(len(symbols))[:, None] * np.array([2.0, 0.0, 0.0])
    return Frame(numbers, row, np.diag([2.0 * len(symbols) + 8, 10.0, 10.0]), pbc)


def _content(path: Path) -> Any:
    """Hash of a file, or of each file below a folder."""
    if path.is_dir():
        return {str(file.relative_to(path)): file_hash(file) for file in path.rglob("*") if file.is_file()}
    return file_hash(path)
