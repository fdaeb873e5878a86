"""Training sets: DeePMD's own formats on disk, written and read through dpdata, with a manifest beside them.

A data set is a folder:

    manifest.json     elements, format, and for every frame its content hash, where it lies and where it came from
    systems/…         deepmd/npy or deepmd/npy/mixed

A run's training set is a folder of such folders, one an iteration; nothing that was written is written again.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from lamflow.data import fields as table
from lamflow.data.files import file_hash
from lamflow.data.frames import LabeledFrame
from lamflow.data.layout import MANIFEST, SYSTEMS
from lamflow.data.manifest import (
    Format,
    FrameRecord,
    Manifest,
    Origin,
    frame_key,
    manifests,
    read_manifest,
    verified_manifests,
    verify,
    verify_as_known,
)
from lamflow.data.npy import CHARGE_SPIN, read_labeled_frames
from lamflow.data.spent import spending
from lamflow.data.walk import files_below, folders_with
from lamflow.errors import InputError

__all__ = [
    "Format",
    "FrameRecord",
    "Item",
    "Manifest",
    "Origin",
    "frame_key",
    "head_systems",
    "labels_hash",
    "manifests",
    "read_dataset",
    "read_manifest",
    "resampled",
    "systems",
    "verified_manifests",
    "verify",
    "verify_as_known",
    "write_dataset",
]

DPDATA_WRITES = ("energies", "forces", "virials")
"""Fields that dpdata writes itself; the others are written beside them."""


@dataclass(frozen=True, eq=False)
class Item:
    """A labeled frame that knows its origin."""

    labeled: LabeledFrame
    origin: Origin

    @cached_property
    def hash(self) -> str:
        """The frame's content hash."""
        return self.labeled.frame.content_hash()

    @property
    def key(self) -> str:
        """See `frame_key`."""
        return frame_key(self.hash, self.origin.head)


@spending("data")
def write_dataset(
    path: Path, items: Sequence[Item], elements: Sequence[str], format: Format, *, repeats: bool = False
) -> Manifest:
    """Write `items` as a data set at `path`, which must not exist, and return its manifest.

    Frames that repeat within a head are written once, the first one kept, or all of them with `repeats`. Atoms are
    ordered by element, so every composition is one system of each head. Raises InputError for an element that is not in
    `elements`.
    """
    groups: dict[str, list[Item]] = {}
    seen: set[str] = set()
    for given in items:
        item = Item(_ordered(given.labeled, elements, given.origin), given.origin)
        if repeats or item.key not in seen:
            seen.add(item.key)
            head = f"{item.origin.head}/" if item.origin.head else ""
            groups.setdefault(head + _group_name(item.labeled, elements), []).append(item)
    records = []
    for name, members in sorted(groups.items()):
        system = _write_system(path, name, members, elements, format)
        records += [
            FrameRecord(
                hash=item.hash,
                natoms=item.labeled.frame.natoms,
                system=system,
                index=index,
                origin=item.origin,
            )
            for index, item in enumerate(members)
        ]
    path.mkdir(parents=True, exist_ok=True)
    files = {str(file.relative_to(path)): file_hash(file) for file in files_below(path)}
    labeled = [item.labeled for _, members in sorted(groups.items()) for item in members]
    manifest = Manifest(
        elements=list(elements), format=format, frames=records, files=files, labels=labels_hash(labeled)
    )
    manifest.save(path / MANIFEST)
    return manifest


def labels_hash(labeled: Sequence[LabeledFrame]) -> str:
    """Hash of the labels of frames, in their order."""
    digest = hashlib.sha256()
    for item in labeled:
        for name, value in item.labels.fields.items():
            digest.update(name.encode() + np.ascontiguousarray(value, dtype="<f8").tobytes())
    return digest.hexdigest()[:32]


def systems(path: Path) -> list[Path]:
    """Folders of the systems in a data set, or in every data set of a folder of them, in a fixed order."""
    folders = folders_with(path, "type.raw")
    if not folders:
        raise InputError(f"{path}: no data: there is no type.raw below this folder")
    return folders


def head_systems(path: Path) -> dict[str, list[Path]]:
    """Folders of the systems of each head in all data sets below `path`, oldest first."""
    found: dict[str, list[Path]] = {}
    for folder in sorted(file.parent for file in path.glob(f"*/{MANIFEST}")):
        for record in read_manifest(folder).frames:
            mine = found.setdefault(record.origin.head, [])
            if folder / record.system not in mine:
                mine.append(folder / record.system)
    return found


