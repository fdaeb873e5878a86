"""Structures and labeled data from outside: any format of ASE or dpdata, converted once, at the edge."""

from __future__ import annotations

import importlib.util
import itertools
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from lamflow.data import fields as table
from lamflow.data.ase_labels import ase_with_labels, labels_from_ase
from lamflow.data.extxyz import write_images
from lamflow.data.frames import Frame, LabeledFrame, Labels
from lamflow.data.gate import Reading, admit
from lamflow.data.gaussian_log import gaussian_log
from lamflow.data.hdf5 import is_hdf5, unpacked
from lamflow.data.images import images_of
from lamflow.data.npy import CHARGE_SPIN, FORMATS, charge_spins, read_frames, read_labeled_frames, systems_below
from lamflow.data.steps import UNREAD_STRESS, XYZ, count_xyz, format_of, said_by_reader, steps_of, steps_of_one_system
from lamflow.data.unread import counted, flat_info, unread, unread_of
from lamflow.errors import InputError

__all__ = [
    "labels_from_ase",
    "read_by_dpdata",
    "read_labeled",
    "read_source",
    "read_structures",
    "write_extxyz",
    "write_structure",
]

PYMATGEN = "pymatgen"
PARTIAL = 1e-3
"""By how much a site that has one atom may miss an occupancy of 1."""
UNNAMED = re.compile(r"Type_\d+")
"""What dpdata calls atoms of which a file tells only a number."""


def read_structures(path: Path, format: str | None = None, types: Sequence[str] = ()) -> list[Frame]:
    """Every structure in `path`, without labels; `types` are the elements of a file that has only numbers for them.

    Raises InputError that names the file and the reason.
    """
    frames = _structures(path, format, types)
    if not frames:
        raise InputError(f"{path}: there is no structure in it")
    for number, frame in enumerate(frames):
        if not frame.natoms:
            raise InputError(f"{path}: structure {number} has no atoms")
        if not (np.isfinite(frame.positions).all() and np.isfinite(frame.cell).all()):
            raise InputError(f"{path}: structure {number} has coordinates or cell vectors that are not finite")
    return frames


def _structures(path: Path, format: str | None, types: Sequence[str]) -> list[Frame]:
    if is_hdf5(path, format):
        with unpacked(path) as systems:
            return [frame for system in systems.values() for frame in read_frames(system)]
    if path.is_dir() and (format is None or format in FORMATS):
        return [frame for system in systems_below(path, format) for frame in read_frames(system)]
    steps_of_one_system(path, format)
    if path.is_dir() or (format and format != PYMATGEN and not _ase_knows(format)):
        system = _dpdata_system(path, format, labeled=False)
        return [_frame_of(system, index, path, types) for index in range(system.get_nframes())]
    frames = []
    for number, atoms in enumerate(_images(path, format)):
        _check_occupancies(path, number, atoms)
        try:
            frames.append(Frame.from_ase(atoms))
        except ValueError as error:
            raise InputError(f"{path}: structure {number}: {error}") from error
    return frames


def _images(path: Path, format: str | None) -> list[Atoms]:
    """Structures by ASE, or by pymatgen where ASE does not know the format."""
    if format == PYMATGEN:
        return _pymatgen_read(path)
    known = format is not None or format_of(path, format) != ""
    try:
        return _ase_read(path, format)
    except InputError:
        if known or importlib.util.find_spec(PYMATGEN) is None:
            raise
        try:
            return _pymatgen_read(path)
        except InputError:
            pass
        raise


def read_labeled(path: Path, format: str | None = None, keys: Mapping[str, str] | None = None) -> list[LabeledFrame]:
    """Every labeled frame in `path`: see `read_source`."""
    return read_source(path, format, keys).frames


def read_source(path: Path, format: str | None = None, keys: Mapping[str, str] | None = None) -> Reading:
    """The labeled frames in `path`, a folder of deepmd/npy data or a file that dpdata or ASE reads, through the gate.

    keys  names under which a file has its labels, by the names of lamflow

    Steps whose self-consistent cycle did not converge are left out and counted. Raises InputError for what cannot be
    read, for a frame that cannot be used, and when a reader loses frames.
    """
    left_out, notes, index = 0, tuple[str, ...](), list[int]()
    by_array = is_hdf5(path, format) or (path.is_dir() and (format is None or format in FORMATS))
    if keys and (by_array or path.is_dir() or (format and not _ase_knows(format))):
        raise InputError(f"{path}: keys: the labels of such data have their names; leave keys out")
    log = gaussian_log(path, format_of(path, format))
    if log.problem:
        raise InputError(f"{path}: {log.problem}")
    if by_array:
        frames, notes = _by_array(path, format)
    elif path.is_dir() or (format and not _ase_knows(format)):
        frames = read_by_dpdata(path, format)
        steps = steps_of_one_system(path, format)
        if steps is not None and len(steps.converged) > len(frames):
            left_out = len(steps.converged) - len(frames)
            notes = (f"{left_out} of {len(steps.converged)} steps are left out: {_why(len(steps.unconverged))}",)
        if steps is not None and steps.stress and all(item.labels.virial is None for item in frames):
            notes += tuple(counted({UNREAD_STRESS: len(frames)}, len(frames)))
    else:
        frames, index, left_out, notes = _by_ase(path, format, keys or {})
    if not frames:
        raise InputError(f"{path}: there is no labeled frame in it" + (f": {notes[0]}" if notes else ""))
    notes += tuple(counted(dict.fromkeys(unread(log.state, frames[0]), len(frames)), len(frames)))
    index = index or list(range(len(frames)))
    if not by_array:
        admit(frames, path, index)
    return Reading(path, frames, index, left_out, notes)


