"""The files that a run of cleaning begins with: dealt out to jobs by their size, and put into the run."""

from __future__ import annotations

import itertools
import os
import shutil
from collections import Counter
from pathlib import Path

from lamflow.config.cleaning import CleaningStudy, Source
from lamflow.config.references import files_of
from lamflow.config.section import expand
from lamflow.data.cleaning import SourceFile, SourceList
from lamflow.data.files import sha256_of
from lamflow.data.layout import SOURCE_LIST, SOURCES, iteration_key
from lamflow.data.sources import source_frames
from lamflow.data.walk import files_below
from lamflow.errors import InputError, Problems
from lamflow.policy.sources import dialect_of

LOOKED_AT = 20
"""Frames of a file that are read before anything runs."""


def begin(study: CleaningStudy, folder: Path, slots: int) -> None:
    """Put the files of all sources below the `folder` of a run, a folder for each of at most `slots` jobs."""
    files = [(source, expand(path)) for source in study.sources for path in files_of(source.data)]
    sizes = [_size(path) for _, path in files]
    jobs: list[list[int]] = [[] for _ in range(max(1, min(slots, len(files))))]
    loads = [0] * len(jobs)
    for index in sorted(range(len(files)), key=lambda index: -sizes[index]):
        job = loads.index(min(loads))
        jobs[job].append(index)
        loads[job] += sizes[index]
    for job, members in enumerate(jobs):
        target = folder / iteration_key(0) / SOURCES / str(job)
        target.mkdir(parents=True)
        listed = []
        for index in sorted(members):
            source, path = files[index]
            name = f"{index:05d}/{path.name}"
            _put(path, target / name)
            digest = sha256_of(target / name)
            listed.append(
                SourceFile(source=source.name, name=name, original=str(path), size=sizes[index], sha256=digest)
            )
        SourceList(files=listed).save(target / SOURCE_LIST)


def inspect(study: CleaningStudy) -> list[str]:
    """Warnings about the first frames of every file. Raises InputError for files of which nothing can be read."""
    problems, warnings = Problems(), list[str]()
    for number, source in enumerate(study.sources):
        unconverged, files = dict[int, str](), files_of(source.data)
        for index, path in enumerate(files):
            with problems.collect(f"sources[{number}].data[{index}]"):
                try:
                    warnings += _look(source, expand(path))
                except _UnconvergedError as error:
                    unconverged[index] = str(error)
        if len(unconverged) < len(files):
            warnings += unconverged.values()
            continue
        for index, said in unconverged.items():
            with problems.collect(f"sources[{number}].data[{index}]"):
                raise InputError(said)
    problems.report()
    return warnings


class _UnconvergedError(InputError):
    """A file has no labeled frame because its code did not converge: one of many such outputs may."""


def _look(source: Source, path: Path) -> list[str]:
    read = list(itertools.islice(source_frames(path, dialect_of(source)), LOOKED_AT))
    if not read:
        raise InputError(f"{path}: there is no frame in it")
    lost = [item for item in read if item.labeled is None]
    if len(lost) < len(read):
        reasons = [f"{count} {problem}" for problem, count in Counter(item.problem for item in lost).most_common()]
        return [f"{path}: {len(lost)} of the first {len(read)} frames are none: {'; '.join(reasons)}"] if lost else []
    said = f"{path}: none of its first {len(read)} frames is a labeled frame: {lost[0].problem}"
    raise _UnconvergedError(said) if all(item.problem.startswith("unconverged") for item in lost) else InputError(said)


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(file.stat().st_size for file in (files_below(path) if path.is_dir() else [path]))


def _put(path: Path, target: Path) -> None:
    """A file, or a folder with all that lies below it; hard links where they can be made, copies elsewhere."""
    files = {file: target / file.relative_to(path) for file in files_below(path)} if path.is_dir() else {path: target}
    for source, copy in files.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source.resolve(), copy)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, copy)
