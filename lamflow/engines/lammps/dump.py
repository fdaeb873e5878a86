"""LAMMPS's text dumps and DeePMD-kit's table of deviations, read whole in a few array operations."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamflow.data.frames import Deviations, Floats, Frame, Ints
from lamflow.errors import EngineError

MOMENTS = tuple(f"c_moments[{number}]" for number in range(1, 5))
"""Columns of the length (μB) and direction of moments, by `compute moments all property/atom sp spx spy spz`."""
HEADER = 9
"""Lines of a snapshot before its atoms."""


@dataclass(frozen=True, eq=False)
class Dump:
    """F snapshots of N atoms in the order of their ids.

    types                  (N,)
    positions              (F, N, 3)  Å
    cells                  (F, 3, 3)  Å
    steps                  (F,)
    boundary               of the box as LAMMPS ran it, like `pp pp pp`, low and high side of each direction
    velocities, forces     (F, N, 3)  Å/ps, eV/Å; None where the dump has none
    spins                  (F, N, 3)  μB; None where the dump has none
    """

    types: Ints
    positions: Floats
    cells: Floats
    steps: Ints
    velocities: Floats | None = None
    forces: Floats | None = None
    boundary: str = "pp pp pp"
    spins: Floats | None = None

    @property
    def periodic(self) -> tuple[bool, bool, bool]:
        """Which directions of the box were periodic."""
        first, second, third = (side == "pp" for side in self.boundary.split())
        return first, second, third


def read_dump(path: Path) -> Dump:
    """The whole snapshots of a dump.

    It needs the columns id, type, x (or xu), y and z. A snapshot that was cut off by a crash is left out, and so is
    everything from the first one on that has lost atoms. Raises EngineError when there is no whole snapshot.
    """
    text = path.read_text(errors="replace", encoding="utf-8") if path.is_file() else ""
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
    same = (int(lines[start + 3]) == natoms for start in range(0, count * block, block) if lines[start] == lines[0])
    count = sum(1 for _ in itertools.takewhile(bool, same))
    lines = lines[: count * block]
    columns = lines[8].split()[2:]
    try:
        wanted = [next(columns.index(name) for name in (axis, f"{axis}u") if name in columns) for axis in "xyz"]
        wanted = [columns.index("id"), columns.index("type"), *wanted]
    except (StopIteration, ValueError):
        raise EngineError(f"{path}: the dump needs the columns id type x y z; it has {' '.join(columns)}") from None
    further = {}
    for what in "vf":
        names = [f"{what}{axis}" for axis in "xyz"]
        if all(name in columns for name in names):
            further[what] = len(wanted)
            wanted += [columns.index(name) for name in names]
    if all(name in columns for name in MOMENTS):
        further["s"] = len(wanted)
        wanted += [columns.index(name) for name in MOMENTS]
    words = [line.split() for start in range(0, len(lines), block) for line in lines[start + HEADER : start + block]]
    try:
        atoms = np.array([[row[column] for column in wanted] for row in words], dtype=np.float64)
    except (ValueError, IndexError) as error:
        raise EngineError(f"{path}: a line of this dump is not what its header says: {error}") from error
    atoms = atoms.reshape(count, natoms, len(wanted))
    order = np.argsort(atoms[:, :, 0], axis=1, kind="stable")
    atoms = np.take_along_axis(atoms, order[:, :, None], axis=1)
    cells, origins = _cells(lines, block, count)
    steps = np.array([int(lines[start + 1]) for start in range(0, len(lines), block)], dtype=np.int64)
    vectors = {what: atoms[:, :, first : first + 3] for what, first in further.items() if what != "s"}
    spins = None
    if "s" in further:
        moments = atoms[:, :, further["s"] :]
        spins = moments[:, :, :1] * moments[:, :, 1:4]
    return Dump(
        atoms[0, :, 1].astype(np.int64), atoms[:, :, 2:5] - origins[:, None, :], cells, steps,
        vectors.get("v"), vectors.get("f"), _boundary(path, lines, block), spins,
    )  # fmt: skip


def _boundary(path: Path, lines: list[str], block: int) -> str:
    """The boundaries of the box in every snapshot. Raises EngineError when they are not stated, or change."""
    stated = {" ".join(lines[start + 4].split()[-3:]) for start in range(0, len(lines), block)}
    if len(stated) > 1:
        raise EngineError(f"{path}: the boundaries of the box change during the run: {', '.join(sorted(stated))}")
    [boundary] = stated
    if not all(re.fullmatch(r"[pfsm]{2}", side) for side in boundary.split()):
        raise EngineError(f"{path}: the dump does not say which boundaries the box has: {lines[4]!r}")
    return boundary


def write_dump(path: Path, frame: Frame, elements: list[str], *, tilted: bool) -> None:
    """Write a frame as the only snapshot of a dump, its cell turned to be lower triangular (Howto triclinic)."""
    lower, turned = lower_triangular(frame.cell)
    xy, xz, yz = lower[1, 0], lower[2, 0], lower[2, 1]
    bounds = [
        (min(0, xy, xz, xy + xz), lower[0, 0] + max(0, xy, xz, xy + xz), xy),
        (min(0, yz), lower[1, 1] + max(0, yz), xz),
        (0.0, lower[2, 2], yz),
    ]
    head = "xy xz yz pp pp pp" if tilted else "ff ff ff"
    lines = ["ITEM: TIMESTEP", "0", "ITEM: NUMBER OF ATOMS", str(frame.natoms), f"ITEM: BOX BOUNDS {head}"]
    lines += [" ".join(f"{value:.15g}" for value in (row if tilted else row[:2])) for row in bounds]
    lines.append("ITEM: ATOMS id type x y z")
    types = [elements.index(symbol) + 1 for symbol in frame.symbols]
    for number, (kind, (x, y, z)) in enumerate(zip(types, frame.positions @ turned, strict=True), 1):
        lines.append(f"{number} {kind} {x:.15g} {y:.15g} {z:.15g}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def lower_triangular(cell: Floats) -> tuple[Floats, Floats]:
    """A cell with the same lengths and angles whose matrix is lower triangular with a positive diagonal, and the
    rotation (3, 3) that makes it: a vector v becomes v @ rotation."""
    upper = np.linalg.qr(cell.T, mode="r")
    lower = np.asarray((upper * np.sign(np.diag(upper))[:, None]).T)
    return lower, np.asarray(np.linalg.solve(cell, lower))


def read_deviations(path: Path) -> list[Floats]:
    """The rows (F, 7) of each run that one process made, in their order; a new run begins at step 0 again."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        words = line.split()
        if len(words) == 7 and not line.lstrip().startswith("#"):
            rows.append([float(word) for word in words])
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    begins = np.flatnonzero(np.diff(table[:, 0], prepend=np.inf) <= 0)
    return np.split(table, begins[1:]) if len(table) else []


