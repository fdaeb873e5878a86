"""Files that ASE, dpdata or lamflow's own reader of deepmd/npy know, frame by frame."""

from __future__ import annotations

import contextlib
import itertools
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ase import Atoms

from lamflow.data import fields as table
from lamflow.data.ase_labels import STRESS, labels_from_ase
from lamflow.data.fields import ENERGY, FORCES, VIRIAL
from lamflow.data.frames import Frame, LabeledFrame
from lamflow.data.gaussian_log import gaussian_log
from lamflow.data.images import images_of
from lamflow.data.io import read_by_dpdata
from lamflow.data.layout import MANIFEST
from lamflow.data.manifest import Origin, read_manifest
from lamflow.data.npy import CHARGE_SPIN, charge_spins, frames_at_most, read_labeled_frames, systems_below
from lamflow.data.shards import SourceFrame
from lamflow.data.sources.dialect import MATERIALS_PROJECT, Dialect, Scale, aliased, scale_of
from lamflow.data.steps import (
    UNREAD_STRESS,
    XYZ,
    Steps,
    format_of,
    lines_of,
    lost_xyz,
    said_by_reader,
    steps_of,
    steps_of_one_system,
    whole_xyz,
)
from lamflow.data.unread import flat_info, state_of, unread
from lamflow.data.walk import folders_with
from lamflow.errors import InputError, StateError

COMPRESSED = (".gz", ".bz2", ".xz")
DAMAGED = (EOFError, OSError, zlib.error, lzma.LZMAError)
"""What reading a compressed file raises where it is cut off or has a wrong byte."""
USUAL = {
    ENERGY: ("energy", "free_energy"), FORCES: ("forces", "force"), STRESS: ("stress",),
    VIRIAL: ("virial", "virials", "stress"),
}  # fmt: skip


UNCONVERGED = "unconverged: its self-consistent cycle did not converge"


def ase_frames(path: Path, dialect: Dialect) -> Iterator[SourceFrame]:
    """Frames of a file that ASE reads, one after the other; those before the place where a file is cut off count."""
    kind = format_of(path, dialect.format)
    steps = steps_of(path, kind)
    number, unusable_steps, log = -1, _unusable(steps), gaussian_log(path, kind)
    if log.problem:
        yield SourceFrame(0, None, f"schema: {log.problem}")
        return
    try:
        for number, atoms in enumerate(images_of(path, dialect.format)):
            atoms.info |= log.state
            why = unusable_steps.get(number)
            if why is None and steps is not None and (said := steps.give_moments(atoms, number)) is not None:
                why = f"unconverged: {said}"
            yield _or_why_not(atoms, number, dialect) if why is None else SourceFrame(number, None, why)
    except InputError:
        raise
    except Exception as error:  # its parsers raise anything
        if steps is not None and steps.stopped:
            yield SourceFrame(number + 1, None, UNCONVERGED)
            return
        if number < 0 and isinstance(error, DAMAGED) and path.suffix in COMPRESSED:
            yield from _cut_off(path, dialect)
            return
        if number < 0 and kind in XYZ and path.is_file() and all(whole := whole_xyz(path)):
            yield from _before(whole, path, dialect)
            return
        if number < 0:
            raise InputError(f"{path}: cannot be read: {said_by_reader(error, path, dialect.format)}") from error
        yield SourceFrame(number + 1, None, f"cut off: nothing can be read after frame {number}: {error}")
        return
    if number < 0 and steps is not None and steps.stopped:
        yield SourceFrame(0, None, UNCONVERGED)
    lost = lost_xyz(path, number + 1) if kind in XYZ and path.is_file() else None
    if lost is not None:
        yield SourceFrame(number + 1, None, f"cut off: nothing is read after frame {number}: {lost}")


def _unusable(steps: Steps | None) -> dict[int, str]:
    """By the number of a step that is no label: why."""
    if steps is None:
        return {}
    foreign = {number: f"schema: {why}" for number, why in steps.foreign.items()}
    return foreign | dict.fromkeys(steps.unconverged, UNCONVERGED)


def _or_why_not(atoms: Atoms, number: int, dialect: Dialect) -> SourceFrame:
    """`ase_frame`; a frame that cannot be read as it is said is none, unless it is the first of its file."""
    try:
        return ase_frame(atoms, number, dialect)
    except InputError as error:
        if not number:
            raise
        return SourceFrame(number, None, f"schema: {error}")


def _cut_off(path: Path, dialect: Dialect) -> Iterator[SourceFrame]:
    """Frames of a compressed file that is cut off, as far as it can be unpacked, and that there are no more."""
    from ase.io.formats import open_with_compression

    with TemporaryDirectory() as folder:
        part = Path(folder) / path.stem
        with part.open("wb") as target, open_with_compression(str(path), "rb") as stream, contextlib.suppress(*DAMAGED):
            while piece := stream.read1(1 << 20):
                target.write(piece)
        whole, number = True, -1
        for item in ase_frames(part, dialect) if part.stat().st_size else ():
            number, whole = item.number, not item.problem.startswith("cut off")
            yield item
        if whole:
            yield SourceFrame(number + 1, None, f"cut off: nothing can be unpacked after frame {number}")


