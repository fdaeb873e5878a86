"""What a model says of each frame, compared with its labels: a few numbers each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamflow.data.arrays import read_arrays
from lamflow.data.fields import Floats


@dataclass(frozen=True, eq=False)
class Opinions:
    """C frames, NaN for those that the model was not asked about.

    energy        (C,)  by the model, eV/atom
    force_error   (C,)  root mean square difference of the components, eV/Å
    force_size    (C,)  of the labels or of the model, whichever is larger, eV/Å
    force_slope   (C,)  by which the model's forces must be multiplied to fit the labels
    stress_error, stress_size, stress_slope  (C,)  the same of the stress, GPa
    """

    energy: Floats
    force_error: Floats
    force_size: Floats
    force_slope: Floats
    stress_error: Floats
    stress_size: Floats
    stress_slope: Floats

    @classmethod
    def nothing(cls, frames: int) -> Opinions:
        """Of a model that was asked about none."""
        return cls(**{item.name: np.full(frames, np.nan) for item in dataclasses.fields(cls)})

    def save(self, path: Path) -> None:
        """Write as an uncompressed .npz file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{item.name: getattr(self, item.name) for item in dataclasses.fields(self)})

    @classmethod
    def read(cls, path: Path) -> Opinions:
        """What `save` wrote. Raises StateError for a file that is missing or damaged."""
        return cls(**read_arrays(path))

    @classmethod
    def concatenate(cls, several: list[Opinions]) -> Opinions:
        """Of several shards, one after the other."""
        names = [item.name for item in dataclasses.fields(cls)]
        return cls(**{name: np.concatenate([getattr(item, name) for item in several]) for name in names})
