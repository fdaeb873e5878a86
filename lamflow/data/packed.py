"""Frames of different sizes in a few arrays: how they travel between pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamflow.data import fields as table
from lamflow.data.arrays import read_arrays
from lamflow.data.fields import Field, Fields, Floats
from lamflow.data.frames import Frame, Ints

ARRAYS = ("natoms", "numbers", "positions", "cells", "pbc")


@dataclass(frozen=True, eq=False)
class PackedFrames:
    """C frames.

    natoms     (C,)       atoms of each frame
    numbers    (ΣN,)      atomic numbers, one frame after the other
    positions  (ΣN, 3)    Å
    cells      (C, 3, 3)  Å
    pbc        (C,)       periodic or isolated
    fields                fields of frames by name, (C, …) or (ΣN, …); NaN where a frame has none
    """

    natoms: Ints
    numbers: Ints
    positions: Floats
    cells: Floats
    pbc: NDArray[np.bool_]
    fields: Fields

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> PackedFrames:
        """`frames`, packed."""
        return cls(
            natoms=np.array([frame.natoms for frame in frames], dtype=np.int64),
            numbers=np.concatenate([np.zeros(0, dtype=np.int64), *(frame.numbers for frame in frames)]),
            positions=np.concatenate([np.zeros((0, 3)), *(frame.positions for frame in frames)]),
            cells=np.array([frame.cell for frame in frames], dtype=np.float64).reshape(-1, 3, 3),
            pbc=np.array([frame.pbc for frame in frames], dtype=bool),
            fields={row.name: _packed(row, frames) for row in _rows(frames)},
        )

    def __len__(self) -> int:
        return len(self.natoms)

    def __iter__(self) -> Iterator[Frame]:
        ends = np.cumsum(self.natoms)
        for index, (end, natoms) in enumerate(zip(ends, self.natoms, strict=True)):
            atoms = slice(int(end - natoms), int(end))
            values = {name: value[atoms if table.field(name).per == "atom" else index]
                      for name, value in self.fields.items()}  # fmt: skip
            present = {name: value for name, value in values.items() if not np.isnan(value).all()}
            yield Frame(self.numbers[atoms], self.positions[atoms], self.cells[index], bool(self.pbc[index]), present)

    def split(self, values: Floats) -> list[Floats]:
        """Values (ΣN, …) of all atoms, frame by frame."""
        return np.split(values, np.cumsum(self.natoms)[:-1]) if len(self) else []

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by name."""
        return {**{name: getattr(self, name) for name in ARRAYS}, **self.fields}

    def save(self, path: Path) -> None:
        """Write as an uncompressed .npz file without pickles."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **self.arrays())  # type: ignore[arg-type]  # NumPy types only the keyword allow_pickle

    @classmethod
    def load(cls, path: Path) -> PackedFrames:
        """Read what `save` wrote."""
        return cls.among(read_arrays(path))

    @classmethod
    def among(cls, stored: Mapping[str, NDArray[Any]]) -> PackedFrames:
        """The frames whose `arrays` are among others; fields that were unknown when they were stored are missing."""
        values = {row.name: stored[row.name] for row in table.frame_fields() if row.name in stored}
        return cls(**{name: stored[name] for name in ARRAYS}, fields=values)


def _rows(frames: Sequence[Frame]) -> Iterator[Field]:
    """The fields of frames; values of atoms only where a frame has some."""
    return (
        row for row in table.frame_fields() if row.per == "frame" or any(row.name in frame.fields for frame in frames)
    )


def _packed(row: Field, frames: Sequence[Frame]) -> Floats:
    """The values of one field, NaN where a frame has none."""
    shape = (-1, *row.shape)
    values = [
        np.asarray(frame.fields.get(row.name, np.full(row.full_shape(frame.natoms), np.nan))).reshape(shape)
        for frame in frames
    ]
    return np.concatenate([np.zeros((0, *row.shape)), *values])