def _before(whole: tuple[int, str], path: Path, dialect: Dialect) -> Iterator[SourceFrame]:
    """The frames of an XYZ file before the line at which readers stop, and that there are no more."""
    lines, problem = whole
    with TemporaryDirectory() as folder:
        part = Path(folder) / path.name.removesuffix(path.suffix if path.suffix in COMPRESSED else "")
        part.write_text("".join(itertools.islice(lines_of(path), lines)), encoding="utf-8")
        for item in ase_frames(part, dialect):
            number = item.number
            yield item
    yield SourceFrame(number + 1, None, f"cut off: nothing is read after frame {number}: {problem}")


def ase_frame(atoms: Atoms, number: int, dialect: Dialect) -> SourceFrame:
    """A frame of ASE's as a source has it. Raises InputError where the names of labels could mean two things."""
    results = atoms.calc.results if atoms.calc is not None else {}
    atoms.info = flat_info(atoms.info)
    carried: dict[str, Any] = {**atoms.info, **atoms.arrays, **results}
    trajectory = dialect.trajectory_of(carried if dialect.trajectory else atoms.info, number)
    method = dialect.method or str(atoms.info.get("method", ""))
    chosen = {ENERGY: MATERIALS_PROJECT[dialect.energy]} if dialect.energy else {}
    try:
        keys = aliased({**chosen, **dialect.keys}, carried, USUAL)
        scale = dialect.scale or scale_of(atoms.info)
        item = LabeledFrame(Frame.from_ase(atoms, keys), labels_from_ase(atoms, keys))
    except (LookupError, ValueError) as error:
        subject = "it " if isinstance(error, LookupError) else ""
        return SourceFrame(number, None, f"schema: {subject}{error.args[0]}", trajectory, method)
    scaled = scale.applied(item, has_stress=keys.get(STRESS, STRESS) in carried)
    return SourceFrame(number, scaled, "", trajectory, method, unread(carried, item), state_of(carried))


def npy_frames(path: Path, dialect: Dialect) -> Iterator[SourceFrame]:
    """Frames of the deepmd/npy and deepmd/npy/mixed systems at or below a folder; a system is a trajectory.

    The manifest of a data set of lamflow's says what the trajectories and methods are. A system with a damaged file has
    no frame that can be read.
    """
    dialect.require("deepmd/npy data", {"units"})
    number, origins = 0, _origins(path)
    for system in systems_below(path, dialect.format):
        name = str(system.relative_to(path))
        try:
            items, states = read_labeled_frames(system), charge_spins(system)
        except InputError as error:
            said = str(error).replace(f"{path}/", "")
            for _ in range(frames_at_most(system)):
                yield SourceFrame(number, None, f"unreadable: {said}", name, dialect.method)
                number += 1
            continue
        for place, item in enumerate(items):
            scaled = (dialect.scale or Scale()).applied(item, has_stress=False)
            origin = origins.get((str(system), place), Origin(iteration=0, source=""))
            carried: dict[str, Any] = {"charge": origin.charge, "multiplicity": origin.multiplicity}
            carried |= {CHARGE_SPIN: states[place]} if place < len(states) else {}
            about = (origin.trajectory or name, dialect.method or origin.method)
            yield SourceFrame(number, scaled, "", *about, unread(carried, item), state_of(carried))
            number += 1


def _origins(path: Path) -> dict[tuple[str, int], Origin]:
    """Origins of the frames of lamflow's data sets at or below a folder, by their system and place."""
    found: dict[tuple[str, int], Origin] = {}
    for folder in folders_with(path, MANIFEST):
        # a manifest of another program, or a damaged one: frames are read all the same
        with contextlib.suppress(InputError, StateError):
            for record in read_manifest(folder).frames:
                found[f"{folder}/{record.system}", record.index] = record.origin
    return found


def dpdata_frames(path: Path, dialect: Dialect) -> Iterator[SourceFrame]:
    """Frames of a file or folder in a format of dpdata's."""
    dialect.require(f"{dialect.format}, which dpdata reads,", {"units"})
    steps = steps_of_one_system(path, dialect.format)
    log = gaussian_log(path, dialect.format or "")
    if log.problem:
        yield SourceFrame(0, None, f"schema: {log.problem}")
        return
    frames, state = read_by_dpdata(path, dialect.format), state_of(log.state)
    if not frames and steps is not None and steps.stopped:
        yield SourceFrame(0, None, UNCONVERGED)
    for number, item in enumerate(frames):
        scaled = (dialect.scale or Scale()).applied(item, has_stress=False)
        left = _left_by_dpdata(steps, item) if steps is not None else []
        yield SourceFrame(
            number, scaled, "", str(path.name), dialect.method, (*left, *unread(log.state, scaled)), state
        )
    lost = len(steps.converged) - len(frames) if steps is not None else 0
    for number in range(len(frames), len(frames) + lost):  # dpdata leaves them out and does not say which they were
        yield SourceFrame(number, None, UNCONVERGED)


def _left_by_dpdata(steps: Steps, item: LabeledFrame) -> list[str]:
    """What an output has and dpdata does not read."""
    moments = ["moments of DeltaSpin are not read by dpdata; leave `format` out"] if any(steps.moments) else []
    return [*moments, *([UNREAD_STRESS] if steps.stress and item.labels.virial is None else ())]


def unusable(item: SourceFrame) -> SourceFrame:
    """The frame, or why the gate that all labeled frames pass refuses it."""
    if item.labeled is None:
        return item
    labels, frame = item.labeled.labels, item.labeled.frame
    missing = [row.name for row in table.label_fields() if row.required and row.name not in labels.fields]
    problem = f"no {missing[0]}" if missing else labels.problem(frame)
    return item if problem is None else SourceFrame(item.number, None, f"unusable: {problem}", item.trajectory)
