"""Databases: .aselmdb shards as those of OMat24, DeePMD-kit's LMDB, and ASE's own databases."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from lamflow.data import fields as table
from lamflow.data.ase_labels import STRESS
from lamflow.data.fields import ENERGY, FORCES
from lamflow.data.frames import Frame, LabeledFrame, Labels
from lamflow.data.shards import SourceFrame
from lamflow.data.sources.dialect import MATERIALS_PROJECT, Dialect, Scale, stress_labels
from lamflow.data.sources.packages import needed
from lamflow.data.unread import state_of, unread
from lamflow.errors import InputError

METADATA = b"__metadata__"
ORIGINS = ("trajectory", "method", "charge", "multiplicity")
"""What lamflow says in the metadata of DeePMD-kit's LMDB of every frame, beside what DeePMD-kit reads there."""
LMDB_NAMES = {row.name: row.deepmd if row.name in (table.SPIN, table.FORCE_MAG) else row.dpdata for row in table.TABLE}
"""Fields as DeePMD-kit's LMDB calls them: it takes dpdata's names, but not those of moments and magnetic forces."""


def lmdb_file(path: Path) -> Path | None:
    """The LMDB file at `path`, a file or a folder of one; None if there is none."""
    if path.is_dir():
        return path / "data.mdb" if (path / "data.mdb").is_file() else None
    return path if path.suffix in (".aselmdb", ".lmdb", ".mdb") else None


def lmdb_frames(path: Path, dialect: Dialect) -> Iterator[SourceFrame]:
    """Frames of an LMDB file, of ASE's kind or DeePMD-kit's. Raises InputError for one that is cut off."""
    lmdb = needed("lmdb", "to read LMDB files")
    try:
        opened = lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False)
        with opened as environment, environment.begin() as reader:
            _require_whole(path, (environment.info()["last_pgno"] + 1) * environment.stat()["psize"])
            deepmd = reader.get(METADATA) is not None
            yield from (_deepmd if deepmd else _ase)(reader, path, dialect)
    except lmdb.Error as error:
        raise InputError(f"{path}: no LMDB file, or one that is cut off: {error}") from error


def _require_whole(path: Path, size: int) -> None:
    """Raise InputError for a file that is shorter than its pages: reading one that is not there kills the process."""
    file = lmdb_file(path)
    there = file.stat().st_size if file is not None else size
    if there < size:
        raise InputError(f"{path}: an LMDB file that is cut off: it has {there} of {size} bytes; copy it again")


