"""CALYPSO: structure search by particle swarm, by its own binary or by lamflow in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamflow.config.engines import Engine
from lamflow.engines.calypso.settings import CalypsoSearch


def _searcher(settings: CalypsoSearch) -> Any:
    from lamflow.engines.calypso.searcher import CalypsoSearcher

    return CalypsoSearcher(settings)


def _folder(path: Path) -> Any:
    from lamflow.engines.calypso.folder import CalypsoFolder

    return CalypsoFolder(path)


def _probe() -> str:
    from lamflow.engines.calypso.searcher import probe

    return probe()


ENGINE = Engine(
    "calypso",
    {"explore": (CalypsoSearch, _searcher)},
    _probe,
    install='pip install "lamflow[calypso]"',
    folder=_folder,
)