@spending("data")
def resampled(systems: Sequence[Path], folder: Path, seed: int) -> dict[Path, Path]:
    """A bootstrap sample of the frames of `systems` below `folder`: as many, drawn with repetition.

    Returns the copy of each system. A system of which no frame was drawn keeps one, so that no composition is lost.
    """
    sizes = [sum(len(np.load(file, mmap_mode="r")) for file in system.glob("set.*/energy.npy")) for system in systems]
    drawn = np.random.default_rng(seed).integers(sum(sizes), size=sum(sizes))
    copies, begin = {}, 0
    for number, (system, size) in enumerate(zip(systems, sizes, strict=True)):
        mine = np.sort(drawn[(drawn >= begin) & (drawn < begin + size)]) - begin
        begin += size
        if not len(mine):
            mine = np.zeros(1, dtype=np.int64)
        copy = copies[system] = folder / f"{number:04d}"
        (copy / "set.000").mkdir(parents=True, exist_ok=True)
        for file in system.iterdir():
            if file.is_file():
                shutil.copyfile(file, copy / file.name)
        sets = sorted(system.glob("set.*"))
        for file in sets[0].glob("*.npy"):
            whole = np.concatenate([np.load(part / file.name, allow_pickle=False) for part in sets])
            np.save(copy / "set.000" / file.name, whole[mine], allow_pickle=False)
    return copies


@spending("data")
def read_dataset(path: Path) -> list[Item]:
    """Every frame of the data set at `path`, in the order of its manifest. Raises StateError as `verify` does."""
    manifest = verify(path)
    names = {record.system for record in manifest.frames}
    loaded = {name: read_labeled_frames(path / name) for name in names}
    return [Item(loaded[record.system][record.index], record.origin) for record in manifest.frames]


def _ordered(labeled: LabeledFrame, elements: Sequence[str], origin: Origin) -> LabeledFrame:
    """The frame with its atoms sorted by their place in `elements`, order kept within an element."""
    frame, labels = labeled.frame, labeled.labels
    unknown = sorted(set(frame.symbols) - set(elements))
    if unknown:
        raise InputError(f"{origin.source}: {', '.join(unknown)} is not in elements {list(elements)}")
    rank = {atomic_numbers[symbol]: place for place, symbol in enumerate(elements)}
    order = np.argsort([rank[number] for number in frame.numbers], kind="stable")
    return LabeledFrame(frame.reordered(order), replace(labels.reordered(order), attempts=()))


def _group_name(labeled: LabeledFrame, elements: Sequence[str]) -> str:
    """Formula, with what must not be mixed with others: isolated systems, frames without a virial, hot electrons."""
    symbols = labeled.frame.symbols
    formula = "".join(f"{e}{symbols.count(e)}" for e in elements if e in symbols)
    present = {**labeled.frame.fields, **labeled.labels.fields}
    rows = sorted(table.TABLE, key=lambda row: row.owner == "frame")  # as folders have been called: -novirial-hot
    suffixes = (row.with_suffix if row.name in present else row.without_suffix for row in rows)
    return formula + ("" if labeled.frame.pbc else "-isolated") + "".join(suffixes)


def charge_spin(items: Sequence[Item]) -> dict[str, Any]:
    """DeePMD-kit's array (F, 2) of charges and multiplicities by its name, where all frames say both."""
    states = [(item.origin.charge, item.origin.multiplicity) for item in items]
    return {} if any(None in state for state in states) else {CHARGE_SPIN: np.array(states, dtype=np.float64)}


def _write_system(path: Path, name: str, items: list[Item], elements: Sequence[str], format: Format) -> str:
    """Write frames of one composition through dpdata and return the system's folder below `path`."""
    import dpdata

    frames = [item.labeled.frame for item in items]
    labels = [item.labeled.labels for item in items]
    types = np.array([list(elements).index(symbol) for symbol in frames[0].symbols])
    data: dict[str, Any] = {
        "atom_names": list(elements),
        "atom_numbs": [int((types == place).sum()) for place in range(len(elements))],
        "atom_types": types,
        "orig": np.zeros(3),
        "coords": np.stack([frame.positions for frame in frames]),
        "cells": np.stack([frame.cell if frame.pbc else 100.0 * np.eye(3) for frame in frames]),
    }
    rows = [row for row in table.TABLE if row.name in {**frames[0].fields, **labels[0].fields}]
    values = [{**frame.fields, **label.fields} for frame, label in zip(frames, labels, strict=True)]
    stacked = {row.name: np.stack([value[row.name] for value in values]) for row in rows}
    data.update({row.dpdata: stacked[row.name] for row in rows if row.dpdata in DPDATA_WRITES})
    if not frames[0].pbc:
        data["nopbc"] = True
    system = dpdata.LabeledSystem(data=data)
    folder = path / SYSTEMS / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    if format == "deepmd/npy":
        system.to("deepmd/npy", str(folder), set_size=max(len(items), 1), prec=np.float64)
        written = folder
    else:
        mixed = dpdata.MultiSystems(system, type_map=list(elements))
        mixed.to("deepmd/npy/mixed", str(folder), set_size=max(len(items), 1), prec=np.float64)
        written = next(folder.glob("**/type.raw")).parent
    for row in rows:
        if row.dpdata not in DPDATA_WRITES:
            flat = stacked[row.name].reshape(len(items), -1)
            np.save(next(written.glob("set.*")) / f"{row.deepmd}.npy", flat, allow_pickle=False)
    for file, array in charge_spin(items).items():
        np.save(next(written.glob("set.*")) / f"{file}.npy", array, allow_pickle=False)
    return str(written.relative_to(path))
