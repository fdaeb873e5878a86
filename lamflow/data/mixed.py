"""Data sets in deepmd/npy/mixed: frames of one size share a system, whatever their composition."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from lamflow.data import fields as table
from lamflow.data.dataset import FrameRecord, Item, Manifest, charge_spin, labels_hash
from lamflow.data.files import file_hash
from lamflow.data.layout import MANIFEST, SYSTEMS
from lamflow.data.npy import MIXED, TYPES
from lamflow.data.walk import files_below
from lamflow.errors import InputError


def write_mixed(path: Path, items: Sequence[Item], elements: Sequence[str]) -> Manifest:
    """Write `items` as a data set at `path`, and return its manifest.

    Below systems/, and the name of the head if there is one, lies a system for each number of atoms; isolated systems
    and frames with other fields lie apart. Raises InputError for an element that is not in `elements`.
    """
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(_group(item), []).append(item)
    records, labeled = [], []
    for name, members in sorted(groups.items()):
        folder = path / SYSTEMS / name
        _write(folder, members, elements)
        for index, item in enumerate(members):
            frame = item.labeled.frame
            records.append(
                FrameRecord(
                    hash=frame.content_hash(), natoms=frame.natoms, system=f"{SYSTEMS}/{name}", index=index,
                    origin=item.origin,
                )
            )  # fmt: skip
            labeled.append(item.labeled)
    path.mkdir(parents=True, exist_ok=True)
    files = {str(file.relative_to(path)): file_hash(file) for file in files_below(path)}
    manifest = Manifest(elements=list(elements), format=MIXED, frames=records, files=files, labels=labels_hash(labeled))
    manifest.save(path / MANIFEST)
    return manifest


def _group(item: Item) -> str:
    frame, labels = item.labeled.frame, item.labeled.labels
    present = {**frame.fields, **labels.fields}
    rows = sorted(table.TABLE, key=lambda row: row.owner == "frame")
    suffix = "".join(row.with_suffix if row.name in present else row.without_suffix for row in rows)
    head = f"{item.origin.head}/" if item.origin.head else ""
    return f"{head}{frame.natoms:06d}{'' if frame.pbc else '-isolated'}{suffix}"


def _write(folder: Path, items: Sequence[Item], elements: Sequence[str]) -> None:
    place = {atomic_numbers[symbol]: index for index, symbol in enumerate(elements)}
    frames = [item.labeled.frame for item in items]
    foreign = next(
        ((item, number) for item in items for number in item.labeled.frame.numbers if int(number) not in place), None
    )
    if foreign is not None:
        raise InputError(f"{foreign[0].origin.source}: element {foreign[1]} is not in elements {list(elements)}")
    target = folder / "set.000"
    target.mkdir(parents=True)
    (folder / "type_map.raw").write_text("\n".join(elements) + "\n", encoding="utf-8")
    (folder / "type.raw").write_text("\n".join(["0"] * frames[0].natoms) + "\n", encoding="utf-8")
    if not frames[0].pbc:
        (folder / "nopbc").touch()
    arrays = {
        "coord": [frame.positions for frame in frames],
        "box": [frame.cell if frame.pbc else 100.0 * np.eye(3) for frame in frames],
    }
    values = [{**item.labeled.frame.fields, **item.labeled.labels.fields} for item in items]
    arrays |= {row.deepmd: [value[row.name] for value in values] for row in table.TABLE if row.name in values[0]}
    arrays |= charge_spin(items)
    for name, several in arrays.items():
        stacked = np.stack(several).astype(np.float64)
        flat = stacked if stacked.ndim == 1 else stacked.reshape(len(items), -1)
        np.save(target / f"{name}.npy", flat, allow_pickle=False)
    types = [[place[int(number)] for number in frame.numbers] for frame in frames]
    np.save(target / f"{TYPES}.npy", np.array(types, dtype=np.int64), allow_pickle=False)
