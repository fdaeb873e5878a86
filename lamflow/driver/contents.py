"""What the folder of a run holds for people: labeled frames and models that can be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lamflow.data.dataset import Item, read_dataset
from lamflow.data.layout import HELDOUT, MODEL, MODEL_PREDICTIONS, MODELS, TRAIN, iteration_key
from lamflow.data.results import ModelResult
from lamflow.data.trained import verify_model
from lamflow.driver.located import Located
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import StateError
from lamflow.policy.models import without_absurd

DataRole = Literal["train", "heldout"]


def labeled_items(run: Located, role: DataRole) -> list[Item]:
    """Every frame that is trained on, or held out, with its labels and its origin. Raises StateError without any."""
    key = HELDOUT if role == "heldout" else TRAIN
    folder = run.mirrored(f"{key}/", whole=True) / key
    if not folder.is_dir():
        raise StateError(f"{run.path}: there are no data yet; the run is still at its start")
    refuse_links_out(run.path, folder)
    items = [item for dataset in sorted(folder.iterdir()) for item in read_dataset(dataset)]
    if not items:
        raise StateError(f"{run.path}: the run has no {'held-out' if role == 'heldout' else 'training'} frames")
    return items


def refuse_links_out(run: Path, folder: Path) -> None:
    """Raise StateError for a symbolic link in `folder` that leads out of the run: its files do not lie there."""
    inside = run.resolve()
    for path in [folder, *folder.rglob("*")]:
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise StateError(
                f"{path}: a link to {path.resolve()}, which is not in the run; remove it, or copy the file there"
            )


def newest_models(run: Located) -> list[Path]:
    """Folders of the usable models of the newest committee; empty where there are none."""
    trained = [iteration for iteration in RunDirectory(run.path).iterations() if iteration.models]
    return usable_models(run, trained[-1].number, trained[-1].models) if trained else []


def best_models(run: Located) -> list[Path]:
    """Those of the architecture that was chosen; of all if only one was tried."""
    trained = [iteration for iteration in RunDirectory(run.path).iterations() if iteration.models]
    if not trained:
        return []
    last = trained[-1]
    models = [model for model in last.models if not last.variant or model.variant == last.variant]
    return usable_models(run, last.number, models)


def models_of_iteration(run: Located, number: int) -> list[Path]:
    """Folders of the usable models of an iteration, which need not have finished."""
    record = next((item for item in RunDirectory(run.path).iterations() if item.number == number), None)
    if record is not None:
        return usable_models(run, number, record.models)
    files = (run.path / iteration_key(number) / MODELS).glob(f"[0-9]*/{MODEL}")
    models = without_absurd(sorted((ModelResult.read(file) for file in files), key=lambda model: model.index))
    return usable_models(run, number, models)


def usable_models(run: Located, number: int, models: Sequence[ModelResult]) -> list[Path]:
    """Folders of those of `models` whose training did not fail.

    Raises StateError that names a file of theirs that is missing or was changed.
    """
    folders = []
    for model in models:
        if not model.failed:
            key = f"{iteration_key(number)}/{MODELS}/{model.index}"
            folders.append(run.mirrored(f"{key}/", whole=True) / key)
            refuse_links_out(run.path, folders[-1])
            verify_model(folders[-1], model)
    return [folder for folder in folders if _holds_a_model(folder)]


def _holds_a_model(folder: Path) -> bool:
    return any(file.is_file() and file.name not in (MODEL, MODEL_PREDICTIONS) for file in folder.rglob("*"))
