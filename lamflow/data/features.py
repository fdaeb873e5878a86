"""What is known of every frame without its coordinates: a few numbers each, so that a million fit into one job."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamflow.data.arrays import read_arrays
from lamflow.data.fields import Floats
from lamflow.data.frames import Ints

ELEMENTS = 119
"""Columns of a composition: atomic numbers from 0."""


@dataclass(frozen=True, eq=False)
class Features:
    """C frames.

    natoms       (C,)
    formula      (C,)      row of its composition in `formulas`
    formulas     (U, 119)  atoms of each atomic number
    energy       (C,)      eV/atom
    force_max    (C,)      largest norm, eV/Å
    force_rms    (C,)      over the components, eV/Å
    force_sum    (C,)      norm of the sum of all forces, eV/Å
    force_forbidden (C,)   root mean square that the symmetry of the structure forbids, eV/Å; NaN where it has none
    volume       (C,)      Å³/atom; NaN for isolated systems
    pressure     (C,)      −tr(stress)/3, GPa; NaN without a virial
    distance     (C,)      smallest distance over the sum of the covalent radii; NaN beyond the cutoff
    fingerprint  (C, K)    smeared distances per atom
    environments, slopes   (C, …)  what tells structures apart; see science/cleaning/fingerprint.py
    change, force_work, stress_work, work_size
                 (C,)      energy change from the frame before on the same trajectory, what its forces and its stress
                           say of it, and its size, eV/atom; NaN without such a frame
    digest       (C, 2)    content hash of the structure
    state        (C,)      hash of what surroundings do not tell: moments, electronic temperature, and where fragments
                           are that are far from each other; 0 where there is nothing of that kind
    label_digest (C,)      hash of energy and forces
    """

    natoms: Ints
    formula: Ints
    formulas: NDArray[np.int32]
    energy: Floats
    force_max: Floats
    force_rms: Floats
    force_sum: Floats
    force_forbidden: Floats
    volume: Floats
    pressure: Floats
    distance: Floats
    fingerprint: NDArray[np.float32]
    environments: NDArray[np.float32]
    slopes: NDArray[np.float32]
    change: Floats
    force_work: Floats
    stress_work: Floats
    work_size: Floats
    digest: NDArray[np.uint64]
    state: NDArray[np.uint64]
    label_digest: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.natoms)

    def save(self, path: Path) -> None:
        """Write as an uncompressed .npz file."""
        np.savez(path, **{item.name: getattr(self, item.name) for item in dataclasses.fields(self)})

    @classmethod
    def read(cls, path: Path) -> Features:
        """What `save` wrote. Raises StateError for a file that is missing or damaged."""
        return cls(**read_arrays(path))

    def subset(self, frames: Ints | NDArray[np.bool_]) -> Features:
        """Those of the frames with these numbers."""
        return dataclasses.replace(self, **{name: getattr(self, name)[frames] for name in _per_frame()})

    @property
    def fractions(self) -> Floats:
        """(U, 119) shares of the elements in each composition."""
        return np.asarray(self.formulas / self.formulas.sum(axis=1, keepdims=True))

    @property
    def reduced(self) -> Ints:
        """(C,) number of the reduced formula: that of Cu32 is that of Cu8."""
        divisor = np.gcd.reduce(self.formulas, axis=1)
        numbers = np.unique(self.formulas // divisor[:, None], axis=0, return_inverse=True)[1].reshape(-1)
        return np.asarray(numbers[self.formula], dtype=np.int64)

    @classmethod
    def concatenate(cls, several: Sequence[Features]) -> Features:
        """Features of several shards, one after the other, equal compositions made one."""
        rows = np.concatenate([np.zeros((0, ELEMENTS), dtype=np.int32), *(item.formulas for item in several)])
        unique, places = np.unique(rows, axis=0, return_inverse=True)
        starts = np.cumsum([0, *(len(item.formulas) for item in several)])
        values: dict[str, Any] = {
            name: np.concatenate([getattr(item, name) for item in several])
            for name in _per_frame() if name != "formula"
        }  # fmt: skip
        formula = np.concatenate([
            np.zeros(0, dtype=np.int64),
            *(places.reshape(-1)[start + item.formula] for start, item in zip(starts, several, strict=False)),
        ])  # fmt: skip
        return cls(formula=formula, formulas=unique, **values)


def _per_frame() -> list[str]:
    return [item.name for item in dataclasses.fields(Features) if item.name != "formulas"]
