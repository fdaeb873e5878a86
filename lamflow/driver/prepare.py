"""Everything that is done once, before the first iteration: settings, structures and start data into the store."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lamflow.config.engines import LabelerSettings
from lamflow.config.installed import engine_packages
from lamflow.config.labeled import Heldout, Start
from lamflow.config.read import SETTINGS
from lamflow.config.references import files_of
from lamflow.config.schema import DataStudy
from lamflow.config.section import expand, rebuilt
from lamflow.data import Frame
from lamflow.data.batch import Batch, Role
from lamflow.data.dataset import Origin, write_dataset
from lamflow.data.files import content_hash, write_whole
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
from lamflow.driver.inspection import inspected, labelers
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import REPAIR, InputError, StateError, printable
from lamflow.flow.kinds import kind_of
from lamflow.policy.jobs import indices_of_job, jobs_needed, proportional_jobs

ENGINE_SECTIONS = (
    "train", "stages", "label", "heads", "evaluate", "potentials", "reference", "simulate", "models", "properties",
)  # fmt: skip
"""Sections whose files the engines open; other files are read here, once."""


def prepare(config: DataStudy, directory: RunDirectory, slots: int, references: Sequence[Reference] = ()) -> None:
    """Fill the store of a new run. run.json is written last, so a preparation that was cut off is done again.

    Raises InputError for data or structures that cannot be used, StateError for a folder that holds something else.
    """
    inspection = inspected(config, config, references)
    structures = inspection.structures
    for warning in inspection.warnings:
        print(f"lamflow: {printable(warning)}", file=sys.stderr)
    _make_room(directory)
    (directory.path / INPUT).mkdir(parents=True)
    write_whole(directory.path / INPUT / SETTINGS, snapshot(config, directory))
    for name, frames in structures.items():
        PackedFrames.of(frames).save(directory.path / STRUCTURES / f"{name}.npz")
    start = directory.path / iteration_key(0)
    for role, items in inspection.data.items.items():
        if items:
            write_dataset(start / GIVEN / role, items, config.elements, config.data_format)
            inspection.summary.save(start / GIVEN / GIVEN_SUMMARY)
    _write_batches(label_jobs(config, structures, slots), start / SELECTED / BATCHES)
    kind_of(config).begin(config, directory.path, slots)
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
            f"folder with --dir; if it was a run, {REPAIR}"
        )
    marker.touch()
    for name in (*STORED, WORK):
        shutil.rmtree(directory.path / name, ignore_errors=True)


def snapshot(config: DataStudy, directory: RunDirectory) -> str:
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
    plain |= config.source_settings
    files += config.source_files
    plain["files"] = [taken.get(file) or content_hash(file) for file in files]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def require_engines(config: DataStudy) -> None:
    """Raise InputError that names every engine that the run needs and this machine lacks."""
    settings = [*labelers(config), *config.engines]
    missing = sorted({text for text in (section.missing() for section in settings) if text})
    if missing:
        raise InputError("\n  ".join(["an engine is missing on this machine:", *missing]))


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
        count = jobs_needed(len(chosen), proportional_jobs(slots, len(chosen), total), study.pods.label.work_per_job)
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
