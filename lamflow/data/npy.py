"""deepmd/npy and deepmd/npy/mixed as they lie on disk, array by array: nothing is lost, padded or cast in silence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from lamflow.data import fields as table
from lamflow.data.fields import Field, Floats
from lamflow.data.frames import Frame, Ints, LabeledFrame, Labels
from lamflow.data.walk import folders_with
from lamflow.errors import InputError

NPY, MIXED = "deepmd/npy", "deepmd/npy/mixed"
FORMATS = {NPY: NPY, "deepmd/comp": NPY, MIXED: MIXED}
"""Names of dpdata for what is read here."""
TYPES = "real_atom_types"
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


def read_system(system: Path, labeled: bool) -> list[LabeledFrame] | list[Frame]:
    """Every frame of one system, in the order on disk. Raises InputError that names the file and what is wrong in it."""
    elements, types = _elements(system), _types(system)
    if len(types) and not 0 <= types.min() <= types.max() < len(elements):
        raise InputError(f"{system / 'type.raw'}: types go from 0 to {len(elements) - 1}, and one is another")
    sets = sorted(path for path in system.glob("set.*") if path.is_dir())
    if not sets:
        raise InputError(f"{system}: there is no set.* in it, so it holds no frames")
    frames: list[Any] = []
    for folder in sets:
        frames += _read_set(folder, elements, types, not (system / "nopbc").exists(), labeled)
    return frames


def _read_set(folder: Path, elements: Ints, types: Ints, pbc: bool, labeled: bool) -> list[Any]:
    coordinates = _array(folder / "coord.npy", real=False)
    number, natoms = len(coordinates), len(types)
    positions = _shaped(folder / "coord.npy", coordinates, (number, natoms, 3))
    cells = _cells(folder, number, pbc)
    kinds = _kinds(folder, elements, types, number)
    inputs = {row.name: _values(folder, row, number, natoms) for row in table.frame_fields()}
    outputs = {row.name: _values(folder, row, number, natoms) for row in table.label_fields()} if labeled else {}
    frames: list[Any] = []
    for index in range(number):
        real = np.flatnonzero(kinds[index] >= 0)

        def chosen(values: dict[str, Floats | None], index: int = index, real: Ints = real) -> dict[str, Floats]:
            return {
                name: value[index][real] if table.field(name).per == "atom" else value[index]
                for name, value in values.items()
                if value is not None
            }

        frame = Frame(kinds[index][real], positions[index][real], cells[index], pbc, chosen(inputs))
        if not labeled:
            frames.append(frame)
            continue
        try:
            frames.append(LabeledFrame(frame, Labels.of(chosen(outputs), frame.natoms)))
        except KeyError as error:
            file = {"energy": "energies"}.get(error.args[0], error.args[0])
            raise InputError(
                f"{folder}: frame {index} has no {file}; labeled data need both energies and forces"
            ) from None
    return frames


def _elements(system: Path) -> Ints:
    """Atomic numbers by type."""
    file = system / "type_map.raw"
    names = file.read_text(errors="replace").split() if file.is_file() else []
    if not names:
        raise InputError(f"{system}: it does not say which elements its types are; give the data a type_map.raw")
    for name in names:
        if name not in atomic_numbers or not atomic_numbers[name]:
            raise InputError(f"{file}: {name!r} is not a chemical symbol; write the element that it stands for")
    return np.array([atomic_numbers[name] for name in names], dtype=np.int64)


def _types(system: Path) -> Ints:
    file = system / "type.raw"
    try:
        return np.array([int(word) for word in file.read_text(errors="replace").split()], dtype=np.int64)
    except ValueError as error:
        raise InputError(f"{file}: {error}; types are whole numbers") from None


def _kinds(folder: Path, elements: Ints, types: Ints, number: int) -> Ints:
    """Atomic numbers (F, N) of every frame; -1 for atoms that only fill it up."""
    file = folder / f"{TYPES}.npy"
    if not file.is_file():
        return np.broadcast_to(elements[types], (number, len(types)))
    given = _array(file, real=False)
    if given.dtype.kind == "f" and not (given == np.round(given)).all():
        raise InputError(f"{file}: types are whole numbers")
    given = _shaped(file, given, (number, len(types))).astype(np.int64)
    if given.size and not VIRTUAL <= given.min() <= given.max() < len(elements):
        raise InputError(f"{file}: types go from 0 to {len(elements) - 1}, and one is another")
    return np.where(given == VIRTUAL, VIRTUAL, elements[given])


def _cells(folder: Path, number: int, pbc: bool) -> Floats:
    file = folder / "box.npy"
    if not pbc:
        return np.zeros((number, 3, 3))
    if not file.is_file():
        raise InputError(f"{folder}: box.npy is missing; isolated systems have a file nopbc beside type.raw")
    return _shaped(file, _array(file, real=False), (number, 3, 3)).astype(np.float64)


def _values(folder: Path, row: Field, number: int, natoms: int) -> Floats | None:
    """Values (F, …) of a field, None without its file."""
    file = folder / f"{row.deepmd}.npy"
    if not file.is_file():
        return None
    return _shaped(file, _array(file, real=row.owner == "labels"), (number, *row.full_shape(natoms))).astype(np.float64)


def _array(file: Path, real: bool) -> NDArray[Any]:
    """The array in a file, without pickles. Raises InputError for one that holds no numbers, or no real ones."""
    try:
        array = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{file}: missing") from None
    except (OSError, ValueError, EOFError) as error:
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
