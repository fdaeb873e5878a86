"""From settings to the engine that plays the role."""

from __future__ import annotations

from typing import Any, cast

from lamflow.config.engines import EngineSettings, Role, engine_named
from lamflow.engines.protocol import Evaluator, Explorer, Labeler, Searcher, Trainer


def trainer(settings: EngineSettings) -> Trainer:
    """The trainer that `settings` describe."""
    return cast(Trainer, _build("train", settings))


def explorer(settings: EngineSettings) -> Explorer:
    """The explorer that `settings` describe."""
    return cast(Explorer, _build("explore", settings))


def searcher(settings: EngineSettings) -> Searcher:
    """The searcher that `settings` describe: an engine that explores without start structures."""
    return cast(Searcher, _build("explore", settings))


def labeler(settings: EngineSettings) -> Labeler:
    """The labeler that `settings` describe."""
    return cast(Labeler, _build("label", settings))


def evaluator(settings: EngineSettings) -> Evaluator:
    """The evaluator that `settings` describe."""
    return cast(Evaluator, _build("evaluate", settings))


def _build(role: Role, settings: EngineSettings) -> Any:
    return engine_named(settings.engine).roles[role][1](settings)