def _by_array(path: Path, format: str | None) -> tuple[list[LabeledFrame], tuple[str, ...]]:
    """Labeled frames of deepmd/npy folders, and of the same in an HDF5 file, each system through the gate; and what is
    not kept of them."""
    frames, lines = list[LabeledFrame](), Counter[str]()
    with unpacked(path) if is_hdf5(path, format) else nullcontext() as groups:
        systems = {str(system): system for system in systems_below(path, format)} if groups is None else groups
        for name, system in systems.items():
            members = read_labeled_frames(system)
            admit(members, Path(name))
            frames += members
            for item, state in zip(members, charge_spins(system), strict=False):
                lines.update(unread({CHARGE_SPIN: state}, item))
    return frames, tuple(counted(lines, len(frames)))


def _why(unconverged: int) -> str:
    return f"the SCF cycle of {unconverged} did not converge" if unconverged else "they are not complete"


def _by_ase(
    path: Path, format: str | None, keys: Mapping[str, str]
) -> tuple[list[LabeledFrame], list[int], int, tuple[str, ...]]:
    """Labeled frames by ASE, their numbers in the file, how many steps were left out, and why."""
    images = _ase_read(path, format)
    for atoms in images:
        atoms.info = flat_info(atoms.info)
    steps = steps_of_one_system(path, format)
    unconverged = set(steps.unconverged) if steps is not None else set()
    if steps is not None:
        unconverged |= {number for number, atoms in enumerate(images) if steps.give_moments(atoms, number) is not None}
    index = [number for number in range(len(images)) if number not in unconverged]
    frames = [_labeled_of(images[number], number, path, keys) for number in index]
    found = Counter(
        line for number, item in zip(index, frames, strict=True) for line in unread_of(images[number], item)
    )
    said = counted(found, len(frames))
    total = max(len(images), len(steps.converged) if steps is not None else 0)
    left_out = total - len(frames)
    if left_out:
        said.insert(0, f"{left_out} of {total} steps are left out: {_why(len(unconverged))}")
    return frames, index, left_out, tuple(said)


def _labeled_of(atoms: Atoms, number: int, path: Path, keys: Mapping[str, str]) -> LabeledFrame:
    try:
        return LabeledFrame(Frame.from_ase(atoms, keys), labels_from_ase(atoms, keys))
    except LookupError as error:
        raise InputError(f"{path}: frame {number} {error.args[0]}") from None
    except ValueError as error:
        raise InputError(f"{path}: frame {number}: {error}") from error


def write_structure(path: Path, frame: Frame, format: str) -> None:
    """Write one frame in a format of ASE or dpdata. Raises InputError for a format that cannot be written so."""
    try:
        if _ase_knows(format):
            from ase.io import write

            write(path, frame.to_ase(), format=format)
        else:
            import dpdata

            dpdata.System(frame.to_ase(), fmt="ase/structure").to(format, str(path))
    except Exception as error:
        raise InputError(f"the format {format!r} cannot be written: {type(error).__name__}: {error}") from error
    if not path.is_file():
        raise InputError(f"the format {format!r} writes no file for one structure")


def write_extxyz(path: Path, labeled: Sequence[LabeledFrame]) -> None:
    """Labeled frames as extended XYZ: energy (eV), forces (eV/Å), stress (eV/Å³, ASE's sign) and all other fields."""
    write_images(path, [ase_with_labels(item) for item in labeled])


def _ase_knows(format: str) -> bool:
    from ase.io.formats import ioformats

    return format in ioformats


def _ase_read(path: Path, format: str | None) -> list[Atoms]:
    _check_poscar(path, format)
    kind = format_of(path, format)
    expected = count_xyz(path) if kind in XYZ and path.is_file() else None
    try:
        images = list(images_of(path, format))
    except Exception as error:
        steps = steps_of(path, kind) if path.is_file() else None
        if steps is not None and steps.stopped:
            raise InputError(f"{path}: the code stopped at an SCF cycle that did not converge; take it out") from error
        raise InputError(f"{path}: cannot be read: {said_by_reader(error, path, format)}") from error
    if expected is not None and len(images) != expected:
        raise InputError(f"{path}: it holds {expected} frames, and as {kind} {len(images)} are read")
    return list(images)


