"""The structures of a study: read, built or drawn at random, then varied, and looked at by the filters."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lamflow.config.engines import ExplorerSettings, SearcherSettings
from lamflow.config.learning import Config
from lamflow.config.schema import DataStudy, TrainingStudy
from lamflow.config.section import expand
from lamflow.config.seeds import child_seed
from lamflow.config.structures import StructureSet
from lamflow.data import Frame, Trajectory
from lamflow.data.io import read_structures
from lamflow.engines import registry
from lamflow.engines.protocol import SearchJob
from lamflow.errors import EngineError, InputError
from lamflow.policy.structures import build_crystal, make_copies
from lamflow.science.filters import REASONS, Limits, refused

GENERATED: dict[tuple[int, str, str], list[Frame]] = {}
"""Random structures that were made in this process; a plan and its manifest ask for them again."""
SAMPLE = 10
"""Random structures that a check makes of a set: they are all alike, and a whole set takes minutes."""


def sample_of(settings: StructureSet, config: DataStudy) -> list[Frame]:
    """The structures of a set, of random ones SAMPLE at most. Raises InputError."""
    if isinstance(settings.generate, SearcherSettings) and settings.generate.population > SAMPLE:
        fewer = settings.generate.model_copy(update={"population": SAMPLE})
        settings = settings.model_copy(update={"generate": fewer})
    return frames_of(settings, config)


def frames_of(settings: StructureSet, config: DataStudy) -> list[Frame]:
    """The structures of a set. Raises InputError."""
    try:
        if settings.crystal is not None:
            sources = [build_crystal(settings.crystal)]
        elif settings.generate is not None:
            sources = _random_structures(settings, config)
        else:
            files = [(expand(file), settings.format) for file in settings.files]
            sources = [frame for file, kind in files for frame in read_structures(file, kind, config.elements)]
    except ValueError as error:
        raise InputError(f"structures.{settings.name}: {error}") from error
    limits = Limits(**config.frame_filters.model_dump())
    try:
        frames = make_copies(sources, settings, config.seed)
    except ValueError as error:
        raise InputError(f"structures.{settings.name}: {error}") from error
    verdicts = _verdicts(frames, limits)
    kept = [frame for frame, verdict in zip(frames, verdicts, strict=True) if not verdict]
    if settings.generate is not None and kept:  # what is random may be refused
        frames = kept
    elif len(kept) < len(frames):
        number, verdict = next((number, verdict) for number, verdict in enumerate(verdicts) if verdict)
        raise InputError(
            f"structures.{settings.name}: structure {number}: {REASONS[verdict]}; no frame like this passes "
            + ("select.filters" if isinstance(config, Config) else "filters")
        )
    foreign = sorted({symbol for frame in frames for symbol in frame.symbols} - set(config.elements))
    if foreign:
        raise InputError(f"structures.{settings.name}: {', '.join(foreign)} is not in elements {config.elements}")
    if isinstance(config, TrainingStudy):
        _check_moments(settings.name, frames, config.train.magnetic_elements)
    return frames


def _check_moments(name: str, frames: Sequence[Frame], magnetic: Sequence[str]) -> None:
    """Raise InputError for a structure without the moments that models need."""
    for number, frame in enumerate(frames):
        needed = sorted(set(frame.symbols) & set(magnetic))
        if needed and frame.spins is None:
            raise InputError(
                f"structures.{name}: structure {number}: its {', '.join(needed)} has no magnetic moments, which "
                "train.spin needs; give the set `spins`, or its files a column `spin` (extended XYZ)"
            )


def _verdicts(frames: Sequence[Frame], limits: Limits) -> list[int]:
    """For each frame the index into REASONS; frames of the same atoms that follow each other are looked at together."""
    verdicts: list[int] = []
    for _, alike in itertools.groupby(frames, key=_kind):
        members = list(alike)
        verdicts += refused(Trajectory.of(members, [0] * len(members)), limits).tolist()
    return verdicts


def _kind(frame: Frame) -> tuple[bool, bytes, frozenset[str]]:
    return frame.pbc, frame.numbers.tobytes(), frozenset(frame.fields)


def _random_structures(settings: StructureSet, config: DataStudy) -> list[Frame]:
    """The first generation of a structure search. Raises InputError when no structure can be made."""
    assert settings.generate is not None  # noqa: S101  the caller has looked
    key = config.seed, settings.name, settings.generate.model_dump_json()
    if key not in GENERATED:
        GENERATED[key] = _generated(settings, settings.generate, config.seed)
    return GENERATED[key]


def _generated(settings: StructureSet, search: ExplorerSettings, seed: int) -> list[Frame]:
    missing = search.missing()
    if missing is not None:
        raise InputError(f"structures.{settings.name}.generate: {missing}")
    with tempfile.TemporaryDirectory() as folder:
        own = child_seed(seed, "generate", settings.name)
        job = SearchJob(Path(folder) / "search", 1, search.conditions()[0], own)
        try:
            return registry.searcher(search).propose(job, [])
        except EngineError as error:
            raise InputError(f"structures.{settings.name}.generate: {error}") from error
