"""deepmd/npy and deepmd/npy/mixed as they lie on disk, array by array: nothing is lost, padded or cast in silence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from lamflow.data import fields as table
from lamflow.data.fields import Field, Fields, Floats
from lamflow.data.frames import Frame, Ints, LabeledFrame, Labels
from lamflow.data.walk import folders_with
from lamflow.errors import InputError

NPY, MIXED = "deepmd/npy", "deepmd/npy/mixed"
FORMATS = {NPY: NPY, "deepmd/comp": NPY, MIXED: MIXED}
"""Names of dpdata for what is read here."""
TYPES = "real_atom_types"
CHARGE_SPIN = "charge_spin"
"""Charge and multiplicity of a frame."""
VIRTUAL = -1
"""Type of the atoms that fill a mixed frame up; they are none."""


def systems_below(folder: Path, format: str | None = None) -> list[Path]:
    """Folders of the systems at or below `folder`, links followed.

    Raises InputError when there is none, and when `format` is not what lies there.
    """
    systems = folders_with(folder, "type.raw")
    if not systems:
        raise InputError(f"{folder}: no deepmd/npy data below this folder (no type.raw)")
    wanted = None if format is None else FORMATS[format]
    for system in systems:
        mixed = next(system.glob(f"set.*/{TYPES}.npy"), None)
        if wanted == NPY and mixed is not None:
            raise InputError(f"{mixed}: data with {TYPES}.npy are {MIXED}, not {format}; leave `format` out")
        if wanted == MIXED and mixed is None:
            raise InputError(f"{system}: data without {TYPES}.npy are {NPY}, not {format}; leave `format` out")
    return systems


def read_frames(system: Path) -> list[Frame]:
    """Every frame of one system, in the order on disk. Raises InputError that names the file and its fault."""
    return [frame for part in _sets(system, labeled=False) for frame in _frames(part)]


def read_labeled_frames(system: Path) -> list[LabeledFrame]:
    """Every labeled frame of one system: see `read_frames`."""
    return [item for part in _sets(system, labeled=True) for item in _labeled(part)]


def charge_spins(system: Path) -> list[Floats]:
    """Charge and multiplicity of each frame, which lamflow's frames lack; empty where a system has none."""
    files = sorted(system.glob(f"set.*/{CHARGE_SPIN}.npy"))
    return [row for file in files for row in _array(file, real=False).astype(np.float64)]


def frames_at_most(system: Path) -> int:
    """Frames that a system would have were all its files whole, by the longest of each set; at least one."""
    total = 0
    for folder in system.glob("set.*"):
        lengths = [0]
        for file in folder.glob("*.npy"):
            with contextlib.suppress(InputError):
                lengths.append(len(_array(file, real=False)))
        total += max(lengths)
    return max(total, 1)


@dataclass(frozen=True, eq=False)
class _Set:
    """The arrays of one set: F frames of at most N atoms.

    kinds      (F, N)     atomic numbers; -1 for atoms that only fill a frame up
    positions  (F, N, 3)  Å
    cells      (F, 3, 3)  Å
    inputs, labels        values (F, …) by field
    """

    folder: Path
    pbc: bool
    kinds: Ints
    positions: Floats
    cells: Floats
    inputs: Fields
    labels: Fields


def _sets(system: Path, labeled: bool) -> list[_Set]:
    elements, types = _elements(system), _types(system)
    folders = sorted(path for path in system.glob("set.*") if path.is_dir())
    if not folders:
        raise InputError(f"{system}: there is no set.* in it, so it holds no frames")
    pbc = not (system / "nopbc").exists()
    sets = []
    for folder in folders:
        file = folder / "coord.npy"
        coordinates = _array(file, real=False)
        number, natoms = len(coordinates), len(types)
        positions = _shaped(file, coordinates, (number, natoms, 3)).astype(np.float64)
        kinds = _kinds(folder, elements, types, number)
        inputs = _values(folder, table.frame_fields(), number, natoms)
        labels = _values(folder, table.label_fields(), number, natoms) if labeled else {}
        sets.append(_Set(folder, pbc, kinds, positions, _cells(folder, number, pbc), inputs, labels))
    return sets


def _frames(part: _Set) -> Iterator[Frame]:
    for index, kinds in enumerate(part.kinds):
        atoms = np.flatnonzero(kinds >= 0)
        values = _of_frame(part.inputs, index, atoms)
        yield Frame(kinds[atoms], part.positions[index][atoms], part.cells[index], part.pbc, values)


