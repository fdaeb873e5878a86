"""Labeled frames in the formats that other programs read: extended XYZ, ColabFit's parquet, DeePMD-kit's LMDB."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from lamflow.data import fields as table
from lamflow.data.ase_labels import ase_with_labels
from lamflow.data.dataset import Item, Origin, charge_spin
from lamflow.data.extxyz import write_images
from lamflow.data.sources.databases import LMDB_NAMES, METADATA, ORIGINS
from lamflow.data.sources.packages import needed
from lamflow.errors import InputError

COLUMNS = {table.ENERGY, table.FORCES, table.VIRIAL}
"""Fields that have a column in ColabFit's parquet."""
MAP_SIZE = 1 << 40
"""Bytes that an LMDB file may grow to; it takes only what it holds."""


def write_extra(folder: Path, name: str, items: Sequence[Item], elements: Sequence[str], format: str) -> Path:
    """Write `items` as `name` in `folder` and return the path. Raises InputError where a package is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    match format:
        case "extxyz":
            return write_xyz(folder / f"{name}.extxyz", items)
        case "parquet":
            return write_parquet(folder / f"{name}.parquet", items)
        case _:
            return write_lmdb(folder / f"{name}.lmdb", items, elements)


def write_xyz(path: Path, items: Sequence[Item]) -> Path:
    """Extended XYZ with the labels that ASE reads, and where each frame came from."""
    images = []
    for item in items:
        atoms = ase_with_labels(item.labeled)
        atoms.info |= {"source": item.origin.source, **provenance_words(item.origin)}
        images.append(atoms)
    write_images(path, images)
    return path


def provenance_words(origin: Origin) -> dict[str, str | float]:
    """Head, method, trajectory, charge and multiplicity of a frame for extended XYZ, those that it has, as ASE reads
    them back."""
    words = {"head": origin.head, "method": origin.method, "trajectory": origin.trajectory}
    numbers = {"charge": origin.charge, "multiplicity": origin.multiplicity}
    return {name: _read_as_text(text) for name, text in words.items() if text} | {
        name: number for name, number in numbers.items() if number is not None
    }


@lru_cache(maxsize=1024)
def _read_as_text(text: str) -> str:
    """What ASE has to write so that it reads `text`: it takes 007 for 7 and T for a truth value."""
    from ase.io.extxyz import key_val_dict_to_str, key_val_str_to_dict

    back = key_val_str_to_dict(key_val_dict_to_str({"text": text}))["text"] if len(text.splitlines()) == 1 else None
    return text if isinstance(back, str) and back == text else f"_JSON {json.dumps(' '.join(text.split()))}"


def write_parquet(path: Path, items: Sequence[Item]) -> Path:
    """The columns of ColabFit that hold structures and labels: eV, eV/Å, eV/Å³ with ASE's sign; and the trajectory and
    electronic state.

    Raises InputError for frames with other fields, which have no column.
    """
    carried = {name for item in items for name in (*item.labeled.frame.fields, *item.labeled.labels.fields)}
    foreign = sorted(carried - COLUMNS)
    if foreign:
        raise InputError(f"parquet has no column for {', '.join(foreign)}; write extxyz, LMDB or npy")
    arrow = needed("pyarrow", "to write parquet files")
    parquet = needed("pyarrow.parquet", "to write parquet files")
    rows = [_row(item) for item in items]
    matrix = arrow.list_(arrow.list_(arrow.float64()))
    types = {
        "configuration_id": arrow.string(), "dataset_id": arrow.string(), "chemical_formula_hill": arrow.string(),
        "method": arrow.string(), "trajectory": arrow.string(), "charge": arrow.float64(),
        "multiplicity": arrow.float64(), "nsites": arrow.int32(), "energy": arrow.float64(),
        "atomic_forces": matrix,
        "cauchy_stress": matrix, "cauchy_stress_volume_normalized": arrow.bool_(), "cell": matrix, "positions": matrix,
        "pbc": arrow.list_(arrow.bool_()), "atomic_numbers": arrow.list_(arrow.int32()),
    }  # fmt: skip
    columns = {name: arrow.array([row[name] for row in rows], kind) for name, kind in types.items()}
    parquet.write_table(arrow.table(columns), path)
    return path


def _row(item: Item) -> dict[str, Any]:
    frame, labels = item.labeled.frame, item.labeled.labels
    stress = labels.stress(frame.volume) if frame.pbc else None
    return {
        "configuration_id": f"CO_{frame.content_hash()}", "dataset_id": item.origin.source,
        "chemical_formula_hill": frame.to_ase().get_chemical_formula(mode="hill"),
        "method": item.origin.method or item.origin.head, "trajectory": item.origin.trajectory or None,
        "charge": item.origin.charge, "multiplicity": item.origin.multiplicity,
        "nsites": frame.natoms, "energy": labels.energy, "atomic_forces": labels.forces.tolist(),
        "cauchy_stress": None if stress is None else stress.tolist(), "cauchy_stress_volume_normalized": False,
        "cell": frame.cell.tolist(), "positions": frame.positions.tolist(), "pbc": [frame.pbc] * 3,
        "atomic_numbers": frame.numbers.tolist(),
    }  # fmt: skip


def write_lmdb(path: Path, items: Sequence[Item], elements: Sequence[str]) -> Path:
    """A folder that DeePMD-kit trains from: msgpack by number, and `__metadata__` with types and sizes."""
    lmdb, msgpack = needed("lmdb", "to write LMDB files"), needed("msgpack", "to write DeePMD-kit's LMDB files")
    place = {atomic_numbers[symbol]: index for index, symbol in enumerate(elements)}
    with lmdb.open(str(path), map_size=MAP_SIZE, subdir=True) as environment, environment.begin(write=True) as writer:
        for number, item in enumerate(items):
            frame = item.labeled.frame
            types = np.array([place[int(kind)] for kind in frame.numbers], dtype=np.int32)
            values = {**frame.fields, **item.labeled.labels.fields}
            arrays = {
                "atom_types": types, "coords": frame.positions,
                **({"cells": frame.cell} if frame.pbc else {}),
                **{name: array[0] for name, array in charge_spin([item]).items()},
                **{LMDB_NAMES[row.name]: np.asarray(values[row.name]) for row in table.TABLE if row.name in values},
            }  # fmt: skip
            packed = {name: _packed(array) for name, array in arrays.items()}
            packed["atom_numbs"] = np.bincount(types, minlength=len(elements)).tolist()
            writer.put(format(number, "012d").encode(), msgpack.packb(packed, use_bin_type=True))
        sizes = [item.labeled.frame.natoms for item in items]
        about = {
            "nframes": len(items), "frame_idx_fmt": "012d", "type_map": list(elements), "frame_nlocs": sizes,
            "frame_system_ids": [0] * len(items), **_origins(items),
        }  # fmt: skip
        writer.put(METADATA, msgpack.packb(about, use_bin_type=True))
    return path


def _origins(items: Sequence[Item]) -> dict[str, Any]:
    """Methods, trajectories and states for the metadata, of which DeePMD-kit reads what it knows."""
    columns = {name: [getattr(item.origin, name) for item in items] for name in ORIGINS}
    names = {name: list(dict.fromkeys(column)) for name, column in columns.items()}
    places = {name: {word: place for place, word in enumerate(words)} for name, words in names.items()}
    return {
        key: value for name, column in columns.items() if any(word not in ("", None) for word in column)
        for key, value in ((f"{name}_names", names[name]), (f"frame_{name}", [places[name][word] for word in column]))
    }  # fmt: skip


def _packed(array: Any) -> dict[str, Any]:
    whole = np.ascontiguousarray(array)
    return {"type": whole.dtype.str, "shape": list(whole.shape), "data": whole.tobytes()}
