"""What a first-principles code promises that relaxes structures by its own optimisers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from lamflow.data import Frame
from lamflow.engines.protocol import LabelFailure


@dataclass(frozen=True, slots=True)
class OwnRelaxation:
    """How a code relaxes a structure by itself.

    cell      what of the cell may change
    steps     at most
    fmax      largest force that may be left on an atom, eV/Å
    stress    largest component of the stress that may be left beside `pressure`, bar
    pressure  bar
    """

    cell: Literal["all", "volume", "shape", "none"]
    steps: int
    fmax: float
    stress: float
    pressure: float = 0.0


@runtime_checkable
class RelaxesItself(Protocol):
    """A Labeler whose code has optimisers of its own."""

    def relax(self, frame: Frame, work: Path, how: OwnRelaxation) -> Frame | LabelFailure:
        """Where the code's own relaxation of `frame` has come to, its atoms in their order, with files below `work`.

        Raises NodeError when the machine is at fault.
        """
        ...
