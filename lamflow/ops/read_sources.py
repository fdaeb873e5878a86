"""Read files of labeled data as they are into shards, with what is known of every frame."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lamflow.config import stored
from lamflow.config.cleaning import CleaningStudy, Source
from lamflow.data.cleaning import ReadFile, ReadRecord, SourceList
from lamflow.data.files import sha256_of
from lamflow.data.layout import FEATURES, READ_RECORD, SHARDS, SOURCE_LIST
from lamflow.data.provenance import Provenance
from lamflow.data.shards import ATOMS, Shard, SourceFrame, Unreadable
from lamflow.data.sources import source_frames
from lamflow.data.spent import take
from lamflow.errors import InputError
from lamflow.ops.operation import Context, op
from lamflow.policy.sources import dialect_of
from lamflow.science.cleaning.describe import features


class ShardsRead(NamedTuple):
    """shards: a folder for each job, with its shards and read.json."""

    shards: Path


@op
def read_sources(context: Context, *, input: Path, sources: Path) -> ShardsRead:
    """Read every file that this job was given."""
    study, started = stored(input, CleaningStudy), time.monotonic()
    named = {source.name: source for source in study.sources}
    listed = SourceList.read(sources / SOURCE_LIST).files
    folder, count, records = context.out / SHARDS / f"{context.job:03d}", 0, []
    for done, file in enumerate(listed):
        path, kept, lost = sources / file.name, 0, Counter[tuple[str, str]]()
        if sha256_of(path) != file.sha256:
            raise InputError(
                f"{file.original}: changed since the run began, whose copy is a link to it where that can be; put it "
                "back as it was, or begin the run anew in another folder (--dir)"
            )
        first, unread = dict[tuple[str, str], int](), Counter[str]()
        for frames in _pieces(path, file.original, named[file.source], lost, first):
            shard = Shard.of(file.source, file.original, frames)
            unread.update(line for frame in frames for line in frame.unread)
            target = folder / f"{count:04d}"
            shard.save(target)
            features(list(shard), shard.steps).save(target / FEATURES)
            kept, count = kept + len(shard), count + 1
            context.progress((done + 0.5) / len(listed))
        unreadable = [
            Unreadable(file=file.original, rule=rule, reason=reason, frames=frames, first=first[rule, reason])
            for (rule, reason), frames in lost.most_common()
        ]
        records.append(
            ReadFile(
                source=file.source, original=file.original, frames=kept, unreadable=unreadable,
                unread=dict(unread), sha256=file.sha256,
            )
        )  # fmt: skip
        context.say(f"{file.original}: {kept} labeled frames, {lost.total()} others")
    ReadRecord(
        files=records,
        shards=count,
        seconds=time.monotonic() - started,
        provenance=Provenance.of_this_job(),
        spent=take(),
    ).save(folder / READ_RECORD)
    return ShardsRead(context.out / SHARDS)


def _pieces(
    path: Path, original: str, source: Source, lost: Counter[tuple[str, str]], first: dict[tuple[str, str], int]
) -> Iterator[list[SourceFrame]]:
    """Labeled frames of a file, as many as belong into a shard; what is none is counted in `lost`."""
    held: list[SourceFrame] = []
    atoms = 0
    for item in _under_its_name(source_frames(path, dialect_of(source)), path, original):
        if item.labeled is None:
            rule, _, reason = item.problem.partition(": ")
            lost[rule, reason] += 1
            first.setdefault((rule, reason), item.number)
            continue
        held.append(item)
        atoms += item.labeled.frame.natoms
        if atoms >= ATOMS:
            yield held
            held, atoms = [], 0
    if held:
        yield held


def _under_its_name(items: Iterator[SourceFrame], path: Path, original: str) -> Iterator[SourceFrame]:
    """The items; what is wrong is said of the user's file, not of the run's copy."""
    try:
        yield from items
    except InputError as error:
        raise InputError(str(error).replace(str(path), original)) from error
