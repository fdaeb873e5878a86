"""What a model says of each frame, compared with its labels: a few numbers each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamflow.data.arrays import read_arrays
from lamflow.data.fields import Floats
from lamflow.data.frames import Ints


@dataclass(frozen=True, eq=False)
class Opinions:
    """C frames, NaN for those that the model was not asked about.

    energy        (C,)  by the model, eV/atom
    force_label, force_model    (C,)  root mean square of the components, eV/Å
    force_match                 (C,)  cosine between the forces of the labels and those of the model
    stress_label, stress_model, stress_match  (C,)  the same of the stress, GPa
    first_atom, second_atom     (C,)  atoms whose elements must be exchanged for the labels to fit; NaN without such
    """

    energy: Floats
    force_label: Floats
    force_model: Floats
    force_match: Floats
    stress_label: Floats
    stress_model: Floats
    stress_match: Floats
    first_atom: Floats
    second_atom: Floats

    @property
    def force_slope(self) -> Floats:
        """(C,) by which the model's forces must be multiplied to fit the labels."""
        return np.asarray(self.force_match * self.force_label / np.maximum(self.force_model, 1e-12))

    @property
    def force_error(self) -> Floats:
        """(C,) root mean square of the components of the difference between labels and model, eV/Å."""
        return _difference(self.force_label, self.force_model, self.force_match)

    @property
    def stress_error(self) -> Floats:
        """(C,) the same of the stress, GPa."""
        return _difference(self.stress_label, self.stress_model, self.stress_match)

    @property
    def stress_slope(self) -> Floats:
        """(C,) by which the model's stress must be multiplied to fit the label."""
        return np.asarray(self.stress_match * self.stress_label / np.maximum(self.stress_model, 1e-12))

    @classmethod
    def nothing(cls, frames: int) -> Opinions:
        """Of a model that was asked about none."""
        return cls(**{item.name: np.full(frames, np.nan) for item in dataclasses.fields(cls)})

    def subset(self, frames: Ints) -> Opinions:
        """Those of the frames with these numbers."""
        return Opinions(**{item.name: getattr(self, item.name)[frames] for item in dataclasses.fields(self)})

    def save(self, path: Path) -> None:
        """Write as an uncompressed .npz file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{item.name: getattr(self, item.name) for item in dataclasses.fields(self)})

    @classmethod
    def read(cls, path: Path) -> Opinions:
        """What `save` wrote. Raises StateError for a file that is missing or damaged."""
        return cls(**read_arrays(path))

    def fill(self, frames: Ints, other: Opinions) -> None:
        """Write what `other` says of as many frames into those with these numbers."""
        for item in dataclasses.fields(self):
            getattr(self, item.name)[frames] = getattr(other, item.name)

    @classmethod
    def merged(cls, several: Sequence[Opinions]) -> Opinions:
        """Of models that were asked about different ones of the same frames."""
        names = [item.name for item in dataclasses.fields(cls)]
        stacks = {name: np.stack([getattr(item, name) for item in several]) for name in names}
        first = np.argmax(np.isfinite(stacks["energy"]), axis=0)
        return cls(**{name: stack[first, np.arange(stack.shape[1])] for name, stack in stacks.items()})

    @classmethod
    def concatenate(cls, several: list[Opinions]) -> Opinions:
        """Of several shards, one after the other."""
        names = [item.name for item in dataclasses.fields(cls)]
        return cls(**{name: np.concatenate([getattr(item, name) for item in several]) for name in names})


def _difference(label: Floats, model: Floats, cosine: Floats) -> Floats:
    """Root mean square of the difference of vectors by that of each and the cosine between them."""
    return np.asarray(np.sqrt(np.maximum(label**2 + model**2 - 2 * label * model * cosine, 0.0)))
