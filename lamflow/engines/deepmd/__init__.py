"""DeePMD-kit: trains models with its PyTorch backend and evaluates them in batches."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example
from lamflow.engines.protocol import ModelCard, Trainer

if TYPE_CHECKING:
    from lamflow.config.catalogue import ListedModel
    from lamflow.engines.deepmd.teacher import DeepmdTeacher
from lamflow.engines.deepmd.settings import DeepmdLabels, DeepmdTraining


def _trainer(settings: DeepmdTraining) -> Trainer:
    from lamflow.engines.deepmd.trainer import DeepmdTrainer

    return DeepmdTrainer(settings)


def _teacher(settings: DeepmdLabels) -> DeepmdTeacher:
    from lamflow.engines.deepmd.teacher import DeepmdTeacher

    return DeepmdTeacher(settings)


def _card(path: Path) -> ModelCard:
    from lamflow.engines.deepmd.card import read_card

    return read_card(path)


def _copy_heads(path: Path, heads: Mapping[str, str | None], output: Path) -> None:
    from lamflow.engines.deepmd.heads import with_heads

    with_heads(path, heads, output)


def _models() -> dict[str, ListedModel]:
    from lamflow.engines.deepmd.catalogue import listed_models

    return dict(listed_models())


def _probe() -> str:
    import torch  # noqa: F401  a probe must meet what a training would meet

    return f"DeePMD-kit {version('deepmd-kit')}, torch {version('torch')}"


def _preload() -> None:
    from lamflow.engines.deepmd import light

    light.prepare()
    for module in ("deepmd.infer", "deepmd.main", "deepmd.pt.entrypoints.main", "deepmd.pt.infer.deep_eval"):
        import_module(module)
    for module in ("trainer", "session", "model"):
        import_module(f"lamflow.engines.deepmd.{module}")

    light.prepare_training()


SMALL: dict[str, Any] = {
    "model": {
        "descriptor": {
            "type": "se_e2_a",
            "sel": [60],
            "rcut": 4.8,
            "rcut_smth": 0.5,
            "neuron": [2, 4],
            "axis_neuron": 2,
        },
        "fitting_net": {"neuron": [8]},
    },
    "training": {"data": {"batch_size": 1}},
}
"""An input whose model is trained in a second."""


def _training_example(folder: Path) -> Example:
    del folder
    return Example({"models": 1, "steps": 20, "checkpoint_every": 10, "input": SMALL}, force_tolerance=5e-3)


def _teacher_example(folder: Path) -> Example:
    """A teacher that is trained for this purpose."""
    from lamflow.engines.example import trained

    example = _training_example(folder)
    settings = DeepmdTraining.model_validate({"engine": "deepmd", **example.settings})
    missing = settings.missing()
    if missing is not None:
        return Example({"model": {"file": folder / "model.pt"}}, unavailable=missing)
    model = trained(_trainer(settings), example.frames, folder) / "model.pt"
    return Example({"model": {"file": model}}, force_tolerance=5e-3)


ENGINE = Engine(
    "deepmd",
    _probe,
    install='pip install "lamflow[deepmd]"',
    image="deepmd-cuda",
    packages=("deepmd-kit", "torch"),
    train=Role(DeepmdTraining, _trainer, example=_training_example),
    label=Role(DeepmdLabels, _teacher, example=_teacher_example),
    evaluate=Role(DeepmdLabels, _teacher, example=_teacher_example),
    card=_card,
    copy_heads=_copy_heads,
    models=_models,
    preload=_preload,
)
