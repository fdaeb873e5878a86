"""DeePMD-kit: trains models with its PyTorch backend and evaluates them in batches."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from lamflow.config.engines import Engine
from lamflow.engines.deepmd.settings import DeepmdTraining


def _trainer(settings: DeepmdTraining) -> Any:
    from lamflow.engines.deepmd.trainer import DeepmdTrainer

    return DeepmdTrainer(settings)


def _probe() -> str:
    import torch  # noqa: F401  a probe must meet what a training would meet

    return f"DeePMD-kit {version('deepmd-kit')}, torch {version('torch')}"


ENGINE = Engine(
    "deepmd",
    {"train": (DeepmdTraining, _trainer)},
    _probe,
    install='pip install "lamflow[deepmd]"',
    image="deepmd-cuda",
)
