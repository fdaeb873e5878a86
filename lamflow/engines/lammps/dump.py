"""LAMMPS text dumps, read whole in a few array operations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lamflow.data.frames import Floats, Ints
from lamflow.errors import EngineError

HEADER = 9
"""Lines of a snapshot before its atoms."""


def read_dump(path: Path) -> tuple[Ints, Floats, Floats, Ints]:
    """Types (N,), positions (F, N, 3) in Å, cells (F, 3, 3) in Å and steps (F,) of a dump sorted by atom id.

    The dump needs the columns type, x (or xu), y and z. A snapshot that was cut off by a crash is left out.
    Raises EngineError when there is no whole snapshot, or the number of atoms changes.
    """
    text = path.read_text(errors="replace") if path.is_file() else ""
    lines = text.splitlines()
    if text and not text.endswith("\n"):
        lines.pop()
    if len(lines) > HEADER and (lines[0] != "ITEM: TIMESTEP" or not lines[8].startswith("ITEM: ATOMS")):
        raise EngineError(f"{path}: not a dump as lamflow reads it; leave `dump_modify time` and `units` out")
    natoms = int(lines[3]) if len(lines) > HEADER else 0
    block = HEADER + natoms
    count = len(lines) // block if natoms else 0
    if count == 0:
        raise EngineError(f"{path}: there is no whole snapshot in this dump")
    lines = lines[: count * block]
    if any(int(lines[start + 3]) != natoms for start in range(0, len(lines), block)):
        raise EngineError(f"{path}: the number of atoms changes from {natoms}")
    columns = lines[8].split()[2:]
    try:
        wanted = [next(columns.index(name) for name in (axis, f"{axis}u") if name in columns) for axis in "xyz"]
        wanted = [columns.index("id"), columns.index("type"), *wanted]
    except (StopIteration, ValueError):
        raise EngineError(f"{path}: the dump needs the columns id type x y z; it has {' '.join(columns)}") from None
    words = [line.split() for start in range(0, len(lines), block) for line in lines[start + HEADER : start + block]]
    try:
        atoms = np.array([[row[column] for column in wanted] for row in words], dtype=np.float64)
    except (ValueError, IndexError) as error:
        raise EngineError(f"{path}: a line of this dump is not what its header says: {error}") from error
    atoms = atoms.reshape(count, natoms, len(wanted))
    order = np.argsort(atoms[:, :, 0], axis=1, kind="stable")
    atoms = np.take_along_axis(atoms, order[:, :, None], axis=1)
    types = atoms[0, :, 1].astype(np.int64)
    cells, origins = _cells(lines, block, count)
    steps = np.array([int(lines[start + 1]) for start in range(0, len(lines), block)], dtype=np.int64)
    return types, atoms[:, :, 2:] - origins[:, None, :], cells, steps


def _cells(lines: list[str], block: int, count: int) -> tuple[Floats, Floats]:
    """Cells (F, 3, 3) and origins (F, 3) from box bounds (LAMMPS manual, Howto triclinic)."""
    bounds = np.zeros((count, 3, 3))
    for frame, start in enumerate(range(0, count * block, block)):
        for axis in range(3):
            words = lines[start + 5 + axis].split()
            bounds[frame, axis, : len(words)] = [float(word) for word in words]
    low, high = bounds[:, :, 0].copy(), bounds[:, :, 1].copy()
    xy, xz, yz = bounds[:, 0, 2], bounds[:, 1, 2], bounds[:, 2, 2]
    zero = np.zeros(count)
    low[:, 0] -= np.min([zero, xy, xz, xy + xz], axis=0)
    high[:, 0] -= np.max([zero, xy, xz, xy + xz], axis=0)
    low[:, 1] -= np.minimum(zero, yz)
    high[:, 1] -= np.maximum(zero, yz)
    cells = np.zeros((count, 3, 3))
    cells[:, [0, 1, 2], [0, 1, 2]] = high - low
    cells[:, 1, 0], cells[:, 2, 0], cells[:, 2, 1] = xy, xz, yz
    return cells, low
