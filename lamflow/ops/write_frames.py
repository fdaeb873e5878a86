"""Write the frames that are kept as data sets to train on and to judge by, and those that are quarantined."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.config.cleaning import CleaningStudy
from lamflow.data.arrays import read_arrays
from lamflow.data.ase_labels import ase_with_labels
from lamflow.data.cleaning import Quarantine, Quarantined
from lamflow.data.dataset import Item, Origin, read_dataset, write_dataset
from lamflow.data.files import file_hash
from lamflow.data.frames import LabeledFrame
from lamflow.data.job_record import JobRecord
from lamflow.data.layout import (
    CLEANED,
    DATA,
    FEATURES,
    HELDOUT,
    MANIFEST,
    QUARANTINE,
    QUARANTINED,
    TRAIN,
    VERDICTS,
    WRITTEN_RECORD,
    round_name,
)
from lamflow.data.mixed import write_mixed
from lamflow.data.provenance import Provenance
from lamflow.data.shards import Shard, shards_below
from lamflow.data.spent import take
from lamflow.data.writers import provenance_words, write_extra
from lamflow.ops.operation import Context, op
from lamflow.policy.jobs import indices_of_job
from lamflow.science.cleaning.describe import features


class WrittenRecord(JobRecord):
    """What one job has written: frames by role, and SHA-256 of each data set's manifest."""

    frames: dict[str, int]
    digests: dict[str, str]
    relabeled: int = 0
    """Frames to train on, among `frames`, that have new labels; their features lie beside the record."""


class FramesWritten(NamedTuple):
    """train, heldout: a data set for each shard; cleaned: a folder for each job, with other formats and quarantine."""

    train: Path
    heldout: Path
    cleaned: Path


@op
def write_frames(context: Context, *, input: Path, shards: Path, checked: Path, labeled: Path | None) -> FramesWritten:
    """Write shards job, job + jobs, …; the first job writes frames that were labeled again, too."""
    study, folders = stored(input, CleaningStudy), shards_below(shards)
    verdicts = read_arrays(checked / VERDICTS)
    elements = [str(element) for element in verdicts["elements"]]
    bad = _by_shard(Quarantine.read(checked / QUARANTINE))
    target, start = context.out / CLEANED / str(context.job), 0
    writer = _Writer(study, elements, context.out, target)
    mine = set(indices_of_job(len(folders), context.jobs, context.job))
    for index, folder in enumerate(folders):
        size = _size(folder)
        if index in mine:
            shard = Shard.read(folder)
            part = {name: verdicts[name][start : start + size] for name in ("state", "heldout", "head", "turned")}
            for role, items in _items(shard, part, verdicts["heads"]).items():
                writer.write(role, round_name(index), items)
            _write_quarantine(target / QUARANTINED, index, shard, bad.get(str(folder.relative_to(shards)), []))
            context.progress((index + 1) / len(folders))
        start += size
    again = _labeled_again(study, labeled) if labeled is not None and context.job == 0 else []
    target.mkdir(parents=True, exist_ok=True)
    if again:
        writer.write("train", round_name(len(folders)), again)
        features([item.labeled for item in again], np.arange(len(again))).save(target / FEATURES)
    WrittenRecord(
        frames=writer.frames, digests=writer.digests, relabeled=len(again), provenance=Provenance.of_this_job(),
        spent=take(),
    ).save(target / WRITTEN_RECORD)  # fmt: skip
    for role in ("train", "heldout"):
        (context.out / role).mkdir(parents=True, exist_ok=True)
    return FramesWritten(context.out / "train", context.out / "heldout", context.out / CLEANED)


@dataclass(eq=False)
class _Writer:
    """Writes frames in every format of the study: the one way for all of them, and counts them."""

    study: CleaningStudy
    elements: Sequence[str]
    out: Path
    others: Path
    frames: dict[str, int] = field(default_factory=lambda: {"train": 0, "heldout": 0})
    digests: dict[str, str] = field(default_factory=dict)

    def write(self, role: str, name: str, items: Sequence[Item]) -> None:
        """A data set `name` of a role, and the same frames in other formats."""
        path = self.out / role / name
        if self.study.data_format == "deepmd/npy/mixed":
            write_mixed(path, items, self.elements)
        else:
            write_dataset(path, items, self.elements, self.study.data_format, repeats=True)
        self.digests[f"{TRAIN if role == 'train' else HELDOUT}/{name}"] = file_hash(path / MANIFEST)
        self.frames[role] += len(items)
        for format in self.study.formats:
            write_extra(self.others / format.replace("/", "-"), f"{role}-{name}", items, self.elements, format)


def _labeled_again(study: CleaningStudy, labeled: Path) -> list[Item]:
    """Frames that were in quarantine, with the labels that an engine has given them."""
    assert study.relabel is not None  # noqa: S101  nothing is labeled then
    head = study.relabel.into
    items = [item for folder in sorted(labeled.glob(f"*/{DATA}/{MANIFEST}")) for item in read_dataset(folder.parent)]
    return [Item(item.labeled, item.origin.model_copy(update={"head": head, "method": head})) for item in items]


def _size(folder: Path) -> int:
    from lamflow.data.layout import SHARD
    from lamflow.data.shards import About

    return About.read(folder / SHARD).frames


def _items(shard: Shard, part: dict[str, Any], heads: Any) -> dict[str, list[Item]]:
    """The frames that are kept, by what they are for."""
    roles: dict[str, list[Item]] = {"train": [], "heldout": []}
    for index, labeled in enumerate(shard):
        if part["state"][index] != 0:
            continue
        origin = Origin(
            iteration=0,
            source=f"{shard.about.file}#{int(shard.number[index])}",
            head=str(heads[part["head"][index]]),
            **shard.origin_of(index),
        )
        item = Item(_turned(labeled) if part["turned"][index] else labeled, origin)
        roles["heldout" if part["heldout"][index] else "train"].append(item)
    return {role: items for role, items in roles.items() if items}


def _turned(labeled: LabeledFrame) -> LabeledFrame:
    """The frame with its virial's sign turned."""
    virial = labeled.labels.virial
    return labeled if virial is None else dataclasses.replace(
        labeled, labels=dataclasses.replace(labeled.labels, virial=-virial)
    )  # fmt: skip


def _by_shard(quarantine: Quarantine) -> dict[str, list[Quarantined]]:
    found: dict[str, list[Quarantined]] = {}
    for item in quarantine.frames:
        found.setdefault(item.shard, []).append(item)
    return found


def _write_quarantine(folder: Path, index: int, shard: Shard, frames: Sequence[Quarantined]) -> None:
    """The quarantined frames of a shard as extended XYZ, each with its id and what speaks against it."""
    if not frames:
        return
    chosen = {item.index: item for item in frames}
    images = []
    for place, labeled in enumerate(shard):
        if place in chosen:
            atoms = ase_with_labels(labeled)
            about = chosen[place]
            origin = Origin(iteration=0, source=about.source, head=about.head, **shard.origin_of(place))
            atoms.info |= provenance_words(origin) | {
                "id": about.id, "source": about.source, "file": about.file, "number": about.number,
                "evidence": "; ".join(f"{item.rule}: {item.says}" for item in about.evidence).replace('"', "'"),
            }  # fmt: skip
            images.append(atoms)
    folder.mkdir(parents=True, exist_ok=True)
    from ase.io import write

    write(folder / f"{round_name(index)}.extxyz", images, format="extxyz")
