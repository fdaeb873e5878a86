"""The folder of a trained model: its record, and the files that the record has the hashes of."""

from __future__ import annotations

from pathlib import Path

from lamflow.data.digests import known_hash
from lamflow.data.layout import MODEL, MODEL_PREDICTIONS
from lamflow.data.manifest import WAY_BACK
from lamflow.data.results import ModelResult
from lamflow.data.spent import spending
from lamflow.data.walk import files_below
from lamflow.errors import StateError


@spending("data")
def save_model(folder: Path, result: ModelResult) -> None:
    """Write the record of the model in `folder`, with the hashes of its files as they are now."""
    files = {str(file.relative_to(folder)): known_hash(file) for file in files_below(folder)}
    files = {name: digest for name, digest in files.items() if name not in (MODEL, MODEL_PREDICTIONS)}
    result.model_copy(update={"files": files}).save(folder / MODEL)


@spending("data")
def verify_model(folder: Path, result: ModelResult) -> None:
    """Raise StateError that names a file of the model in `folder` that is missing or was changed, and the way back."""
    for name, expected in result.files.items():
        file = folder / name
        if not file.is_file():
            raise StateError(f"{file}: this file of a model is missing; {WAY_BACK}")
        if known_hash(file) != expected:
            raise StateError(f"{file}: changed since the model was trained; {WAY_BACK}")