def _labeled(part: _Set) -> Iterator[LabeledFrame]:
    for index, frame in enumerate(_frames(part)):
        atoms = np.flatnonzero(part.kinds[index] >= 0)
        try:
            labels = Labels.of(_of_frame(part.labels, index, atoms), frame.natoms)
        except KeyError as error:
            name = table.field(error.args[0]).dpdata
            raise InputError(
                f"{part.folder}: frame {index} has no {name}; labeled data need both energies and forces"
            ) from None
        yield LabeledFrame(frame, labels)


def _of_frame(values: Fields, index: int, atoms: Ints) -> Fields:
    return {
        name: value[index][atoms] if table.field(name).per == "atom" else value[index] for name, value in values.items()
    }


def _elements(system: Path) -> list[str]:
    """The names of types, of which those that occur must be elements."""
    file = system / "type_map.raw"
    names = file.read_text(errors="replace", encoding="utf-8").split() if file.is_file() else []
    if not names:
        raise InputError(f"{system}: it does not say which elements its types are; give the data a type_map.raw")
    return names


def _numbers(system: Path, elements: Sequence[str], types: Ints) -> Ints:
    """Atomic numbers of types, -1 for virtual atoms. Raises InputError for a type that is no element."""
    for kind in np.unique(types):
        if not VIRTUAL <= kind < len(elements):
            raise InputError(
                f"{system}: atoms have types 0 to {len(elements) - 1}, as type_map.raw says, and one is {kind}"
            )
        if kind >= 0 and not atomic_numbers.get(elements[kind]):
            raise InputError(
                f"{system / 'type_map.raw'}: {elements[kind]!r} is not a chemical symbol; write the element that it "
                "stands for (D is H)"
            )
    numbers = np.array([atomic_numbers.get(name, 0) for name in elements], dtype=np.int64)
    return np.where(types == VIRTUAL, VIRTUAL, numbers[types])


def _types(system: Path) -> Ints:
    file = system / "type.raw"
    try:
        return np.array(
            [int(word) for word in file.read_text(errors="replace", encoding="utf-8").split()], dtype=np.int64
        )
    except (ValueError, OverflowError) as error:
        raise InputError(f"{file}: {error}; types are whole numbers") from None


def _kinds(folder: Path, elements: Sequence[str], types: Ints, number: int) -> Ints:
    """Atomic numbers (F, N) of every frame; -1 for atoms that only fill it up."""
    file = folder / f"{TYPES}.npy"
    if not file.is_file():
        return np.broadcast_to(_numbers(folder.parent, elements, types), (number, len(types)))
    given = _array(file, real=False)
    if given.dtype.kind == "f" and not (given == np.round(given)).all():
        raise InputError(f"{file}: types are whole numbers")
    return _numbers(folder.parent, elements, _shaped(file, given, (number, len(types))).astype(np.int64))


def _cells(folder: Path, number: int, pbc: bool) -> Floats:
    file = folder / "box.npy"
    if not pbc:
        return np.zeros((number, 3, 3))
    if not file.is_file():
        raise InputError(f"{folder}: box.npy is missing; isolated systems have a file nopbc beside type.raw")
    return _shaped(file, _array(file, real=False), (number, 3, 3)).astype(np.float64)


def _values(folder: Path, rows: Iterable[Field], number: int, natoms: int) -> Fields:
    """Values (F, …) of the fields whose files are there."""
    values = {}
    for row in rows:
        file = folder / f"{row.deepmd}.npy"
        if file.is_file():
            array = _array(file, real=row.owner == "labels")
            values[row.name] = _shaped(file, array, (number, *row.full_shape(natoms))).astype(np.float64)
    return values


def _array(file: Path, real: bool) -> NDArray[Any]:
    """The array in a file, without pickles. Raises InputError for one that holds no numbers, or no real ones."""
    if not file.is_file():
        raise InputError(f"{file}: {'this is no file' if file.exists() else 'missing'}")
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, SyntaxError, OverflowError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from None
    if array.dtype.kind not in ("f" if real else "fiu"):
        needed = "labels are real numbers" if real else "numbers are needed"
        raise InputError(f"{file}: holds values of type {array.dtype}; {needed}")
    return np.atleast_1d(array)


def _shaped(file: Path, array: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """`array` in this shape. Raises InputError where numbers or frames are missing or too many."""
    if len(array) != shape[0] or array.size != int(np.prod(shape)):
        rest = int(np.prod(shape[1:]))
        raise InputError(
            f"{file}: shape {array.shape}, where ({shape[0]}, {rest}) is needed: frames, and numbers of each"
        )
    return array.reshape(tuple(shape)).astype(np.float64 if array.dtype.kind == "f" else array.dtype)
