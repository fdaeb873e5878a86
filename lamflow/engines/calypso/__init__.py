"""CALYPSO: structure search by particle swarm, by its own binary or by lamflow in its place."""

from __future__ import annotations

from typing import Any

from lamflow.config.engines import Engine
from lamflow.engines.calypso.settings import CalypsoSearch


def _searcher(settings: CalypsoSearch) -> Any:
    from lamflow.engines.calypso.searcher import CalypsoSearcher

    return CalypsoSearcher(settings)


def _probe() -> str:
    from lamflow.engines.calypso.searcher import probe

    return probe()


ENGINE = Engine(
    "calypso",
    {"explore": (CalypsoSearch, _searcher)},
    _probe,
    install='pip install "lamflow[calypso]"',
    image="calypso",
)
