"""What the files of many steps say of themselves, found without the readers: how many frames, and which converged."""

from __future__ import annotations

import io
import lzma
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamflow.data.problems import MAX_ASYMMETRY
from lamflow.errors import InputError

XYZ = ("extxyz", "xyz")
SMALLEST_STRESS = 1e-3
"""eV/Å³; components below are noise of the code."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Ionic steps of an output: for each, whether its self-consistent cycle converged."""

    converged: tuple[bool, ...]

    @property
    def unconverged(self) -> list[int]:
        """Numbers of the steps that are no labels, the first one 0."""
        return [number for number, converged in enumerate(self.converged) if not converged]


def format_of(path: Path, format: str | None) -> str:
    """The format that was given, or ASE's guess; empty when it has none."""
    if format is not None or not path.is_file():
        return format or ""
    from ase.io.formats import filetype

    try:
        return str(filetype(str(path)))
    except Exception:  # noqa: BLE001  it looks into the file, and its decoders raise anything
        return ""


def said_by_reader(error: Exception, path: Path, format: str | None) -> str:
    """What an error of ASE's readers says, and what helps."""
    if isinstance(error, KeyError) and str(error.args[0]).isalpha():
        return f"{error.args[0]!r} is not a chemical symbol; write the element that it stands for (D is H)"
    hint = ""
    if "9-long numerical vector" in str(error):
        hint = "; write the tensor with nine numbers, or give six of them another name and say `keys`"
    elif not format_of(path, format):
        hint = "; if its name does not tell the format, give `format:`"
    return f"{type(error).__name__}: {error}{hint}"


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a text file, also of a compressed one."""
    from ase.io.formats import open_with_compression

    try:
        with open_with_compression(str(path), "rb") as stream, io.TextIOWrapper(stream, "utf-8", "replace") as text:
            yield from text
    except (EOFError, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"{path}: cannot be unpacked: {error}") from error


def count_xyz(path: Path) -> int:
    """How many frames an (extended) XYZ file holds.

    Raises InputError that names the line where a reader would stop: an empty one, one that is no number of atoms, or
    the end of the file within a frame.
    """
    frames, _, problem = _scanned(path, tensors=True)
    if problem:
        raise InputError(problem)
    return frames


def whole_xyz(path: Path) -> tuple[int, str]:
    """How many lines the whole frames of an (extended) XYZ file have up to where a reader would stop, and why it does;
    "" for a file that is whole."""
    return _scanned(path, tensors=False)[1:]


def _scanned(path: Path, *, tensors: bool) -> tuple[int, int, str]:
    """Frames of an (extended) XYZ file, the last line of those that are whole, and at what a reader would stop.

    tensors  stop at a stress or virial of nine numbers that is not symmetric, too; readers would make it so
    """
    frames, whole, missing, comment, empty = 0, 0, 0, False, 0
    for number, line in enumerate(lines_of(path), start=1):
        words = line.split()
        if comment:
            comment, whole = False, whole if missing else number
            if tensors and (problem := _asymmetry(path, number, line)):
                return frames, whole, problem
        elif missing:
            if not words:
                return frames, whole, f"{path}, line {number}: empty, where frame {frames - 1} lacks {missing} atoms"
            missing -= 1
            whole = whole if missing else number
        elif not words:
            empty = empty or number
        elif words[0].startswith("VEC"):
            continue
        elif empty:
            return frames, whole, f"{path}, line {empty}: empty, and readers lose the frames after it; remove the line"
        elif not words[0].isdigit():
            said = f"{path}, line {number}: cannot be read: the number of atoms of frame {frames} should be here"
            return frames, whole, said
        else:
            frames, missing, comment = frames + 1, int(words[0]), True
    if missing or comment:
        said = f"{path}: frame {frames - 1} is cut off: {missing} atoms are missing at the end of the file"
        return frames, whole, said
    return frames, whole, ""


def lost_xyz(path: Path, frames: int) -> str | None:
    """Why a reader that found so many frames in an (extended) XYZ file has not found all; None if it has.

    ASE's reader stops at an empty line as if the file ended there.
    """
    found, atoms, empty = 0, 0, 0
    for number, line in enumerate(lines_of(path), start=1):
        words = line.split()
        if atoms:
            atoms -= 1
        elif not words:
            empty = empty or number
        elif words[0].isdigit():
            found, atoms = found + 1, int(words[0]) + 1
            if found > frames and empty:
                return f"line {empty} is empty, and readers lose the frames after it; remove the line"
    return None if found <= frames else f"it holds {found} frames"


def _asymmetry(path: Path, number: int, line: str) -> str:
    """What a stress or virial of nine numbers lacks in symmetry; "" where nothing."""
    for name, text in re.findall(r'\b(stress|virial)="([^"]*)"', line):
        words = text.replace("{", " ").replace("}", " ").split()
        try:
            tensor = np.array([float(word) for word in words])
        except ValueError:
            continue
        if tensor.size != 9:
            continue
        tensor = tensor.reshape(3, 3)
        asymmetry = np.abs(tensor - tensor.T).max()
        if asymmetry > MAX_ASYMMETRY * np.abs(tensor).max() + SMALLEST_STRESS:
            return f"{path}, line {number}: the {name} is not symmetric: two components differ by {asymmetry:.3g}"
    return ""


def steps_of(path: Path, format: str) -> Steps | None:
    """The steps of an output of VASP, Quantum ESPRESSO or CP2K; None for other formats."""
    if format in ("vasp-out", "vasp/outcar", "outcar"):
        return _outcar(path)
    if format in ("vasp-xml", "vasp/xml", "xml"):
        return _vasprun(path)
    if format == "espresso-out":
        return _espresso(path)
    return None


def _outcar(path: Path) -> Steps:
    """VASP 6 says "EDIFF is reached" of a cycle that converged; VASP 5 also of one that ran out of steps."""
    old, limit, step, cycle, reached = False, 0, 0, 0, False
    converged = []
    for number, line in enumerate(lines_of(path)):
        if number < 20 and (head := re.match(r"\s*vasp\.(\d+)\.", line)):
            old = int(head[1]) < 6
        elif not limit and (nelm := re.search(r"\bNELM\s*=\s*(\d+)", line)):
            limit = int(nelm[1])
        elif iteration := re.match(r"-+ Iteration\s+(\d+)\(\s*(\d+)", line):
            if int(iteration[1]) != step:
                reached = False
            step, cycle = int(iteration[1]), int(iteration[2])
        elif "aborting loop because EDIFF is reached" in line:
            reached = True
        elif line.startswith("  FREE ENERGIE OF THE ION-ELECTRON SYSTEM"):
            converged.append(reached and not (old and limit and cycle >= limit))
    return Steps(tuple(converged))


def _vasprun(path: Path) -> Steps:
    """A cycle of NELM steps counts as unconverged: the file does not say more."""
    limit, cycles, inside = 0, 0, False
    converged = []
    for line in lines_of(path):
        if not limit and (nelm := re.search(r'name="NELM"[^>]*>\s*(\d+)', line)):
            limit = int(nelm[1])
        elif "<calculation" in line:
            cycles, inside = 0, True
        elif "<scstep" in line and inside:
            cycles += 1
        elif "</calculation" in line:
            converged.append(not limit or cycles < limit)
            inside = False
    return Steps(tuple(converged))


def _espresso(path: Path) -> Steps:
    """pw.x says of each cycle whether convergence has been achieved; its energy is marked by '!'."""
    reached, converged = True, []
    for line in lines_of(path):
        if "convergence has been achieved" in line:
            reached = True
        elif "convergence NOT achieved" in line:
            reached = False
        elif line.startswith("     Forces acting on atoms"):
            converged.append(reached)
    return Steps(tuple(converged))
