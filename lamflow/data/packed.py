"""Frames of different sizes in a few arrays: how they travel between pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamflow.data.frames import Floats, Frame, Ints


@dataclass(frozen=True, eq=False)
class PackedFrames:
    """C frames.

    natoms     (C,)       atoms of each frame
    numbers    (ΣN,)      atomic numbers, one frame after the other
    positions  (ΣN, 3)    Å
    cells      (C, 3, 3)  Å
    pbc        (C,)       periodic or isolated
    electronic_temperature  (C,)  K; NaN where electrons are in their ground state
    """

    natoms: Ints
    numbers: Ints
    positions: Floats
    cells: Floats
    pbc: NDArray[np.bool_]
    electronic_temperature: Floats

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> PackedFrames:
        """`frames`, packed."""
        return cls(
            natoms=np.array([frame.natoms for frame in frames], dtype=np.int64),
            numbers=np.concatenate([np.zeros(0, dtype=np.int64), *(frame.numbers for frame in frames)]),
            positions=np.concatenate([np.zeros((0, 3)), *(frame.positions for frame in frames)]),
            cells=np.array([frame.cell for frame in frames], dtype=np.float64).reshape(-1, 3, 3),
            pbc=np.array([frame.pbc for frame in frames], dtype=bool),
            electronic_temperature=np.array(
                [np.nan if frame.electronic_temperature is None else frame.electronic_temperature for frame in frames],
                dtype=np.float64,
            ),
        )

    def __len__(self) -> int:
        return len(self.natoms)

    def __iter__(self) -> Iterator[Frame]:
        ends = np.cumsum(self.natoms)
        for index, (end, natoms) in enumerate(zip(ends, self.natoms, strict=True)):
            atoms = slice(int(end - natoms), int(end))
            hot = float(self.electronic_temperature[index])
            yield Frame(
                self.numbers[atoms], self.positions[atoms], self.cells[index], bool(self.pbc[index]),
                None if np.isnan(hot) else hot,
            )  # fmt: skip

    def split(self, values: Floats) -> list[Floats]:
        """Values (ΣN, …) of all atoms, frame by frame."""
        return np.split(values, np.cumsum(self.natoms)[:-1]) if len(self) else []

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def save(self, path: Path) -> None:
        """Write as an uncompressed .npz file without pickles."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **self.arrays())  # type: ignore[arg-type]  # NumPy types only the keyword allow_pickle

    @classmethod
    def load(cls, path: Path) -> PackedFrames:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            return cls.among(stored)

    @classmethod
    def among(cls, stored: Mapping[str, NDArray[Any]]) -> PackedFrames:
        """The frames whose `arrays` are among others."""
        return cls(**{item.name: stored[item.name] for item in fields(cls)})
