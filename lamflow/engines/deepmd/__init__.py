"""DeePMD-kit: trains models with its PyTorch backend and evaluates them in batches."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from lamflow.config.engines import Engine
from lamflow.engines.deepmd.settings import DeepmdLabels, DeepmdTraining


def _trainer(settings: DeepmdTraining) -> Any:
    from lamflow.engines.deepmd.trainer import DeepmdTrainer

    return DeepmdTrainer(settings)


def _teacher(settings: DeepmdLabels) -> Any:
    from lamflow.engines.deepmd.teacher import DeepmdTeacher

    return DeepmdTeacher(settings)


def _card(path: Path) -> Any:
    from lamflow.engines.deepmd.card import read_card

    return read_card(path)


def _downloaded() -> dict[str, Path]:
    """What `dp pretrained download NAME` has fetched."""
    try:
        from deepmd.pretrained.download import DEFAULT_CACHE_DIR
        from deepmd.pretrained.registry import MODEL_REGISTRY
    except ImportError:
        return {}
    files = {name: Path(DEFAULT_CACHE_DIR) / about["filename"] for name, about in MODEL_REGISTRY.items()}
    return {name: path for name, path in files.items() if path.is_file()}


def _probe() -> str:
    import torch  # noqa: F401  a probe must meet what a training would meet

    return f"DeePMD-kit {version('deepmd-kit')}, torch {version('torch')}"


ENGINE = Engine(
    "deepmd",
    {
        "train": (DeepmdTraining, _trainer),
        "label": (DeepmdLabels, _teacher),
        "evaluate": (DeepmdLabels, _teacher),
    },
    _probe,
    install='pip install "lamflow[deepmd]"',
    image="deepmd-cuda",
    card=_card,
    downloaded=_downloaded,
)
