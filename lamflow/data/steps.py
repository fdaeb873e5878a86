"""What the files of many steps say of themselves, found without the readers: how many frames, and which converged."""

from __future__ import annotations

import io
import lzma
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms

from lamflow.data.problems import MAX_ASYMMETRY
from lamflow.data.vasp_moments import AFTER, TITLE, NoMomentsError, give_moments
from lamflow.errors import InputError

XYZ = ("extxyz", "xyz")
UNREAD_STRESS = "the stress that CP2K prints is not read by dpdata; models learn no virial of these frames"
SMALLEST_STRESS = 1e-3
"""eV/Å³; components below are noise of the code."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Ionic steps of an output.

    converged  of each, whether its self-consistent cycle converged
    atoms      of each, the atoms of its run in their order; empty for formats that are not asked
    moments    of each, what DeltaSpin says of its moments as text; empty for steps without
    stopped    the code ended at a cycle that did not converge, of which there is no step
    stress     a stress is printed that readers may not know
    """

    converged: tuple[bool, ...]
    atoms: tuple[str, ...] = ()
    moments: tuple[str, ...] = ()
    stopped: bool = False
    stress: bool = False

    @property
    def unconverged(self) -> list[int]:
        """Numbers of the steps that are no labels, the first one 0."""
        return [number for number, converged in enumerate(self.converged) if not converged]

    @property
    def foreign(self) -> dict[int, str]:
        """By the number of a step whose run has other atoms than the first one, whose atoms readers give to all: why it
        is no label."""
        return {
            number: f"it is of a run of {atoms}, and its file begins with one of {self.atoms[0]}, whose elements "
            "readers give to all; split the file" for number, atoms in enumerate(self.atoms) if atoms != self.atoms[0]
        }  # fmt: skip

    def give_moments(self, atoms: Atoms, number: int) -> str | None:
        """Put the moments of step `number` into its atoms; the reason where it is no label by what is said of them."""
        if number >= len(self.moments) or not self.moments[number]:
            return None
        try:
            give_moments(atoms, self.moments[number])
        except NoMomentsError as error:
            return str(error)
        return None

    def require_one_system(self, path: Path) -> None:
        """Raise InputError for a file of several runs whose atoms differ."""
        for number, why in self.foreign.items():
            raise InputError(f"{path}: step {number}: {why}")


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
    """The steps of an output of VASP or Quantum ESPRESSO, and whether CP2K stopped; None for other formats."""
    if format in ("vasp-out", "vasp/outcar", "outcar"):
        return _outcar(path)
    if format in ("vasp-xml", "vasp/xml", "xml"):
        return _vasprun(path)
    if format == "espresso-out":
        return _espresso(path)
    if format in ("cp2k/output", "cp2kdata/e_f"):
        return _cp2k(path)
    return None


def steps_of_one_system(path: Path, format: str | None) -> Steps | None:
    """`steps_of` a file in a format, or in the one that ASE guesses. Raises InputError for runs whose atoms differ."""
    steps = steps_of(path, format_of(path, format)) if path.is_file() else None
    if steps is not None:
        steps.require_one_system(path)
    return steps


def _cp2k(path: Path) -> Steps:
    stopped, stress = False, False
    for line in lines_of(path):
        stopped |= "SCF run NOT converged" in line
        stress |= line.lstrip().startswith("STRESS|")
    return Steps((), stopped=stopped, stress=stress)


@dataclass
class _OutcarRun:
    """What an OUTCAR has said of one run of VASP, of which a file may hold several, one after the other.

    old  VASP 5, which says "EDIFF is reached" also of a cycle that ran out of steps
    """

    old: bool = False
    limit: int = 0
    step: int = 0
    cycle: int = 0
    reached: bool = False
    kinds: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    moments: list[str] = field(default_factory=list)
    within: bool = False

    def read(self, line: str) -> None:
        """Take one line."""
        if TITLE in line:
            self.moments, self.within = [], True
        elif self.within and line.startswith(AFTER):
            self.within = False
        elif self.within:
            self.moments.append(line)
        elif iteration := re.match(r"-+ Iteration\s+(\d+)\(\s*(\d+)", line):
            if int(iteration[1]) != self.step:
                self.reached = False
            self.step, self.cycle = int(iteration[1]), int(iteration[2])
        elif "aborting loop because EDIFF is reached" in line:
            self.reached = True
        elif self.step:
            return
        elif not self.limit and (nelm := re.search(r"\bNELM\s*=\s*(\d+)", line)):
            self.limit = int(nelm[1])
        elif kind := re.match(r"\s*VRHFIN\s*=\s*([A-Z][a-z]?)", line):
            self.kinds += (kind[1],)
        elif not self.counts and (counts := re.match(r"\s*ions per type =([\s\d]+)", line)):
            self.counts = tuple(int(word) for word in counts[1].split())

    @property
    def atoms(self) -> str:
        """Its atoms in their order, as in `Cu2 Al1`; kinds that are said twice count once."""
        return " ".join(f"{kind}{count}" for kind, count in zip(self.kinds, self.counts, strict=False))

    def closed(self) -> tuple[bool, str]:
        """Whether the step that ends here converged, and what is said of its moments."""
        converged = self.reached and not (self.old and self.limit and self.cycle >= self.limit)
        moments = "".join(self.moments)
        self.reached, self.moments, self.within = False, [], False
        return converged, moments


def _outcar(path: Path) -> Steps:
    """VASP 6 says "EDIFF is reached" of a cycle that converged; VASP 5 also of one that ran out of steps.

    Readers give the atoms of the first run to those of all.
    """
    run, closed, atoms = _OutcarRun(), list[tuple[bool, str]](), list[str]()
    for line in lines_of(path):
        if head := re.match(r"\s*vasp\.(\d+)\.\d", line):
            run = _OutcarRun(old=int(head[1]) < 6)
        elif line.startswith("  FREE ENERGIE OF THE ION-ELECTRON SYSTEM"):
            closed.append(run.closed())
            atoms.append(run.atoms)
        else:
            run.read(line)
    return Steps(tuple(good for good, _ in closed), tuple(atoms), tuple(moments for _, moments in closed))


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
    """pw.x says of each cycle whether convergence has been achieved, and with scf_must_converge = .false. always that
    it has: its accuracy, which has eight decimals or two digits, must be that of the threshold (Ry), too."""
    reached, stopped, converged, threshold, accuracy = True, False, list[bool](), np.inf, 0.0
    for line in lines_of(path):
        if found := re.match(r"\s*(?:scf )?convergence threshold\s*=\s*([\d.]+[ED][+-]\d+)", line):
            threshold = float(found[1].replace("D", "E"))
        elif found := re.match(r"\s*estimated scf accuracy\s*<\s*([\d.]+(?:E[+-]\d+)?) Ry", line):
            accuracy = float(found[1])
        elif "convergence has been achieved" in line:
            reached = accuracy <= 1.05 * threshold + 5e-9
        elif "convergence NOT achieved" in line:
            reached, stopped = False, True
        elif line.startswith("     Forces acting on atoms"):
            converged.append(reached)
            stopped = False
    return Steps(tuple(converged), stopped=stopped)
