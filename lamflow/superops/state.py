"""What the next round of a run depends on beside the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lamflow.data.results import Iteration
from lamflow.superops.capacity import Capacity


@dataclass(frozen=True)
class RunState:
    """A run between two rounds.

    capacity      how many jobs there is room for
    finished      records of the rounds that have ended, oldest first
    structures    how many start structures each set has
    natoms        atoms of the largest of them
    batches       jobs that label before the first training
    labeled_data  labeled data were brought, and lie in the store
    sources       jobs that read files which the run was given as they are
    frames        labeled frames that there are after the start, held-out ones included; 0 where nobody has counted
    extended      settings have changed after the run had ended, and it goes on with them
    queued        frames from elsewhere lie in the store and wait to be labeled
    """

    capacity: Capacity
    finished: Sequence[Iteration] = ()
    structures: Mapping[str, int] = field(default_factory=dict)
    natoms: Mapping[str, int] = field(default_factory=dict)
    batches: int = 0
    labeled_data: bool = False
    sources: int = 0
    frames: int = 0
    queued: bool = False
    extended: bool = False
