"""Everything that is done once, before the first iteration: settings, structures and start data into the store."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lamflow.config.engines import ExplorerSettings, LabelerSettings, WalkerSettings
from lamflow.config.installed import engine_packages
from lamflow.config.labeled import Heldout, Start
from lamflow.config.learning import Config
from lamflow.config.read import SETTINGS
from lamflow.config.references import files_of
from lamflow.config.schema import DataStudy
from lamflow.config.section import expand, rebuilt
from lamflow.config.seeds import child_seed
from lamflow.config.structures import StructureSet
from lamflow.data import Frame, Trajectory
from lamflow.data.batch import Batch, Role
from lamflow.data.dataset import Origin, write_dataset
from lamflow.data.files import content_hash, write_whole
from lamflow.data.io import read_structures
from lamflow.data.layout import (
    BATCHES,
    FILES,
    GIVEN,
    GIVEN_SUMMARY,
    INPUT,
    PREPARING,
    SELECTED,
    STORED,
    STRUCTURES,
    WORK,
    iteration_key,
)
from lamflow.data.packed import PackedFrames
from lamflow.data.provenance import PACKAGES, versions
from lamflow.data.run import Reference, Run
from lamflow.driver.pretrained import fetched
from lamflow.driver.references import resolved
from lamflow.driver.rundir import RunDirectory
from lamflow.driver.start_data import check_start, read_start
from lamflow.engines import registry
from lamflow.engines.protocol import ChecksFrames, SearchJob
from lamflow.errors import EngineError, InputError, StateError
from lamflow.policy.jobs import indices_of_job, jobs_needed, proportional_jobs
from lamflow.policy.structures import build_crystal, make_copies
from lamflow.science.filters import REASONS, Limits, refused
from lamflow.science.plausibility import GivenData

GENERATED: dict[tuple[int, str, str], list[Frame]] = {}
"""Random structures that were made in this process; a plan and its manifest ask for them again."""
ENGINE_SECTIONS = ("train", "stages", "label", "heads", "evaluate")
"""Sections whose files the engines open; other files are read here, once."""


def prepare(config: DataStudy, directory: RunDirectory, slots: int, references: Sequence[Reference] = ()) -> None:
    """Fill the store of a new run. run.json is written last, so a preparation that was cut off is done again.

    Raises InputError for data or structures that cannot be used, StateError for a folder that holds something else.
    """
    structures = {settings.name: frames_of(settings, config) for settings in config.structures}
    _check_labels(config, structures)
    _check_explored(config, structures)
    data = read_start(config)
    check_start(config, data, structures)
    summary = data.summary()
    for warning in [*summary.warnings, *examine(config)]:
        print(f"lamflow: {warning}", file=sys.stderr)
    _check_budget(config, structures)
    _make_room(directory)
    (directory.path / INPUT).mkdir(parents=True)
    write_whole(directory.path / INPUT / SETTINGS, frozen(config, directory))
    for name, frames in structures.items():
        PackedFrames.of(frames).save(directory.path / STRUCTURES / f"{name}.npz")
    start = directory.path / iteration_key(0)
    for role, items in data.items.items():
        if items:
            write_dataset(start / GIVEN / role, items, config.elements, config.data_format)
            summary.save(start / GIVEN / GIVEN_SUMMARY)
    _write_batches(label_jobs(config, structures, slots), start / SELECTED / BATCHES)
    Run(
        workflow=config.workflow,
        name=config.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        fingerprint=fingerprint(config, references),
        references=list(references),
        versions=versions((*PACKAGES, *engine_packages())),
        state="running",
    ).save(directory.record)
    (directory.path / PREPARING).unlink()


def _make_room(directory: RunDirectory) -> None:
    """Begin with an empty store; what a preparation that was cut off left is thrown away, and nothing else ever is."""
    marker = directory.path / PREPARING
    found = sorted(name for name in (*STORED, WORK) if (directory.path / name).exists())
    if found and not marker.is_file():
        raise StateError(
            f"{directory.path}: holds {', '.join(found)} and no run; lamflow would write over it, so choose another "
            "folder with --dir"
        )
    marker.touch()
    for name in (*STORED, WORK):
        shutil.rmtree(directory.path / name, ignore_errors=True)


def frozen(config: DataStudy, directory: RunDirectory) -> str:
    """The settings as the run keeps them. Files that engines open are copied into the run's folder."""
    folder = directory.path / INPUT
    config = _fixed(config)
    sections = [name for name in ENGINE_SECTIONS if name in type(config).model_fields]
    update = {name: _with_copies(getattr(config, name), folder) for name in sections}
    return config.model_copy(update=update).model_dump_json(indent=1)


