"""An engine: a code with the roles that it plays, typed so that only what keeps a role's promise can play it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lamflow.config.catalogue import ListedModel
from lamflow.config.engines import (
    EngineSettings,
    ExplorerSettings,
    FolderSettings,
    LabelerSettings,
    SearcherSettings,
    TrainerSettings,
)
from lamflow.config.installed import InstalledEngine, Role
from lamflow.engines.protocol import Evaluator, Explorer, Labeler, ModelCard, RelaxFolder, Searcher, Trainer

__all__ = ["Engine", "Role"]


@dataclass(frozen=True)
class Engine(InstalledEngine):
    """A code and the roles that it plays; see InstalledEngine for the other fields.

    train, explore, search, label, evaluate, relax  None for roles that it does not play
    models      models that the engine knows by name, as files where they are on this machine; None if it knows none
    card        reads what a model file of the engine says about itself, raises InputError for a file that is none;
                None for an engine without such files
    copy_heads  writes a model file with copies of heads of another, by their new names
    preload     imports what its jobs import, once for all jobs of a run on one machine; it may start no thread and
                touch no GPU. None where that takes no time
    """

    train: Role[TrainerSettings, Trainer] | None = None
    explore: Role[ExplorerSettings, Explorer] | None = None
    search: Role[SearcherSettings, Searcher] | None = None
    label: Role[LabelerSettings, Labeler] | None = None
    evaluate: Role[EngineSettings, Evaluator] | None = None
    relax: Role[FolderSettings, RelaxFolder] | None = None
    models: Callable[[], dict[str, ListedModel]] | None = None
    card: Callable[[Path], ModelCard] | None = None
    copy_heads: Callable[[Path, Mapping[str, str | None], Path], None] | None = None
    preload: Callable[[], None] | None = None
