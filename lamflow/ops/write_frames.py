"""Write the frames that are kept as data sets to train on and to judge by, and those that are quarantined."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lamflow.config import stored
from lamflow.config.cleaning import CleaningStudy
from lamflow.data.arrays import read_arrays
from lamflow.data.ase_labels import ase_with_labels
from lamflow.data.cleaning import Quarantine, Quarantined
from lamflow.data.dataset import Item, Manifest, Origin, read_dataset, write_dataset
from lamflow.data.files import file_hash
from lamflow.data.frames import LabeledFrame
from lamflow.data.job_record import JobRecord
from lamflow.data.layout import (
    CLEANED,
    DATA,
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
from lamflow.data.writers import write_extra
from lamflow.ops.operation import Context, op
from lamflow.policy.jobs import indices_of_job


class WrittenRecord(JobRecord):
    """What one job has written: frames by role, and SHA-256 of each data set's manifest."""

    frames: dict[str, int]
    digests: dict[str, str]
    relabeled: int = 0


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
    target = context.out / CLEANED / str(context.job)
    digests, frames, start = dict[str, str](), {"train": 0, "heldout": 0}, 0
    mine = set(indices_of_job(len(folders), context.jobs, context.job))
    for index, folder in enumerate(folders):
        size = _size(folder)
        if index in mine:
            shard = Shard.read(folder)
            part = {name: verdicts[name][start : start + size] for name in ("state", "heldout", "head", "turned")}
            roles = _items(shard, part, verdicts["heads"])
            for role, items in roles.items():
                key = f"{TRAIN if role == 'train' else HELDOUT}/{round_name(index)}"
                _write(context.out / role / round_name(index), items, elements, study)
                digests[key] = file_hash(context.out / role / round_name(index) / MANIFEST)
                frames[role] += len(items)
                for format in study.formats:
                    write_extra(
                        target / format.replace("/", "-"), f"{role}-{round_name(index)}", items, elements, format
                    )
            _write_quarantine(target / QUARANTINED, index, shard, bad.get(str(folder.relative_to(shards)), []))
            context.progress((index + 1) / len(folders))
        start += size
    again = _labeled_again(study, labeled) if labeled is not None and context.job == 0 else []
    if again:
        path = context.out / "train" / round_name(len(folders))
        _write(path, again, elements, study)
        digests[f"{TRAIN}/{round_name(len(folders))}"] = file_hash(path / MANIFEST)
    target.mkdir(parents=True, exist_ok=True)
    WrittenRecord(
        frames=frames, digests=digests, relabeled=len(again), provenance=Provenance.of_this_job(), spent=take()
    ).save(target / WRITTEN_RECORD)
    for role in ("train", "heldout"):
        (context.out / role).mkdir(parents=True, exist_ok=True)
    return FramesWritten(context.out / "train", context.out / "heldout", context.out / CLEANED)


def _labeled_again(study: CleaningStudy, labeled: Path) -> list[Item]:
    """Frames that were in quarantine, with the labels that an engine has given them."""
    head = (study.relabel.head if study.relabel is not None else None) or "relabeled"
    items = [item for folder in sorted(labeled.glob(f"*/{DATA}/{MANIFEST}")) for item in read_dataset(folder.parent)]
    return [Item(item.labeled, item.origin.model_copy(update={"head": head})) for item in items]


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
            iteration=0, source=f"{shard.about.file}#{int(shard.number[index])}", head=str(heads[part["head"][index]])
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


def _write(path: Path, items: Sequence[Item], elements: Sequence[str], study: CleaningStudy) -> Manifest:
    if study.data_format == "deepmd/npy/mixed":
        return write_mixed(path, items, elements)
    return write_dataset(path, items, elements, study.data_format)


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
            atoms.info |= {
                "id": about.id, "source": about.source, "file": about.file, "number": about.number,
                "evidence": "; ".join(f"{item.rule}: {item.says}" for item in about.evidence).replace('"', "'"),
            }  # fmt: skip
            images.append(atoms)
    folder.mkdir(parents=True, exist_ok=True)
    from ase.io import write

    write(folder / f"{round_name(index)}.extxyz", images, format="extxyz")