def _fixed(config: DataStudy) -> DataStudy:
    """With what the label engines want to stay the same during the run."""

    def pinned(part: Any) -> Any:
        return part.pinned(config) if isinstance(part, LabelerSettings) else None

    return config.model_copy(update={name: rebuilt(getattr(config, name), pinned) for name in ("label", "heads")})


def fingerprint(config: DataStudy, references: Sequence[Reference]) -> str:
    """Changes when a setting, or the content of a file, does that cannot change once a run has begun.

    Data of other runs count by the hashes of their `references`: they may be gone.
    """
    taken = {Path(folder): reference.sha256 for reference in references for folder in reference.folders}
    plain = config.model_dump(mode="json", include={"name", "seed", "elements", "structures", "data_format"})
    files = [expand(file) for settings in config.structures for file in settings.files]
    files += [
        expand(file) for part in config.all_heads for data in (part.start, part.heldout) for file in files_of(data.data)
    ]
    for section in plain["structures"]:
        section.pop("files", None)
    for part in config.all_heads:
        start, heldout = (
            data.model_dump(mode="json", exclude={"data"} if data.keys else {"data", "keys"})
            for data in (part.start, part.heldout)
        )
        plain[f"data of {part.name}"] = [start, heldout]
    plain["files"] = [taken.get(file) or content_hash(file) for file in files]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def _check_budget(config: DataStudy, structures: dict[str, list[Frame]]) -> None:
    first = sum(len(structures[name]) for names in config.labeled_first.values() for name in names)
    if config.budget.labels is not None and first > config.budget.labels:
        raise InputError(
            f"budget.labels is {config.budget.labels}, and {first} structures are to be labeled before the first "
            "iteration (start.label and heldout.label); raise it or label fewer"
        )


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
    if settings.generate is not None:  # what is random may be refused
        frames = [frame for frame in frames if not refused(Trajectory.of([frame], [0]), limits)[0]] or frames
    for number, frame in enumerate(frames):
        verdict = int(refused(Trajectory.of([frame], [0]), limits)[0])
        if verdict:
            raise InputError(
                f"structures.{settings.name}: structure {number}: {REASONS[verdict]}; no frame like this passes "
                + ("select.filters" if isinstance(config, Config) else "filters")
            )
    foreign = sorted({symbol for frame in frames for symbol in frame.symbols} - set(config.elements))
    if foreign:
        raise InputError(f"structures.{settings.name}: {', '.join(foreign)} is not in elements {config.elements}")
    return frames


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


def require_engines(config: DataStudy) -> None:
    """Raise InputError that names every engine that the run needs and this machine lacks."""
    settings = [*labelers(config), *config.engines]
    missing = sorted({text for text in (section.missing() for section in settings) if text})
    if missing:
        raise InputError("\n  ".join(["an engine is missing on this machine:", *missing]))


def labelers(config: DataStudy) -> list[LabelerSettings]:
    """Every label engine of the run."""
    return [part.label for part in config.all_heads if part.label is not None]


def examine(config: DataStudy) -> list[str]:
    """Warnings about the model files that engines are given. Raises InputError for those that cannot be used."""
    warnings: list[str] = []
    for settings in [*config.engines, *labelers(config)]:
        warnings += settings.examine(config)
    return warnings


@dataclass(frozen=True)
class Inspection:
    """What a study was given, and what a person should know of it."""

    given: GivenData
    warnings: list[str]


