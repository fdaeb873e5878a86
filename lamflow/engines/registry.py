"""From settings to the engine that plays the role."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lamflow.config.catalogue import ListedModel
from lamflow.config.engines import EngineSettings
from lamflow.config.installed import RoleName, engine_named, engines
from lamflow.config.pretrained import PretrainedModel
from lamflow.config.section import expand
from lamflow.data.provenance import Provenance
from lamflow.engines.engine import Engine
from lamflow.engines.protocol import (
    Evaluator,
    Explorer,
    Labeler,
    ModelCard,
    RelaxFolder,
    SaysVersion,
    Searcher,
    Trainer,
)
from lamflow.errors import InputError


def trainer(settings: EngineSettings) -> Trainer:
    """The trainer that `settings` describe."""
    return cast(Trainer, _build("train", settings))


def explorer(settings: EngineSettings) -> Explorer:
    """The explorer that `settings` describe."""
    return cast(Explorer, _build("explore", settings))


def searcher(settings: EngineSettings) -> Searcher:
    """The searcher that `settings` describe."""
    return cast(Searcher, _build("search", settings))


def labeler(settings: EngineSettings) -> Labeler:
    """The labeler that `settings` describe."""
    return cast(Labeler, _build("label", settings))


def evaluator(settings: EngineSettings) -> Evaluator:
    """The evaluator that `settings` describe."""
    return cast(Evaluator, _build("evaluate", settings))


def version(settings: EngineSettings, labeler: Labeler | None = None, work: Path | None = None) -> str:
    """The version of the code that `settings` describe: as its outputs below `work` say it, or as it is found here."""
    said = labeler.version(work) if work is not None and isinstance(labeler, SaysVersion) else None
    return said or _found_version(settings.engine)


@functools.cache
def _found_version(engine: str) -> str:
    """The version of an engine as it is found here; looking may take seconds."""
    return engine_named(engine).version()


def provenance(*engines_used: EngineSettings, labeler: Labeler | None = None, work: Path | None = None) -> Provenance:
    """What this job runs with; `labeler` and `work` let the outputs of a label code say its version."""
    versions = {settings.engine: version(settings, labeler, work) for settings in engines_used}
    return Provenance.of_this_job(versions)


def relax_folder(engine: str, folder: Path) -> RelaxFolder:
    """The structures that `engine` has left in `folder`."""
    settings = engine_named(engine).roles["relax"].settings.model_validate({"engine": engine, "folder": folder})
    return cast(RelaxFolder, _build("relax", settings))


def listed_models() -> dict[str, ListedModel]:
    """Models that engines know by name."""
    known: dict[str, ListedModel] = {}
    for engine in engines().values():
        if isinstance(engine, Engine) and engine.models is not None:
            known |= engine.models()
    return known


def read_card(path: Path, engine: str | None = None) -> ModelCard | None:
    """What the model file at `path` says about itself, as `engine` reads it, or any engine that knows such files.

    None for an engine without model files. Raises InputError, with each engine's reason, for a file that none can read.
    """
    chosen = [engine_named(engine)] if engine is not None else engines().values()
    readers = {item.name: item.card for item in chosen if isinstance(item, Engine) and item.card is not None}
    if not readers:
        if engine is None:
            raise InputError("no engine that is installed here has model files")
        return None
    reasons = []
    for read in readers.values():
        try:
            return read(path)
        except InputError as error:
            reasons.append(str(error))
    raise InputError("; ".join(reasons))


def known_elements(settings: EngineSettings) -> set[str] | None:
    """Elements of which what `settings` describe can say something; None where nobody knows.

    Of a model file those of its training data where it says so, or else of its type map: what it says of others is
    noise.
    """
    model, known = getattr(settings, "model", None), settings.known_elements()
    if known is not None or not isinstance(model, PretrainedModel) or model.file is None:
        return known
    card = read_card(expand(model.file), settings.engine)
    heads = [head for head in card.heads if model.head in (None, head.name, *head.aliases)] if card else []
    return {element for head in heads for element in head.observed or head.elements} or None


def copy_heads(path: Path, heads: Mapping[str, str | None], output: Path) -> None:
    """Write a model file with copies of heads of another, by their new names. Raises InputError."""
    for engine in engines().values():
        if isinstance(engine, Engine) and engine.copy_heads is not None:
            engine.copy_heads(path, heads, output)
            return
    raise InputError("no engine that is installed here has models with several heads")


def _build(role: RoleName, settings: EngineSettings) -> Any:
    make: Any = engine_named(settings.engine).roles[role].make
    return make(settings)
