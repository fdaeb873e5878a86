"""All frames that were read as one table, the way every step of cleaning counts them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamflow.config.cleaning import CleaningStudy
from lamflow.data.arrays import read_arrays
from lamflow.data.features import Features
from lamflow.data.frames import Ints
from lamflow.data.layout import FEATURES, LABEL_ARRAYS
from lamflow.data.shards import About
from lamflow.policy.findings import Table
from lamflow.policy.sources import head_of, with_names


class FramesTable(NamedTuple):
    """All frames of a table, and of its heads by name the method and what is to be said.

    numbers  by shard, the number of each frame in its file
    """

    table: Table
    methods: dict[str, str]
    alike: dict[str, str]
    numbers: list[Ints]


def frames_table(study: CleaningStudy, folders: Sequence[Path], abouts: Sequence[About]) -> FramesTable:
    """All frames that were read, in heads with names.

    Trajectories with a name are of a source, whose files may each have a part of one; frames without are of their file.
    """
    named = {source.name: source for source in study.sources}
    sources, heads = list(named), dict[str, str]()
    source, head, trajectory, numbers, known = [], [], [], [], dict[tuple[str, str], int]()
    for folder, about in zip(folders, abouts, strict=True):
        arrays = read_arrays(folder / LABEL_ARRAYS)
        names = [head_of(named[about.source], method) for method in about.methods]
        for name, method in zip(names, about.methods, strict=True):
            heads.setdefault(name, method)
        order = list(heads)
        whose = [(about.source if name else about.file, name) for name in about.trajectories]
        places = [known.setdefault(key, len(known)) for key in whose]
        source.append(np.full(about.frames, sources.index(about.source)))
        head.append(np.array([order.index(name) for name in names])[arrays["method"]])
        trajectory.append(np.array(places)[arrays["trajectory"]])
        numbers.append(arrays["number"])
    features = Features.concatenate([Features.read(folder / FEATURES) for folder in folders])
    table = Table(
        features, np.concatenate(source), np.concatenate(head), np.concatenate(trajectory), sources, list(heads),
        turned=np.zeros(len(features), dtype=bool),
    )  # fmt: skip
    return FramesTable(*with_names(table, heads), numbers)
