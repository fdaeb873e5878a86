"""Shards: labeled frames of a source in a few arrays, a folder each, small enough for one job's memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from lamflow.data import fields as table
from lamflow.data.arrays import read_arrays
from lamflow.data.document import Entry, Result
from lamflow.data.fields import Fields, Floats
from lamflow.data.frames import Frame, Ints, LabeledFrame, Labels
from lamflow.data.layout import FRAMES, LABEL_ARRAYS, SHARD
from lamflow.data.packed import PackedFrames
from lamflow.data.unread import UNKNOWN, State

ATOMS = 400_000
"""Atoms of a shard, about."""


@dataclass(frozen=True, slots=True, eq=False)
class SourceFrame:
    """One frame of a source as it was read, or why it is none.

    number      of the frame in its file
    labeled     None for what is no labeled frame; `problem` says why
    trajectory  name of what it is a step of; empty where the file does not say
    method      level of theory as the file says it
    unread      what it has that models do not see; see data/unread.py
    state       its charge and multiplicity
    """

    number: int
    labeled: LabeledFrame | None
    problem: str = ""
    trajectory: str = ""
    method: str = ""
    unread: tuple[str, ...] = ()
    state: State = UNKNOWN


class Unreadable(Entry):
    """Frames of a file that are no labeled frames, for one reason."""

    file: str
    rule: str
    reason: str
    frames: int
    first: int
    """Number of the first of them."""


class About(Result):
    """What is said of a shard beside its arrays."""

    source: str
    file: str
    frames: int
    trajectories: list[str]
    methods: list[str]
    unreadable: list[Unreadable] = Field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Shard:
    """C labeled frames of one file, N atoms together.

    frames      the structures
    labels      by field, (C, …) or (N, …); NaN where a frame has none
    number      (C,) of each frame in the file
    trajectory  (C,) place of its trajectory in `about.trajectories`
    method      (C,) place of its method in `about.methods`
    state       (C, 2) charge in e and spin multiplicity; NaN for what the file does not say
    """

    about: About
    frames: PackedFrames
    labels: Fields
    number: Ints
    trajectory: Ints
    method: Ints
    state: Floats

    @classmethod
    def of(cls, source: str, file: str, read: Sequence[SourceFrame], unreadable: Sequence[Unreadable] = ()) -> Shard:
        """Frames that were read of `file`; those without labels must have been taken out."""
        labeled = [item.labeled for item in read if item.labeled is not None]
        trajectories = list(dict.fromkeys(item.trajectory for item in read))
        methods = list(dict.fromkeys(item.method for item in read))
        about = About(
            source=source, file=file, frames=len(labeled), trajectories=trajectories, methods=methods,
            unreadable=list(unreadable),
        )  # fmt: skip
        return cls(
            about, PackedFrames.of([item.frame for item in labeled]), _packed_labels(labeled),
            number=np.array([item.number for item in read], dtype=np.int64),
            trajectory=_places(trajectories, [item.trajectory for item in read]),
            method=_places(methods, [item.method for item in read]),
            state=np.array([item.state for item in read], dtype=np.float64).reshape(-1, 2),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.number)

    def __iter__(self) -> Iterator[LabeledFrame]:
        ends = np.cumsum(self.frames.natoms)
        for index, frame in enumerate(self.frames):
            atoms = slice(int(ends[index]) - frame.natoms, int(ends[index]))
            yield LabeledFrame(frame, self._labels(frame, index, atoms))

    def _labels(self, frame: Frame, index: int, atoms: slice) -> Labels:
        values = {
            name: value[atoms] if table.field(name).per == "atom" else value[index]
            for name, value in self.labels.items()
        }
        return Labels.of({name: value for name, value in values.items() if not np.isnan(value).all()}, frame.natoms)

    @property
    def steps(self) -> Ints:
        """(C,) which frames are steps of one trajectory at one level of theory."""
        return self.trajectory * len(self.about.methods) + self.method

    def origin_of(self, index: int) -> dict[str, Any]:
        """What an Origin has of a frame's trajectory, method and electronic state, as far as its file says them."""
        about = self.about
        charge, multiplicity = (None if np.isnan(value) else float(value) for value in self.state[index])
        return {
            "trajectory": about.trajectories[self.trajectory[index]], "method": about.methods[self.method[index]],
            "charge": charge, "multiplicity": multiplicity,
        }  # fmt: skip

    def save(self, folder: Path) -> None:
        """Write into `folder`."""
        self.frames.save(folder / FRAMES)
        arrays = {name: getattr(self, name) for name in ("number", "trajectory", "method", "state")}
        np.savez(folder / LABEL_ARRAYS, **arrays, **self.labels)
        self.about.save(folder / SHARD)

    @classmethod
    def read(cls, folder: Path) -> Shard:
        """What `save` wrote into `folder`. Raises StateError for a file that is missing or damaged."""
        arrays = read_arrays(folder / LABEL_ARRAYS)
        labels = {row.name: arrays[row.name] for row in table.label_fields() if row.name in arrays}
        places = {name: arrays[name] for name in ("number", "trajectory", "method", "state")}
        return cls(About.read(folder / SHARD), PackedFrames.load(folder / FRAMES), labels, **places)


def shards_below(folder: Path) -> list[Path]:
    """Folders of the shards below `folder`, in the order in which their frames are counted."""
    return sorted(file.parent for file in folder.rglob(SHARD))


def _places(names: Sequence[str], values: Sequence[str]) -> Ints:
    place: Mapping[str, int] = {name: index for index, name in enumerate(names)}
    return np.array([place[value] for value in values], dtype=np.int64)


def _packed_labels(labeled: Sequence[LabeledFrame]) -> Fields:
    """Values of every label that a frame has, NaN for those frames that lack it."""
    values = [item.labels.fields for item in labeled]
    packed: dict[str, Floats] = {}
    for row in table.label_fields():
        if not any(row.name in item for item in values):
            continue
        shape = (-1, *row.shape)
        packed[row.name] = np.concatenate([
            np.asarray(item[row.name] if row.name in item else np.full(row.full_shape(frame.frame.natoms), np.nan))
            .reshape(shape) for item, frame in zip(values, labeled, strict=True)
        ])  # fmt: skip
    return packed
