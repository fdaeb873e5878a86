"""What decides how long a label takes, and how long finished ones took."""

from __future__ import annotations

from collections import Counter
from typing import Self

from pydantic import Field

from lamflow.data.document import Entry
from lamflow.data.frames import Frame


class LabelWork(Entry):
    """What decides how long a label of a frame takes."""

    natoms: int = 0
    volume: float = 0.0
    """Of the cell, Å³, for k-points become fewer with it; 0 of an isolated frame."""
    composition: dict[str, int] = Field(default_factory=dict)
    """Atoms of each element."""
    magnetic: bool = False

    @classmethod
    def of(cls, frame: Frame) -> Self:
        """Of a frame that is to be labeled."""
        return cls(
            natoms=frame.natoms, volume=frame.volume if frame.pbc else 0.0, composition=dict(Counter(frame.symbols)),
            magnetic=frame.spins is not None,
        )  # fmt: skip

    def of_size(self, natoms: int) -> LabelWork:
        """The same of a frame like this of another number of atoms."""
        return LabelWork(
            natoms=natoms, volume=self.volume * natoms / max(self.natoms, 1), composition=self.composition,
            magnetic=self.magnetic,
        )  # fmt: skip


class LabelCost(LabelWork):
    """A finished label, and the seconds that it took."""

    seconds: float
