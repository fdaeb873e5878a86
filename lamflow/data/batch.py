"""The frames that one label job labels: coordinates, origins, and whether they are trained on or held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lamflow.data.arrays import read_array
from lamflow.data.dataset import Origin
from lamflow.data.document import Result
from lamflow.data.frames import Floats, Frame
from lamflow.data.layout import BATCH, BATCH_FORCES, FRAMES
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
    """

    frames: list[Frame]
    origins: list[Origin]
    role: Role = "train"
    forces: list[Floats] | None = None

    @property
    def head(self) -> str:
        """The head that all of them belong to."""
        return self.origins[0].head if self.origins else ""

    def save(self, folder: Path) -> None:
        """Write into `folder`."""
        PackedFrames.of(self.frames).save(folder / FRAMES)
        if self.forces is not None:
            np.save(folder / BATCH_FORCES, np.concatenate(self.forces), allow_pickle=False)
        _About(role=self.role, origins=self.origins).save(folder / BATCH)

    @classmethod
    def read(cls, folder: Path) -> Batch:
        """What `save` wrote into `folder`."""
        about = _About.read(folder / BATCH)
        packed, forces = PackedFrames.load(folder / FRAMES), None
        if (folder / BATCH_FORCES).is_file():
            forces = packed.split(read_array(folder / BATCH_FORCES))
        return cls(list(packed), about.origins, about.role, forces)
