"""The frames that one label job labels: coordinates, origins, and whether they are trained on or held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lamflow.data.arrays import read_array, read_arrays
from lamflow.data.dataset import Origin
from lamflow.data.document import Result
from lamflow.data.fields import FORCE_MAG
from lamflow.data.frames import Floats, Frame, Labels
from lamflow.data.layout import BATCH, BATCH_FORCES, BATCH_PREDICTED, FRAMES
from lamflow.data.packed import PackedFrames

Role = Literal["train", "heldout"]


class _About(Result):
    """What is said of a batch."""

    role: Role
    origins: list[Origin]


@dataclass(frozen=True, eq=False)
class Batch:
    """Frames of one head, and where each of them came from.

    forces  (N, 3)  of each frame, as the models that explored it predicted them, eV/Å; None for start structures
    predicted       of each frame, where a calibrated window looks at more than forces
    """

    frames: list[Frame]
    origins: list[Origin]
    role: Role = "train"
    forces: list[Floats] | None = None
    predicted: list[Labels] | None = None

    @property
    def head(self) -> str:
        """The head that all of them belong to."""
        return self.origins[0].head if self.origins else ""

    def save(self, folder: Path) -> None:
        """Write into `folder`."""
        PackedFrames.of(self.frames).save(folder / FRAMES)
        if self.forces is not None:
            np.save(folder / BATCH_FORCES, np.concatenate(self.forces), allow_pickle=False)
        if self.predicted is not None:
            _save_predicted(folder / BATCH_PREDICTED, self.predicted)
        _About(role=self.role, origins=self.origins).save(folder / BATCH)

    @classmethod
    def read(cls, folder: Path) -> Batch:
        """What `save` wrote into `folder`."""
        about = _About.read(folder / BATCH)
        packed, forces = PackedFrames.load(folder / FRAMES), None
        if (folder / BATCH_FORCES).is_file():
            forces = packed.split(read_array(folder / BATCH_FORCES))
        predicted = None
        if (folder / BATCH_PREDICTED).is_file():
            predicted = _read_predicted(folder / BATCH_PREDICTED, packed)
        return cls(list(packed), about.origins, about.role, forces, predicted)


def _save_predicted(path: Path, predicted: Sequence[Labels]) -> None:
    """What is predicted of F frames: energy (F,), forces (ΣN, 3), virial (F, 3, 3), force_mag (ΣN, 3); NaN is none."""
    np.savez(
        path,
        energy=np.array([labels.energy for labels in predicted]),
        forces=np.concatenate([labels.forces for labels in predicted]),
        virial=np.array([np.full((3, 3), np.nan) if one.virial is None else one.virial for one in predicted]),
        force_mag=np.concatenate(
            [np.full(one.forces.shape, np.nan) if one.force_mag is None else one.force_mag for one in predicted]
        ),
    )


def _read_predicted(path: Path, frames: PackedFrames) -> list[Labels]:
    """What `_save_predicted` wrote."""
    arrays = read_arrays(path)
    parts = zip(
        arrays["energy"], frames.split(arrays["forces"]), arrays["virial"], frames.split(arrays["force_mag"]),
        strict=True,
    )  # fmt: skip
    return [
        Labels(
            float(energy), forces, None if np.isnan(virial).any() else virial,
            others={} if np.isnan(force_mag).any() else {FORCE_MAG: force_mag},
        )
        for energy, forces, virial, force_mag in parts
    ]  # fmt: skip
