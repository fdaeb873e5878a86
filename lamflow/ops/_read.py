"""What more than one OP reads: the configuration, structures, and what is known already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from lamflow.config.engines import LabelerSettings
from lamflow.config.schema import DataStudy
from lamflow.config.section import Section, expand
from lamflow.data import Frame
from lamflow.data.dataset import MANIFEST, Manifest
from lamflow.data.frames import Floats
from lamflow.data.packed import PackedFrames
from lamflow.data.store import content_hash
from lamflow.science.diversity import descriptor, descriptor_length

DESCRIPTORS = "descriptors.npy"


def read_structures(folder: Path) -> dict[str, list[Frame]]:
    """Every set of start structures by name."""
    return {path.stem: list(PackedFrames.load(path)) for path in sorted(folder.glob("*.npz"))}


def descriptors(frames: list[Frame], config: DataStudy) -> Floats:
    """Descriptors (C, D) of frames."""
    numbers = [atomic_numbers[element] for element in config.elements]
    made = np.array([descriptor(frame, numbers) for frame in frames])
    return made.reshape(len(frames), descriptor_length(len(numbers)))


@dataclass(frozen=True, eq=False)
class Known:
    """The data of earlier iterations: keys of all frames, descriptors (K, D) of those that are trained on."""

    hashes: set[str]
    descriptors: Floats


def read_index(folder: Path | None, before: int, tasks: Sequence[str] = ()) -> Known:
    """Everything that iterations earlier than `before` added; what a try of this one left does not count.

    Descriptors are those of `tasks` if there are any: what another level of theory knows is news to these.
    """
    hashes: set[str] = set()
    parts: list[Floats] = []
    entries = sorted(folder.iterdir()) if folder is not None else []
    for entry in (entry for entry in entries if int(entry.name) < before):
        for manifest in entry.glob(f"*{MANIFEST}"):
            hashes |= {record.key for record in Manifest.model_validate_json(manifest.read_bytes()).frames}
        for file in sorted(entry.glob(f"*{DESCRIPTORS}")):
            stored = np.load(file, allow_pickle=False)
            if len(stored) and (not any(tasks) or file.name.removesuffix(DESCRIPTORS) in tasks):
                parts.append(stored)
    return Known(hashes, np.concatenate(parts) if parts else np.zeros((0, 0)))


def settings_text(settings: Section, input: Path) -> str:
    """Settings of the run whose input lies at `input`, the same wherever that is."""
    return settings.model_dump_json().replace(f"{input}/", "")


def settings_hash(settings: LabelerSettings) -> str:
    """Hash of a label engine: two labels with the same hash were computed in the same way, in whatever run.

    Files count by their content, and what does not change a label does not count.
    """
    text = json.dumps(_plain(settings.model_dump(exclude=set(settings.nonphysical_keys))), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """`value` as JSON, files as hashes of their content."""
    if isinstance(value, Path):
        return content_hash(expand(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