def deviations_of(rows: Floats, dump: Dump) -> Deviations | None:
    """The rows of the committee's file that belong to the frames of the dump; None where one is missing.

    DeePMD-kit writes the step, then largest, smallest and mean deviation of the virial (eV/atom) and the force (eV/Å).
    """
    place = {int(step): number for number, step in enumerate(rows[:, 0])}
    if not all(int(step) in place for step in dump.steps):
        return None
    mine = rows[[place[int(step)] for step in dump.steps]]
    nothing = np.full(len(mine), np.nan)
    return Deviations(
        force_max=mine[:, 4], force_mean=mine[:, 6], force_min=mine[:, 5], force_max_relative=nothing,
        virial_max=mine[:, 1], energy=nothing, magnetic_force_max=nothing, magnetic_force_mean=nothing,
        magnetic_force_max_relative=nothing,
    )  # fmt: skip


def _cells(lines: list[str], block: int, count: int) -> tuple[Floats, Floats]:
    """Cells (F, 3, 3) and origins (F, 3) from box bounds (LAMMPS manual, Howto triclinic)."""
    bounds = np.zeros((count, 3, 3))
    for frame, start in enumerate(range(0, count * block, block)):
        for axis in range(3):
            words = lines[start + 5 + axis].split()
            if len(words) > 3:
                raise EngineError("a dump of general triclinic boxes; dump without `triclinic/general`")
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
