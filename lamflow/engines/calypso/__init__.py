"""CALYPSO: structure search by particle swarm, by its own binary or by lamflow in its place."""

from __future__ import annotations

from pathlib import Path

from lamflow.engines.calypso.settings import CalypsoFolderSettings, CalypsoSearch
from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example, copper_frames
from lamflow.engines.protocol import RelaxFolder, Searcher


def _searcher(settings: CalypsoSearch) -> Searcher:
    from lamflow.engines.calypso.searcher import CalypsoSearcher

    return CalypsoSearcher(settings)


def _folder(settings: CalypsoFolderSettings) -> RelaxFolder:
    from lamflow.engines.calypso.folder import CalypsoFolder

    return CalypsoFolder(settings.folder)


def _probe() -> str:
    from lamflow.engines.calypso.searcher import probe

    return probe()


def _search_example(folder: Path) -> Example:
    del folder
    return Example(
        {"ranges": {"Cu": [0, 4], "Au": [0, 4]}, "max_atoms": 4, "population": 4, "generations": 2, "similarity": 0.0}
    )


def _folder_example(folder: Path) -> Example:
    from lamflow.engines.calypso.exchange import Exchange

    frames = copper_frames()[:2]
    Exchange(folder / "generation").write_generation(frames, 1)
    return Example({"folder": folder / "generation"}, frames)


ENGINE = Engine(
    "calypso",
    _probe,
    install='pip install "lamflow[calypso]"',
    image="tools",
    packages=("pyxtal",),
    search=Role(CalypsoSearch, _searcher, example=_search_example),
    relax=Role(CalypsoFolderSettings, _folder, example=_folder_example),
)