def _check_occupancies(path: Path, number: int, atoms: Atoms) -> None:
    """Raise InputError for a crystal with sites that are occupied in part, which ASE fills with one of their atoms."""
    for kinds in (atoms.info.get("occupancy") or {}).values():
        shares = {element: float(share) for element, share in kinds.items() if float(share) > 0}
        if len(shares) > 1 or abs(sum(shares.values()) - 1) > PARTIAL:
            said = ", ".join(f"{element} {share:g}" for element, share in shares.items()) or "nothing"
            raise InputError(
                f"{path}: structure {number}: a site is occupied in part ({said}); give a cell in which each site has "
                "one atom, for example a special quasirandom structure"
            )


def _check_poscar(path: Path, format: str | None) -> None:
    """Raise InputError for a POSCAR without chemical symbols, which ASE would read as hydrogen, helium and so on, and
    for one that lacks positions."""
    named = path.name.startswith(("POSCAR", "CONTCAR")) or path.suffix.lower() in (".vasp", ".poscar")
    if not (format == "vasp" or (format is None and named)) or not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        head = list(itertools.islice(lines, 9))
        rest = sum(bool(line.strip()) for line in lines)
    words = head[5].split() if len(head) > 5 else []
    titled = head[0].split() if head else []
    if words and words[0].isdigit() and not (titled and set(titled) <= set(atomic_numbers)):
        raise InputError(f"{path}, line 6: this POSCAR does not say which elements it has; put their symbols there")
    place = 5 if words and words[0].isdigit() else 6
    counts = head[place].split() if len(head) > place else []
    if counts and all(word.isdigit() for word in counts):
        is_selective = head[place + 1 : place + 2] and head[place + 1].strip()[:1] in ("S", "s")
        there = rest + sum(bool(line.strip()) for line in head[place + (3 if is_selective else 2) :])
        wanted = sum(map(int, counts))
        if there < wanted:
            raise InputError(f"{path}: {wanted} atoms are announced in line {place + 1}, and {there} positions follow")


def _pymatgen_read(path: Path) -> list[Atoms]:
    """A structure or molecule in a format that only pymatgen knows."""
    try:
        from pymatgen.core import Molecule, Structure
        from pymatgen.io.ase import AseAtomsAdaptor
    except ImportError as error:
        raise InputError(f"{path}: format pymatgen needs the package pymatgen: pip install pymatgen") from error
    reasons = []
    for kind in (Structure, Molecule):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return [AseAtomsAdaptor.get_atoms(kind.from_file(str(path)), msonable=False)]
        except Exception as error:  # noqa: BLE001  its parsers raise anything
            reasons.append(f"{type(error).__name__}: {error}")
    raise InputError(
        f"{path}: cannot be read by ASE or pymatgen: {'; '.join(reasons)}; if its name does not tell the format, give "
        "`format:`"
    )


def read_by_dpdata(path: Path, format: str | None) -> list[LabeledFrame]:
    """Labeled frames in a format of dpdata's, as they are: no gate looks at them. Raises InputError."""
    system = _dpdata_system(path, format, labeled=True)
    return [_labeled_frame_of(system, index, path) for index in range(system.get_nframes())]


def _dpdata_system(path: Path, format: str | None, labeled: bool) -> Any:
    """The dpdata system in a file or folder of another format than deepmd/npy."""
    import dpdata

    kind = dpdata.LabeledSystem if labeled else dpdata.System
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return kind(str(path), fmt=format or "auto")
    except Exception as error:
        raise InputError(f"{path}: dpdata cannot read it as {format}: {type(error).__name__}: {error}") from error


def _frame_of(system: Any, index: int, path: Path, types: Sequence[str] = ()) -> Frame:
    names = [str(name) for name in system["atom_names"]]
    if types and all(UNNAMED.fullmatch(name) for name in names):
        if len(names) > len(types):
            raise InputError(f"{path}: it has {len(names)} types of atoms, and the elements are {list(types)}")
        names = list(types[: len(names)])
    unknown = [name for name in names if not atomic_numbers.get(name)]
    if unknown:
        hint = "give the data a type_map.raw" if UNNAMED.fullmatch(unknown[0]) else "write the element it stands for"
        raise InputError(f"{path}: {unknown[0]!r} is not a chemical symbol; {hint}")
    numbers = np.array([atomic_numbers[name] for name in names], dtype=np.int64)
    pbc = not system.nopbc
    cell = np.array(system["cells"][index], dtype=np.float64) if pbc else np.zeros((3, 3))
    positions = np.array(system["coords"][index], dtype=np.float64)
    values = {row.name: system[row.dpdata][index] for row in table.frame_fields() if row.dpdata in system.data}
    try:
        return Frame(numbers[system["atom_types"]], positions, cell, pbc, values)
    except ValueError as error:
        raise InputError(f"{path}: frame {index}: {error}") from error


def _labeled_frame_of(system: Any, index: int, path: Path) -> LabeledFrame:
    for row in table.label_fields():
        if row.required and row.dpdata not in system.data:
            raise InputError(f"{path}: frame {index} has no {row.dpdata}; labeled data need both energies and forces")
    frame = _frame_of(system, index, path)
    values = {row.name: system[row.dpdata][index] for row in table.label_fields() if row.dpdata in system.data}
    try:
        return LabeledFrame(frame, Labels.of(values, frame.natoms))
    except ValueError as error:
        raise InputError(f"{path}: frame {index}: {error}") from error
