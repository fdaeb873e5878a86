"""What more than one OP reads: structures, what is known already, and settings as text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamflow.config.engines import LabelerSettings
from lamflow.config.learning import Config
from lamflow.config.section import Section, expand
from lamflow.config.select import CalibratedWindow
from lamflow.data import Frame
from lamflow.data.arrays import read_array, read_arrays
from lamflow.data.dataset import Manifest
from lamflow.data.files import content_hash
from lamflow.data.frames import Floats
from lamflow.data.layout import DESCRIPTORS, MANIFEST, MODEL_PREDICTIONS
from lamflow.data.packed import PackedFrames
from lamflow.data.results import Iteration
from lamflow.engines.protocol import HashesInput, Labeler
from lamflow.policy.calibration import Calibration, HeldoutPredictions, calibrated, heldout_points
from lamflow.policy.candidates import KnownData


def read_structures(folder: Path) -> dict[str, list[Frame]]:
    """Every set of start structures by name."""
    return {path.stem: list(PackedFrames.load(path)) for path in sorted(folder.glob("*.npz"))}


def read_index(folder: Path | None, before: int, heads: Sequence[str] = ()) -> KnownData:
    """Everything that iterations earlier than `before` added; what a try of this one left does not count.

    Descriptors are those of `heads` if there are any: what another level of theory knows is news to these.
    """
    hashes: set[str] = set()
    parts: list[Floats] = []
    entries = sorted(folder.iterdir()) if folder is not None else []
    for entry in (entry for entry in entries if int(entry.name.split(".")[0]) < before):
        for manifest in entry.glob(f"*{MANIFEST}"):
            hashes |= {record.key for record in Manifest.read(manifest).frames}
        for file in sorted(entry.glob(f"*{DESCRIPTORS}")):
            descriptors = read_array(file)
            if len(descriptors) and (not any(heads) or file.name.removesuffix(DESCRIPTORS) in heads):
                parts.append(descriptors)
    return KnownData(hashes, np.concatenate(parts) if parts else np.zeros((0, 0)))


def read_calibration(study: Config, past: Sequence[Iteration], models: Path) -> Calibration | None:
    """What scores stand for, by earlier iterations and by what the models in a folder say of the held-out data; None
    for a window that is not calibrated."""
    window = study.select.window
    if not isinstance(window, CalibratedWindow):
        return None
    return calibrated(window, past, heldout_points(study.select, read_heldout(models)), study.select.allowed)


def read_heldout(models: Path) -> list[HeldoutPredictions]:
    """What the models in a folder say of the held-out data."""
    stored = [read_arrays(file) for file in sorted(models.glob(f"*/{MODEL_PREDICTIONS}"))]
    return [
        HeldoutPredictions(arrays["natoms"], arrays["energy"], arrays["force"], arrays["virial"])
        for arrays in stored
        if "natoms" in arrays
    ]


def settings_text(settings: Section, input: Path) -> str:
    """Settings of the run whose input lies at `input`, the same wherever that is."""
    return settings.model_dump_json().replace(f"{input}/", "")


def settings_hash(settings: LabelerSettings) -> str:
    """Hash of a label engine: two labels with the same hash were computed in the same way, in whatever run.

    Files count by their content, and what does not change a label does not count.
    """
    text = json.dumps(_plain(settings.model_dump(exclude=set(settings.nonphysical_keys))), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def label_key(settings_id: str, settings: LabelerSettings, labeler: Labeler, frame: Frame) -> str | None:
    """Labels of a frame with the same key are the same, in whatever run; None for a frame that will be refused.

    settings_id  the hash of `settings`
    """
    if isinstance(labeler, HashesInput):
        try:
            input_hash = labeler.input_hash(frame)
        except ValueError:
            return None
    else:
        input_hash = settings.implementation_hash()
    return f"{settings_id}-{input_hash[:16]}"


def _plain(value: Any) -> Any:
    """`value` as JSON, files as hashes of their content."""
    if isinstance(value, Path):
        return content_hash(expand(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
