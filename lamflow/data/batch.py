"""The frames that one label pod labels: coordinates, origins, and whether they are trained on or held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lamflow.data.dataset import Origin
from lamflow.data.frames import Frame
from lamflow.data.packed import PackedFrames
from lamflow.data.results import Result

Role = Literal["train", "heldout"]
FRAMES, ABOUT = "frames.npz", "batch.json"


class _About(Result):
    """What is said of a batch."""

    role: Role
    origins: list[Origin]


@dataclass(frozen=True, eq=False)
class Batch:
    """Frames, and where each of them came from."""

    frames: list[Frame]
    origins: list[Origin]
    role: Role = "train"

    def save(self, folder: Path) -> None:
        """Write into `folder`."""
        PackedFrames.of(self.frames).save(folder / FRAMES)
        _About(role=self.role, origins=self.origins).save(folder / ABOUT)

    @classmethod
    def read(cls, folder: Path) -> Batch:
        """What `save` wrote into `folder`."""
        about = _About.read(folder / ABOUT)
        return cls(list(PackedFrames.load(folder / FRAMES)), about.origins, about.role)
