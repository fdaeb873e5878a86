"""CALYPSO's split mode: the files through which it and whoever relaxes its structures talk, as one object.

calypso.x writes POSCAR_1 … POSCAR_n, `step` and results/; who relaxes puts CONTCAR_i and OUTCAR_i beside them and
starts calypso.x again, which reads them and writes the next generation. A relaxation that failed leaves an OUTCAR with
the energy SENTINEL.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from lamflow.data import Frame, Labels, Relaxed
from lamflow.data.files import write_whole
from lamflow.data.frames import Floats, Ints
from lamflow.data.problems import stress_of, virial_of
from lamflow.errors import EngineError

T = TypeVar("T")
SENTINEL = 610612509.0
"""eV; what CALYPSO takes for the energy of a relaxation that failed."""
EV_PER_A3_IN_KILOBAR = 1602.1766208
CHANGE = 1e-3
"""Å; CONTCAR and OUTCAR of one structure agree to this."""


class Exchange:
    """The folder of one search."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def results(self) -> Path:
        """CALYPSO's own records."""
        return self.folder / "results"

    @property
    def step(self) -> int | None:
        """What `step` says, the generation whose structures lie here; None before the first. Raises EngineError."""
        return self._read("step", lambda text: int(text.split()[0])) if (self.folder / "step").is_file() else None

    def write_step(self, number: int) -> None:
        """Say that generation `number` lies here whole."""
        write_whole(self.folder / "step", f"{number}\n")

    def numbers(self) -> list[int]:
        """Numbers of the structures that lie here."""
        found = (re.fullmatch(r"POSCAR_(\d+)", path.name) for path in self.folder.glob("POSCAR_*"))
        return sorted(int(match[1]) for match in found if match)

    def poscar(self, number: int) -> Frame:
        """Structure `number` as it was proposed. Raises EngineError for a file that is no POSCAR."""
        return self._read(f"POSCAR_{number}", read_poscar)

    def write_generation(self, frames: list[Frame], number: int) -> None:
        """Put the structures of generation `number` here in place of those of the one before."""
        self.clear()
        for place, frame in enumerate(frames, 1):
            write_whole(self.folder / f"POSCAR_{place}", write_poscar(frame, f"generation {number}, structure {place}"))
        self.write_step(number)

    def write_relaxed(self, name: str, relaxed: Relaxed, pressure: float) -> None:
        """Leave CONTCAR and OUTCAR, `name` behind it, of a relaxation under `pressure` in eV/Å³."""
        write_whole(self.folder / f"CONTCAR{name}", write_poscar(relaxed.frame))
        write_whole(self.folder / f"OUTCAR{name}", write_outcar(relaxed.frame, relaxed.labels, pressure))

    def relaxed(self, number: int) -> Relaxed:
        """What a relaxation left of structure `number`.

        Raises EngineError for files that are missing, cut off, or of another structure than POSCAR_`number`.
        """
        start = self.poscar(number)
        frame = self._read(f"CONTCAR_{number}", read_poscar)
        ended, labels = self._read(f"OUTCAR_{number}", read_outcar)
        for what, other in ((f"CONTCAR_{number}", frame), (f"OUTCAR_{number}", ended)):
            if sorted(other.numbers) != sorted(start.numbers):
                raise EngineError(
                    f"{self.folder / what} is of another structure: it has {_formula(other)}, and POSCAR_{number} "
                    f"has {_formula(start)}"
                )
        if labels is not None and not np.allclose(frame.cell, ended.cell, atol=CHANGE):
            raise EngineError(
                f"{self.folder}: CONTCAR_{number} and OUTCAR_{number} end with different cells; one of them is of "
                "another relaxation"
            )
        return Relaxed(frame, labels)

    def clear(self) -> None:
        """Remove the structures of a generation; its records in results/ stay."""
        for pattern in ("POSCAR_*", "CONTCAR_*", "OUTCAR_*"):
            for path in self.folder.glob(pattern):
                path.unlink()

    def _read(self, name: str, reader: Callable[[str], T]) -> T:
        path = self.folder / name
        try:
            return reader(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise EngineError(f"{path}: this file of the exchange with CALYPSO is missing") from error
        except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
            raise EngineError(f"{path}: cut off, or not what its name says: {error}") from error


def read_poscar(text: str) -> Frame:
    """A structure in VASP's format with element names. Raises ValueError."""
    lines = text.splitlines()
    if len(lines) < 8:
        raise ValueError(f"a POSCAR has at least 8 lines, this one {len(lines)}")
    names, counts = lines[5].split(), [int(word) for word in lines[6].split()]
    unknown = [name for name in names if name not in atomic_numbers]
    if unknown or len(names) != len(counts):
        raise ValueError(f"line 6 must name an element for each count of line 7, and reads {lines[5].strip()!r}")
    scale = float(lines[1])
    cell = np.array([[float(word) for word in line.split()[:3]] for line in lines[2:5]])
    cell *= scale if scale > 0 else (-scale / abs(np.linalg.det(cell))) ** (1 / 3)
    place = 8 if lines[7].strip()[:1].lower() == "s" else 7
    rows = [line.split()[:3] for line in lines[place + 1 : place + 1 + sum(counts)]]
    positions = np.array([[float(word) for word in row] for row in rows]).reshape(-1, 3)
    if len(positions) != sum(counts):
        raise ValueError(f"{len(positions)} of {sum(counts)} positions are there")
    direct = lines[place].strip()[:1].lower() not in ("c", "k")
    numbers = np.repeat([atomic_numbers[name] for name in names], counts)
    frame = Frame(numbers.astype(np.int64), positions @ cell if direct else positions * max(scale, 0), cell, True)
    if not (np.isfinite(frame.positions).all() and abs(np.linalg.det(cell)) > 1e-6):
        raise ValueError("the cell or a position is not a finite number")
    return frame


def write_poscar(frame: Frame, title: str = "") -> str:
    """A structure in VASP's format; atoms of one element follow each other."""
    order = by_element(frame.numbers)
    numbers = frame.numbers[order]
    kinds = list(dict.fromkeys(numbers.tolist()))
    scaled = np.linalg.solve(frame.cell.T, frame.positions[order].T).T % 1.0
    text = StringIO()
    text.write(f"{title or _formula(frame)}\n1.0\n")
    np.savetxt(text, frame.cell, fmt="%20.12f")
    text.write(" ".join(chemical_symbols[kind] for kind in kinds) + "\n")
    text.write(" ".join(str(int((numbers == kind).sum())) for kind in kinds) + "\nDirect\n")
    np.savetxt(text, scaled, fmt="%18.14f")
    return text.getvalue()


def write_outcar(frame: Frame, labels: Labels | None, pressure: float = 0.0) -> str:
    """The part of VASP's OUTCAR that CALYPSO and its scripts read; `pressure` in eV/Å³, no labels for a failure."""
    order = by_element(frame.numbers)
    numbers = frame.numbers[order]
    kinds = list(dict.fromkeys(numbers.tolist()))
    volume = frame.volume
    energy = SENTINEL if labels is None else labels.energy
    forces = np.zeros((frame.natoms, 3)) if labels is None else labels.forces[order]
    virial = np.zeros((3, 3)) if labels is None or labels.virial is None else labels.virial
    stress = -stress_of(virial, volume) * EV_PER_A3_IN_KILOBAR
    excess = float(np.trace(stress)) / 3 - pressure * EV_PER_A3_IN_KILOBAR
    enthalpy = energy if labels is None else energy + pressure * volume
    voigt = stress[[0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]]
    text = StringIO()
    text.write(" lamflow: the lines of an OUTCAR that CALYPSO reads\n")
    for kind in kinds:
        text.write(f"   TITEL  = PAW_PBE {chemical_symbols[kind]}\n   VRHFIN ={chemical_symbols[kind]}:\n")
    text.write("   ions per type =  " + " ".join(f"{int((numbers == kind).sum()):4d}" for kind in kinds) + "\n\n")
    text.write("  Direction       XX          YY          ZZ          XY          YZ          ZX\n")
    text.write("  in kB  " + " ".join(f"{value:15.6f}" for value in voigt) + "\n")
    text.write(
        f"  external pressure = {excess:15.6f} kB  Pullay stress = {pressure * EV_PER_A3_IN_KILOBAR:15.6f} kB\n\n"
        f"  volume of cell : {volume:15.6f}\n"
        "      direct lattice vectors                 reciprocal lattice vectors\n"
    )
    np.savetxt(text, np.hstack([frame.cell, np.linalg.inv(frame.cell).T]), fmt="%17.12f")
    text.write("\n POSITION                                       TOTAL-FORCE (eV/Angst)\n")
    text.write(" " + "-" * 83 + "\n")
    np.savetxt(text, np.hstack([frame.positions[order], forces]), fmt="%17.12f")
    text.write(
        " " + "-" * 83 + "\n    total drift:                                0.000000      0.000000      0.000000\n\n"
    )
    text.write(f"  free  energy   TOTEN  = {energy:20.8f} eV\n\n")
    text.write(f"  energy  without entropy= {energy:20.8f}  energy(sigma->0) = {energy:20.8f}\n")
    text.write(f"  enthalpy is  TOTEN    = {enthalpy:20.8f} eV   P V= {enthalpy - energy:20.8f}\n")
    return text.getvalue()


def read_outcar(text: str) -> tuple[Frame, Labels | None]:
    """The last configuration and its labels, which are None for a relaxation that failed.

    Reads an OUTCAR of VASP as well as one that `write_outcar` made. Raises ValueError for one that is cut off.
    """
    names = re.findall(r"VRHFIN\s*=\s*([A-Z][a-z]?)\s*:", text)
    counts = re.search(r"ions per type\s*=\s*([\d ]+)", text)
    numbers = [int(word) for word in counts[1].split()] if counts else []
    if not numbers or len(names) < len(numbers):
        raise ValueError("its elements (VRHFIN, ions per type) are missing")
    natoms = sum(numbers)
    cell = _table(text, "direct lattice vectors", 0, 3)[:, :3]
    table = _table(text, "TOTAL-FORCE", 1, natoms)
    energies = re.findall(r"energy\s+without entropy\s*=\s*(\S+)", text)
    if not energies or table.shape[1] < 6:
        raise ValueError("it has no energy or no forces")
    energy = float(energies[-1])
    kinds = np.repeat([atomic_numbers[name] for name in names[: len(numbers)]], numbers)
    frame = Frame(kinds.astype(np.int64), table[:, :3], cell, True)
    if abs(energy - SENTINEL) < 1:
        return frame, None
    stresses = re.findall(r"in kB\s+((?:\S+\s+){5}\S+)", text)
    virial = None
    if stresses:
        xx, yy, zz, xy, yz, zx = (float(word) for word in stresses[-1].split())
        stress = np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])
        virial = virial_of(-stress / EV_PER_A3_IN_KILOBAR, frame.volume)
    return frame, Labels(energy, table[:, 3:6].copy(), virial)


def _table(text: str, title: str, skip: int, rows: int) -> Floats:
    """The last table of numbers below a title."""
    begin = text.rfind(title)
    if begin < 0:
        raise ValueError(f"{title!r} is missing")
    lines = text[begin:].splitlines()[1 + skip : 1 + skip + rows]
    if len(lines) < rows:
        raise ValueError(f"{len(lines)} of the {rows} lines below {title!r} are there")
    return np.array([[float(word) for word in line.split()] for line in lines])


def by_element(numbers: Ints) -> Ints:
    """Places of atoms so that those of one element follow each other, elements in the order of first appearance."""
    _, first, kind = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(first[kind], kind="stable")


def _formula(frame: Frame) -> str:
    return str(frame.to_ase().get_chemical_formula())
