"""ColabFit's parquet files, both generations of columns, row group by row group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lamflow.data.frames import Frame, LabeledFrame
from lamflow.data.shards import SourceFrame
from lamflow.data.sources.dialect import Dialect, Scale, stress_labels
from lamflow.data.sources.packages import needed
from lamflow.data.unread import may_be_unread, state_of, unread
from lamflow.errors import InputError

LABELS = {"energy": "energy", "forces": "atomic_forces", "stress": "cauchy_stress"}
NORMALIZED = "cauchy_stress_volume_normalized"
STRUCTURE = ("positions", "atomic_numbers")
TRAJECTORY = "trajectory"
"""A column that lamflow adds to those of ColabFit."""
OTHERS = ("cell", "pbc", NORMALIZED, "method", "software", TRAJECTORY)
ROWS = 2000


def parquet_frames(path: Path, dialect: Dialect) -> Iterator[SourceFrame]:
    """Frames of a file of ColabFit's: eV, eV/Å, Å; labels that are null or an empty list are missing.

    `cauchy_stress` is in eV/Å³, or in eV where `cauchy_stress_volume_normalized` says that it was multiplied by the
    volume. Its sign is the source's, so data must tell. Raises InputError for a file that is cut off or another one.
    """
    parquet = needed("pyarrow.parquet", "to read parquet files")
    arrow = needed("pyarrow", "to read parquet files")
    try:
        file = parquet.ParquetFile(path)
    except (arrow.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: no parquet file, or one that is cut off: {error}") from error
    dialect.require("parquet", {"keys", "units", "trajectory"})
    if other := sorted(dialect.keys.keys() - LABELS.keys()):
        raise InputError(f"{path}: keys: ColabFit's configurations have no {other[0]}; leave it out")
    names, labels = file.schema_arrow.names, {**LABELS, **dialect.keys}
    chosen = [*(labels[name] for name in dialect.keys), *filter(None, [dialect.trajectory])]
    missing = [name for name in (*STRUCTURE, labels["energy"], labels["forces"], *chosen) if name not in names]
    if missing:
        raise InputError(f"{path}: it has no column {missing[0]}; its columns are {', '.join(names)}")
    unkept = [name for name in names if may_be_unread(name) and name != NORMALIZED]
    wanted = dict.fromkeys([*STRUCTURE, *labels.values(), *OTHERS, *chosen, *unkept])
    number = -1
    try:
        for batch in file.iter_batches(ROWS, columns=[name for name in wanted if name in names]):
            columns = {name: _values(batch.column(name)) for name in batch.schema.names}
            for row in range(batch.num_rows):
                number += 1
                yield _frame({name: column[row] for name, column in columns.items()}, number, dialect, labels)
    except (arrow.ArrowInvalid, OSError) as error:
        yield SourceFrame(number + 1, None, f"cut off: nothing can be read after frame {number}: {error}")


def _values(column: Any) -> list[Any]:
    """A value of each row: a list of numbers becomes one flat array, without a copy; None where there is none."""
    import pyarrow as pa

    def is_list(kind: Any) -> bool:
        return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))

    flat, depth = column, 0
    while is_list(flat.type):
        flat, depth = flat.flatten(), depth + 1
    if not depth or pa.types.is_string(flat.type) or pa.types.is_large_string(flat.type):
        return list(column.to_pylist())
    numbers = flat.to_numpy(zero_copy_only=False)
    ends = _offsets(column, depth)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    return [numbers[ends[row] : ends[row + 1]] if valid[row] else None for row in range(len(column))]


def _offsets(column: Any, depth: int) -> Any:
    """Where the numbers of each row begin in the flat array."""
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    for _ in range(depth - 1):
        column = column.flatten()
        inner = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(inner)]).astype(np.int64)[offsets]
    return offsets


def _frame(row: dict[str, Any], number: int, dialect: Dialect, labels: Mapping[str, str]) -> SourceFrame:
    """One row; a missing label is one that is null, or has no numbers."""
    method = dialect.method or " ".join(filter(None, (row.get("software"), row.get("method"))))
    trajectory = dialect.trajectory_of(row, number) if dialect.trajectory else str(row.get(TRAJECTORY) or "")
    stress = row.get(labels["stress"])
    for name in (*STRUCTURE, labels["energy"], labels["forces"]):
        value = row[name]
        if value is None or (not np.isscalar(value) and not len(value)):
            return SourceFrame(number, None, f"schema: it has no {name}", trajectory, method)
    try:
        numbers = np.asarray(row["atomic_numbers"], dtype=np.int64)
        positions = np.asarray(row["positions"], dtype=np.float64).reshape(len(numbers), 3)
        frame = _structure(numbers, positions, row)
        shape = "virial" if row.get(NORMALIZED) and labels["stress"] == LABELS["stress"] else "stress"
        if stress is not None and shape == "virial":
            stress = -np.asarray(stress, dtype=np.float64)
        forces = np.asarray(row[labels["forces"]], dtype=np.float64).reshape(len(numbers), 3)
        read = stress_labels(row[labels["energy"]], forces, stress, frame, shape)
    except ValueError as error:
        return SourceFrame(number, None, f"schema: {error}", trajectory, method)
    carried = {name: value for name, value in row.items() if name != NORMALIZED}
    left = unread(carried, LabeledFrame(frame, read))
    item = (dialect.scale or Scale()).applied(LabeledFrame(frame, read), has_stress=shape == "stress")
    return SourceFrame(number, item, "", trajectory, method, left, state_of(carried))


def _structure(numbers: Any, positions: Any, row: dict[str, Any]) -> Frame:
    pbc = np.asarray(row.get("pbc") if row.get("pbc") is not None else [True] * 3, dtype=bool)
    if pbc.any() and not pbc.all():
        raise ValueError("it is periodic in some directions only; models know systems periodic in all or in none")
    if not pbc.any():
        return Frame(numbers, positions, np.zeros((3, 3)), pbc=False)
    cell = row.get("cell")
    if cell is None or not len(cell):
        raise ValueError("it is periodic and has no cell")
    return Frame(numbers, positions, np.asarray(cell, dtype=np.float64).reshape(3, 3))
