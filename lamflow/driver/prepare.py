"""Everything that is done once, before the first iteration: settings, structures and start data into the store."""

from __future__ import annotations

import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lamflow.config.schema import Config, StructureSet
from lamflow.config.section import Section, expand
from lamflow.data import Frame
from lamflow.data.batch import Batch, Role
from lamflow.data.dataset import Item, Origin, write_dataset
from lamflow.data.io import read_labeled, read_structures
from lamflow.data.packed import PackedFrames
from lamflow.data.results import Run
from lamflow.data.store import INPUT, STRUCTURES, iteration_key
from lamflow.driver.rundir import RunDirectory, versions
from lamflow.errors import InputError
from lamflow.science.structures import build_crystal, make_copies
from lamflow.science.tasks import deal, pods_needed

ENGINE_SECTIONS = ("train", "stages", "label")
"""Sections whose files the engines open; other files are read here, once."""


def prepare(config: Config, directory: RunDirectory, slots: int) -> None:
    """Fill the store of a new run. run.json is written last, so a preparation that was cut off is done again.

    Raises InputError for data or structures that cannot be used.
    """
    for name in ("input", "structures", "data", "iterations", "work"):
        shutil.rmtree(directory.path / name, ignore_errors=True)
    structures = {settings.name: frames_of(settings, config) for settings in config.structures}
    save_settings(config, directory)
    for name, frames in structures.items():
        PackedFrames.of(frames).save(directory.path / STRUCTURES / f"{name}.npz")
    start = directory.path / iteration_key(0)
    _write_given(config, start / "given")
    _write_batches(config, structures, start / "selected" / "batches", slots)
    Run(
        name=config.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        fingerprint=fingerprint(config),
        versions=versions(),
        state="running",
    ).save(directory.record)


def save_settings(config: Config, directory: RunDirectory) -> None:
    """input/config.json and the files that engines open, so that the run depends on nothing outside its folder."""
    folder = directory.path / INPUT
    frozen = config.model_copy(update={name: _with_copies(getattr(config, name), folder) for name in ENGINE_SECTIONS})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(frozen.model_dump_json(indent=1))


def fingerprint(config: Config) -> str:
    """Changes when a setting does that cannot change once a run has begun."""
    fixed = {"name", "seed", "elements", "structures", "start", "heldout", "data_format"}
    return hashlib.sha256(config.model_dump_json(include=fixed).encode()).hexdigest()[:16]


def frames_of(settings: StructureSet, config: Config) -> list[Frame]:
    """The structures of a set. Raises InputError."""
    try:
        if settings.crystal is not None:
            sources = [build_crystal(settings.crystal)]
        else:
            sources = [frame for file in settings.files for frame in read_structures(expand(file), settings.format)]
    except ValueError as error:
        raise InputError(f"structures.{settings.name}: {error}") from error
    frames = make_copies(sources, settings, config.seed)
    foreign = sorted({symbol for frame in frames for symbol in frame.symbols} - set(config.elements))
    if foreign:
        raise InputError(f"structures.{settings.name}: {', '.join(foreign)} is not in elements {config.elements}")
    return frames


def require_engines(config: Config) -> None:
    """Raise InputError that names every engine that the run needs and this machine lacks."""
    settings = [config.train, config.label, *(group for stage in config.stages for group in stage.explore)]
    missing = sorted({text for text in (section.missing() for section in settings) if text})
    if missing:
        raise InputError("\n  ".join(["an engine is missing on this machine:", *missing]))


def check_inputs(config: Config) -> None:
    """Read every file of structures and data. Raises InputError for what cannot be used; builds no crystal."""
    for settings in config.structures:
        if settings.files:
            frames_of(settings, config)
    start_items(config)


def start_items(config: Config) -> dict[str, list[Item]]:
    """Labeled data that the user brought, for training and held out. Raises InputError."""
    found: dict[str, list[Item]] = {"train": [], "heldout": []}
    for role, section in (("train", config.start), ("heldout", config.heldout)):
        for file in section.data:
            for number, labeled in enumerate(read_labeled(expand(file), section.format)):
                foreign = sorted(set(labeled.frame.symbols) - set(config.elements))
                if foreign:
                    raise InputError(
                        f"{file}: frame {number}: {', '.join(foreign)} is not in elements {config.elements}"
                    )
                found[role].append(Item(labeled, Origin(iteration=0, source=f"{file.name}#{number}")))
    return found


def _write_given(config: Config, folder: Path) -> None:
    for role, items in start_items(config).items():
        if items:
            write_dataset(folder / role, items, config.elements, config.data_format)


def _write_batches(config: Config, structures: dict[str, list[Frame]], folder: Path, slots: int) -> None:
    """Batches of the frames that are labeled before the first iteration, those held out apart from the others."""
    number = 0
    roles: list[tuple[Role, list[str]]] = [("train", config.start.label), ("heldout", config.heldout.label)]
    for role, names in roles:
        chosen = [
            (frame, Origin(iteration=0, source=f"{name}:{index}"))
            for name in names
            for index, frame in enumerate(structures[name])
        ]
        if not chosen:
            continue
        pods = pods_needed(len(chosen), config.pods.label.parallel or slots, config.pods.label.tasks_per_pod)
        for pod in range(pods):
            mine = [chosen[place] for place in deal(len(chosen), pods, pod)]
            Batch([frame for frame, _ in mine], [origin for _, origin in mine], role).save(folder / str(number))
            number += 1


def _with_copies(value: Any, folder: Path) -> Any:
    """`value` with every file in it copied below `folder` and named relative to it."""
    if isinstance(value, Path):
        source = expand(value)
        digest = hashlib.sha256(source.read_bytes()).hexdigest()[:8]
        target = folder / "files" / f"{digest}-{source.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copyfile(source, target)
        return target.relative_to(folder)
    if isinstance(value, Section):
        return value.model_copy(
            update={name: _with_copies(getattr(value, name), folder) for name in type(value).model_fields}
        )
    if isinstance(value, list):
        return [_with_copies(item, folder) for item in value]
    if isinstance(value, dict):
        return {key: _with_copies(item, folder) for key, item in value.items()}
    return value