def inspect_inputs(config: DataStudy) -> Inspection:
    """Read every file of structures, data and models that is here.

    Crystals are built for engines that refuse some structures. Raises InputError for what cannot be used.
    """
    config, _ = resolved(config)
    built = bool(_walkers(config)) or any(_refusing(settings) for settings in labelers(config))
    sets = [each for each in config.structures if each.files or (built and each.crystal is not None)]
    structures = {settings.name: frames_of(settings, config) for settings in sets}
    _check_labels(config, structures)
    _check_explored(config, structures)
    data = read_start(config)
    check_start(config, data, structures)
    given = data.summary()
    return Inspection(given, [*given.warnings, *examine(fetched(config, only_if_here=True))])


def check_inputs(config: DataStudy) -> list[str]:
    """Read every file that is here, and return warnings: see `inspect_inputs`."""
    return inspect_inputs(config).warnings


def _refusing(settings: LabelerSettings) -> ChecksFrames | None:
    """The label engine, if it knows what it refuses; one whose model has not been fetched does not."""
    try:
        labeler = registry.labeler(settings)
    except EngineError:
        return None
    return labeler if isinstance(labeler, ChecksFrames) else None


def _walkers(config: DataStudy) -> list[tuple[str, WalkerSettings]]:
    """Every explorer that begins with structures, and the name of its key."""
    groups = [
        (f"stages[{number}].explore[{index}]", group)
        for number, stage in enumerate(getattr(config, "stages", []))
        for index, group in enumerate(stage.explore)
    ]
    return [(where, group) for where, group in groups if isinstance(group, WalkerSettings)]


def _check_explored(config: DataStudy, structures: Mapping[str, list[Frame]]) -> None:
    """Raise InputError for a structure that an explorer cannot begin with."""
    for where, group in _walkers(config):
        for name in group.structures:
            for index, frame in enumerate(structures.get(name, [])):
                reason = group.unsupported_start(frame)
                if reason is not None:
                    raise InputError(f"{where}: structures.{name}, structure {index}: {reason}")


def _check_labels(config: DataStudy, structures: Mapping[str, list[Frame]]) -> None:
    """Raise InputError when structures that are labeled or explored are none for their label engine."""
    for part in config.all_heads:
        labeler = _refusing(part.label) if part.label is not None else None
        if labeler is None:
            continue
        explored = config.explored_structures(part.name)
        for name in dict.fromkeys([*part.start.label, *part.heldout.label, *explored]):
            reason = labeler.unsupported_reason(structures[name][0]) if name in structures else None
            if reason is not None:
                raise InputError(f"label: structures.{name} cannot be labeled: {reason}")


@dataclass(frozen=True)
class LabelJob:
    """Frames that one job labels before the first training, with their origins, and what they are for."""

    role: Role
    frames: list[tuple[Frame, Origin]]


def label_jobs(study: DataStudy, structures: Mapping[str, Sequence[Frame]], slots: int) -> list[LabelJob]:
    """The jobs that label structures before the first training, those held out apart from the others."""
    jobs: list[LabelJob] = []
    total = sum(len(structures[name]) for names in study.labeled_first.values() for name in names)
    for (head, role), names in study.labeled_first.items():
        chosen = [
            (frame, Origin(iteration=0, source=f"{name}:{index}", head=head))
            for name in names
            for index, frame in enumerate(structures[name])
        ]
        count = jobs_needed(len(chosen), proportional_jobs(slots, len(chosen), total), study.pods.label.tasks_per_pod)
        jobs += [
            LabelJob(role, [chosen[index] for index in indices_of_job(len(chosen), count, job)]) for job in range(count)
        ]
    return jobs


def _write_batches(jobs: Sequence[LabelJob], folder: Path) -> None:
    for number, job in enumerate(jobs):
        frames, origins = [frame for frame, _ in job.frames], [origin for _, origin in job.frames]
        Batch(frames, origins, job.role).save(folder / str(number))


def _with_copies(value: Any, folder: Path) -> Any:
    """`value` with every file in it copied below `folder` and named relative to it."""

    def copied(part: Any) -> Any:
        if isinstance(part, Start | Heldout):
            return part  # its files are read here, once
        if not isinstance(part, Path):
            return None
        source = expand(part)
        target = folder / FILES / content_hash(source)[:8] / source.name  # codes ask for files by their names
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")
            shutil.copyfile(source, partial)
            partial.replace(target)
        return target.relative_to(folder)

    return rebuilt(value, copied)
