"""Add an iteration's labels to the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.config.schema import DataStudy
from lamflow.data.dataset import Item, read_dataset, write_dataset
from lamflow.data.layout import (
    DATA,
    DESCRIPTORS,
    GIVEN_SUMMARY,
    HELDOUT_MANIFEST,
    LABELED_RECORD,
    MANIFEST,
    MERGED,
    MERGED_RECORD,
)
from lamflow.data.provenance import Provenance
from lamflow.data.results import Labeled, Merged
from lamflow.data.spent import take
from lamflow.ops.operation import Context, op
from lamflow.ops.read import read_index
from lamflow.policy.failures import failed_labels, refuse_nothing
from lamflow.policy.heldout import hold_out, new_items, require_data
from lamflow.science.diversity import descriptors
from lamflow.science.plausibility import GivenData


class Merging(NamedTuple):
    """train, heldout: data sets of the new frames; known: their hashes and descriptors; merged: merged.json."""

    train: Path
    heldout: Path
    known: Path
    merged: Path
    labels: int


@op
def merge(
    context: Context,
    *,
    input: Path,
    labeled: Path | None,
    before: Path | None = None,
    start_data: Path | None,
    index: Path | None,
    iteration: int,
) -> Merging:
    """Check, deduplicate, split and write what this iteration labeled, and the data that were given at the start.

    before  what was merged of `labeled` already, when other jobs were still running
    """
    study = stored(input, DataStudy)
    known_jobs = set(Merged.read(before / MERGED_RECORD).jobs) if before is not None else set()
    records = sorted(labeled.glob(f"*/{LABELED_RECORD}")) if labeled is not None else []
    folders = [file.parent for file in records if int(file.parent.name) not in known_jobs]
    outcomes = [outcome for folder in folders for outcome in Labeled.read(folder / LABELED_RECORD).outcomes]
    failed = failed_labels(study, outcomes)
    train, heldout = _read(folders, start_data)
    summary = start_data / GIVEN_SUMMARY if start_data is not None else None
    repeated = GivenData.read(summary).repeated if summary is not None and summary.is_file() else 0
    if iteration == 0:
        refuse_nothing(failed, len(train) + len(heldout))
        train, heldout = hold_out(study, train, heldout)
    known = read_index(index, iteration).hashes
    heldout, heldout_twice = new_items(heldout, known)
    train, train_twice = new_items(train, known)
    if iteration == 0:
        require_data(study, train, heldout)
    output = context.out
    added, held = _write(output, study, train, heldout)
    result = Merged(
        provenance=Provenance.of_this_job(), spent=take(),
        added=added, heldout=held, duplicates=heldout_twice + train_twice + repeated, failed=failed,
        seconds=sum(outcome.seconds for outcome in outcomes), labels=len(outcomes) - len(failed),
        cached=sum(outcome.cached for outcome in outcomes),
        jobs=sorted(int(folder.name) for folder in folders),
        remedied=[outcome for outcome in outcomes if outcome.failed is None and len(outcome.attempts) > 1],
    )  # fmt: skip
    result.save(output / MERGED / MERGED_RECORD)
    return Merging(output / "train", output / "heldout", output / "known", output / MERGED, result.labels)


def _read(folders: Sequence[Path], given: Path | None) -> tuple[list[Item], list[Item]]:
    """What was labeled, in an order that no number of jobs changes, then what was given: to train on, held out."""
    items: dict[str, list[Item]] = {"train": [], "heldout": []}
    for folder in folders:
        items[Labeled.read(folder / LABELED_RECORD).role] += read_dataset(folder / DATA)
    for role, labeled in items.items():
        labeled.sort(key=lambda item: item.hash)
        if given is not None and (given / role).is_dir():
            labeled.extend(read_dataset(given / role))
    return items["train"], items["heldout"]


def _write(output: Path, study: DataStudy, train: list[Item], heldout: list[Item]) -> tuple[int, int]:
    """Write both data sets and what later iterations ask of them; returns how many frames they have."""
    manifest = write_dataset(output / "train", train, study.elements, study.data_format)
    held = write_dataset(output / "heldout", heldout, study.elements, study.data_format)
    (output / "known").mkdir(parents=True)
    manifest.save(output / "known" / MANIFEST)
    held.save(output / "known" / HELDOUT_MANIFEST)
    for head in study.all_heads:
        frames = [item.labeled.frame for item in train if item.origin.head == head.name]
        file = output / "known" / f"{head.name}{DESCRIPTORS}"
        np.save(file, descriptors(frames, study.elements), allow_pickle=False)
    return len(manifest.frames), len(held.frames)