def _ase(reader: Any, path: Path, dialect: Dialect) -> Iterator[SourceFrame]:
    """Rows of ASE's LMDB: zlib of JSON by number, arrays as {"__ndarray__": [shape, dtype, values]}."""
    keys = sorted(int(key) for key, _ in reader.cursor() if key.isdigit())
    if not keys:
        raise InputError(f"{path}: there is no row of ASE's in this LMDB file")
    for number, key in enumerate(keys):
        try:
            row = json.loads(zlib.decompress(reader.get(str(key).encode())), object_hook=_array)
            yield _ase_row(row, number, dialect)
        except (zlib.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            yield SourceFrame(number, None, f"schema: row {key} cannot be read: {error}")


def _array(value: dict[str, Any]) -> Any:
    if "__ndarray__" not in value:
        return value
    shape, kind, numbers = value["__ndarray__"]
    return np.array(numbers, dtype=kind).reshape(shape)


def _ase_row(row: dict[str, Any], number: int, dialect: Dialect) -> SourceFrame:
    data = {**(row.get("data") or {}), **(row.get("key_value_pairs") or {})}
    carried, keys = {**data, **row}, {name: dialect.keys.get(name, name) for name in (ENERGY, FORCES, STRESS)}
    trajectory = dialect.trajectory_of(carried if dialect.trajectory else data, number)
    if dialect.energy:
        keys[ENERGY] = MATERIALS_PROJECT[dialect.energy]
    wanted = [keys[ENERGY], keys[FORCES], *([keys[STRESS]] if STRESS in dialect.keys else [])]
    if missing := [name for name in wanted if carried.get(name) is None]:
        return SourceFrame(number, None, f"schema: it has no {missing[0]}", trajectory)
    if other := sorted(dialect.keys.keys() - keys.keys()):
        raise InputError(f"keys: rows of ASE's databases have no {other[0]}; leave it out")
    pbc = np.asarray(row.get("pbc", [True] * 3), dtype=bool)
    if pbc.any() and not pbc.all():
        return SourceFrame(number, None, "schema: it is periodic in some directions only", trajectory)
    cell = np.asarray(row["cell"], dtype=np.float64) if pbc.all() else np.zeros((3, 3))
    frame = Frame(np.asarray(row["numbers"], dtype=np.int64), np.asarray(row["positions"]), cell, bool(pbc.all()))
    labels = stress_labels(carried[keys[ENERGY]], carried[keys[FORCES]], carried.get(keys[STRESS]), frame)
    labeled = LabeledFrame(frame, labels)
    item = (dialect.scale or Scale()).applied(labeled, has_stress=True)
    method = dialect.method or str(data.get("method", ""))
    return SourceFrame(number, item, "", trajectory, method, unread(data, labeled), state_of(data))


def _deepmd(reader: Any, path: Path, dialect: Dialect) -> Iterator[SourceFrame]:
    """Frames of DeePMD-kit's LMDB: msgpack of arrays {type, shape, data}; see deepmd.dpmodel.utils.lmdb_data."""
    dialect.require("DeePMD-kit's LMDB", {"units"})
    msgpack = needed("msgpack", "to read DeePMD-kit's LMDB files")
    about = msgpack.unpackb(reader.get(METADATA), raw=False)
    kinds = [atomic_numbers.get(name, 0) for name in about["type_map"]]
    width = str(about.get("frame_idx_fmt", "012d"))
    origins = [dict(zip(ORIGINS, row, strict=True)) for row in zip(*(_origins(about, n) for n in ORIGINS), strict=True)]
    for number in range(int(about["nframes"])):
        packed = reader.get(format(number, width).encode())
        if packed is None:
            yield SourceFrame(number, None, f"cut off: frame {number} of {about['nframes']} is not in {path.name}")
            continue
        try:
            values = {name: _msgpack_array(value) for name, value in msgpack.unpackb(packed, raw=False).items()}
            item = _deepmd_frame(values, kinds, dialect)
            carried, method = {**origins[number], **values}, dialect.method or origins[number]["method"] or ""
            trajectory = origins[number]["trajectory"] or ""
            yield SourceFrame(number, item, "", trajectory, method, unread(carried, item), state_of(carried))
        except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            yield SourceFrame(number, None, f"schema: it has {error}")


def _origins(about: dict[str, Any], name: str) -> list[Any]:
    """What lamflow writes into the metadata of each frame's origin; None where it says nothing.

    name  one of `ORIGINS`: values lie in {name}_names, and the place of each frame's in frame_{name}
    """
    words, places = about.get(f"{name}_names"), about.get(f"frame_{name}")
    if words is None or places is None:
        return [None] * int(about["nframes"])
    return [words[place] for place in places]


def _msgpack_array(value: Any) -> Any:
    if isinstance(value, dict) and {"type", "shape", "data"} <= value.keys():
        return np.frombuffer(value["data"], dtype=value["type"]).reshape(value["shape"])
    return value


def _deepmd_frame(values: dict[str, Any], kinds: list[int], dialect: Dialect) -> LabeledFrame:
    numbers = np.array(kinds, dtype=np.int64)[np.asarray(values["atom_types"], dtype=np.int64)]
    cell = values.get("cells")
    pbc = cell is not None and bool(np.any(cell)) and not values.get("nopbc", False)
    box = np.asarray(cell, dtype=np.float64).reshape(3, 3) if pbc else np.zeros((3, 3))
    positions = np.asarray(values["coords"], dtype=np.float64).reshape(-1, 3)
    inputs, labels = (
        {row.name: values.get(LMDB_NAMES[row.name], values.get(row.dpdata)) for row in rows}
        for rows in (table.frame_fields(), table.label_fields())
    )
    frame = Frame(numbers, positions, box, pbc, inputs)
    item = LabeledFrame(frame, Labels.of(labels, frame.natoms))
    return (dialect.scale or Scale()).applied(item, has_stress=False)
