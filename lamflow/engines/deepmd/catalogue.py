"""Public DPA models by name, and the heads of OpenLAM's generations, which call the same data by different names."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from lamflow.config.catalogue import ListedModel, PackagedFile

HUBS = (
    "https://huggingface.co/deepmodelingcommunity/{repository}/resolve/main/{file}?download=true",
    "https://hf-mirror.com/deepmodelingcommunity/{repository}/resolve/main/{file}?download=true",
    "https://modelscope.cn/models/DeepModelingCommunity/{repository}/resolve/master/{file}",
)
"""Where DeePMD-kit's models lie."""
GENERATIONS = {
    "openlam-v1": "OpenLAM v1 (DPA-2.4-7M, DPA-3.1-3M)",
    "openlam-v2": "OpenLAM v2 (DPA-3.2-5M, DPA-3.3-1M)",
}


@functools.cache
def listed_models() -> dict[str, ListedModel]:
    """Every public model that is known, as a file where it is on this machine."""
    models = {name: _listed(dict(about)) for name, about in _read("models.yaml").items()}
    for name, model in models.items():
        path = _on_this_machine(name, model)
        if path is not None:
            models[name] = model.model_copy(update={"file": path, "url": None, "mirrors": [], "package": None})
    return models


def same_head(wanted: str, heads: Sequence[str], aliases: dict[str, str] | None = None) -> str | None:
    """The one of `heads` that `wanted` means: exactly, by an alias, in other capitals, or by its name in another
    generation; None if there is none."""
    if wanted in heads:
        return wanted
    spellings: list[str] = next(
        (group for group in _read("openlam.yaml")["spellings"] if wanted.lower() in _lower(group)), []
    )
    names = {alias.lower(): head for alias, head in (aliases or {}).items()} | {head.lower(): head for head in heads}
    return next((names[word] for word in _lower([wanted, *spellings]) if word in names), None)


def generation_of(head: str) -> str | None:
    """The models that have a head called `head`, in words; None for a head of no public model."""
    listed = _read("openlam.yaml")
    for name, title in GENERATIONS.items():
        if head.lower() in _lower([_name(row) for row in listed[name]]):
            return title
    return None


def _lower(words: Sequence[str]) -> list[str]:
    return [word.lower() for word in words]


def _name(row: Any) -> str:
    return str(row[0] if isinstance(row, list) else row)


def _listed(about: dict[str, Any]) -> ListedModel:
    """One row of models.yaml, its addresses and heads written out."""
    hub, rows = about.pop("hub", None), about.pop("heads", None)
    if hub is not None:
        about["url"], *about["mirrors"] = [pattern.format(**hub) for pattern in HUBS]
    if rows is not None:
        listed = _read("openlam.yaml")[rows]
        about["heads"] = [_name(row) for row in listed]
        about["mixture"] = [
            {"name": row[0], "frames": row[1], "weight": row[2]} for row in listed if isinstance(row, list)
        ]
    return ListedModel.model_validate(about)


@functools.cache
def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((files(__package__) / name).read_text(encoding="utf-8"))
    return found


def _on_this_machine(name: str, model: ListedModel) -> Path | None:
    """The file of a model in an installed package, or where `dp pretrained download` leaves it."""
    if model.package is not None:
        return packaged_file(model.package)
    try:
        from deepmd.pretrained.download import DEFAULT_CACHE_DIR
        from deepmd.pretrained.registry import MODEL_REGISTRY
    except ImportError:
        return None
    path = Path(DEFAULT_CACHE_DIR) / MODEL_REGISTRY.get(name, {}).get("filename", "no such file")
    return path if path.is_file() else None


def packaged_file(file: PackagedFile) -> Path | None:
    """The file of an installed package of this very version; None where it is not installed."""
    package, _, version = file.package.partition("==")
    try:
        found = distribution(package)
    except PackageNotFoundError:
        return None
    path = Path(str(found.locate_file(file.path)))
    return path if found.version == version and path.is_file() else None
