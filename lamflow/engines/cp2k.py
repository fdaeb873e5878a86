"""CP2K: labels by Quickstep, from keys or from an input of the user's own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, JsonValue, field_validator, model_validator

from lamflow.config.engines import ExaminedStudy
from lamflow.config.section import Element, InputFolder, check_names, expand
from lamflow.data import FailureKind, Frame, Labels
from lamflow.data.frames import Floats
from lamflow.data.problems import virial_of
from lamflow.engines.commands import PROGRAMS
from lamflow.engines.cp2k_data import check_data_files, check_kinds
from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example, hydrogen_frames
from lamflow.engines.own_relaxation import OwnRelaxation
from lamflow.engines.periodic import PeriodicSettings, boxed
from lamflow.engines.process import on_path
from lamflow.engines.program.relaxing import RelaxingLabeler, in_order
from lamflow.engines.program.settings import merged
from lamflow.engines.protocol import LabelFailure
from lamflow.errors import InputError
from lamflow.units import BAR_IN_EV_PER_A3, BOHR, HARTREE, Rydberg

FORBIDDEN = {
    "ignore_convergence_failure": "an unconverged cycle is no label",
    "run_type": "labels are single points with forces",
    "coord": "lamflow writes the structure",
    "cell": "lamflow writes the structure",
}
REMEDIES: dict[FailureKind, list[dict[str, JsonValue]]] = {
    "unconverged": [
        {"FORCE_EVAL": {"DFT": {"SCF": {"MAX_SCF": 200}}}},
        {"FORCE_EVAL": {"DFT": {"SCF": {"MAX_SCF": 400, "MIXING": {"ALPHA": 0.1, "NBROYDEN": 12}}}}},
    ]
}
PRESSURE = {"gpa": 1e4 * BAR_IN_EV_PER_A3, "bar": BAR_IN_EV_PER_A3, "kbar": 1e3 * BAR_IN_EV_PER_A3}
ENERGY = {"a.u.": HARTREE, "hartree": HARTREE, "ev": 1.0}
FORCE = {"hartree/bohr": HARTREE / BOHR, "hartree*bohr^-1": HARTREE / BOHR, "a.u.": HARTREE / BOHR, "ev/angstrom": 1.0,
         "ev*angstrom^-1": 1.0}  # fmt: skip
"""Units that CP2K prints, in eV, Å and eV/Å³."""


class Cp2k(PeriodicSettings):
    """Labels by CP2K's Quickstep: one self-consistent calculation with forces and stress a frame.

    Without `kspacing` and `kpoints` it is done at Γ alone.
    """

    forbidden = FORBIDDEN
    relaxed_cells = frozenset({"all", "none"})
    obtained = "install CP2K (Debian: apt-get install cp2k cp2k-data)"

    engine: Literal["cp2k"]
    basis: dict[Element, str]
    """Name of each element's basis set, for example `DZVP-MOLOPT-SR-GTH`."""
    potentials: dict[Element, str]
    """Name of each element's pseudopotential, for example `GTH-PBE-q4`."""
    basis_file: str = "BASIS_MOLOPT"
    """Name of a file in CP2K's own data folder, or of one of `files`."""
    potential_file: str = "GTH_POTENTIALS"
    files: list[InputFolder] = Field(default_factory=list)
    """Files of yours that the input names: basis sets, potentials, parameters of dispersion."""
    functional: str = "PBE"
    """A functional's short name in CP2K."""
    cutoff: Rydberg
    """Of the finest grid."""
    rel_cutoff: Rydberg = 50.0
    input: dict[str, JsonValue] = Field(default_factory=dict)
    """Sections and keywords as in CP2K's manual, on top of lamflow's: `FORCE_EVAL: {DFT: {SCF: {EPS_SCF: 1e-7}}}`.
    A list repeats a section or a keyword; the key `_` is a section's own parameter."""
    command: list[str] = ["cp2k"]
    """How CP2K is started, for example `[mpirun, -np, "4", cp2k.psmp]`."""
    remedies: dict[FailureKind, list[dict[str, JsonValue]]] = REMEDIES

    @field_validator("input", mode="after")
    @classmethod
    def _upper_case(cls, given: Any) -> Any:
        return _upper(given)

    @field_validator("remedies", mode="after")
    @classmethod
    def _upper_steps(cls, given: Any) -> Any:
        return {kind: [_upper(step) for step in ladder] for kind, ladder in given.items()}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        PROGRAMS["cp2k"].check(self.command)
        check_names("files", self.files, ("cp2k.inp",))
        only = sorted(set(self.basis) ^ set(self.potentials))
        if only:
            has, lacks = ("basis set", "potentials") if only[0] in self.basis else ("potential", "basis")
            raise ValueError(f"{lacks}: {only[0]} has a {has} and nothing in {lacks}")
        check_kinds(self.input)
        return self

    def examine(self, study: ExaminedStudy) -> list[str]:
        """Whether the files of basis sets and potentials that are here have those of every element."""
        try:
            self.check_data(study.elements)
        except ValueError as error:
            raise InputError(f"label.{error}") from error
        return super().examine(study)

    def check_data(self, elements: list[str]) -> None:
        """Raise ValueError when a file of basis sets or potentials lacks what these settings name."""
        entries = {"basis": (self.basis, self.basis_file), "potentials": (self.potentials, self.potential_file)}
        check_data_files(entries, self.files, elements)

    def known_elements(self) -> set[str] | None:
        """Those with a basis set and a potential."""
        return set(self.basis)

    def seconds(self, natoms: int) -> float:
        """As one core takes."""
        return 5.0 + 3.0 * natoms


class Cp2kLabeler(RelaxingLabeler[Cp2k]):
    """Labeler by CP2K."""

    output = "cp2k.out"
    version_pattern = r"CP2K version (\S+)"
    temporary_files = ("*.wfn*", "*.kp*", "*.restart*")

    def command(self, settings: Cp2k) -> list[str]:
        """CP2K reads its input by name."""
        return [*settings.command, "-i", "cp2k.inp"]

    def files(self, settings: Cp2k, frame: Frame) -> dict[str, str | Path]:
        """cp2k.inp, and the user's own files of basis sets and potentials."""
        return self._files(settings, frame, {})

    def relaxing_files(self, settings: Cp2k, frame: Frame, how: OwnRelaxation) -> dict[str, str | Path]:
        """See RelaxingLabeler; by CP2K's BFGS."""
        return self._files(settings, frame, _relaxing(how))

    def read_relaxed(self, frame: Frame, folder: Path) -> Frame | LabelFailure:
        """The last structure of CP2K's trajectory of the relaxation."""
        from ase.io import read

        path, cells = folder / "lamflow-pos-1.xyz", folder / "lamflow-1.cell"
        if not path.is_file():
            failed = read_output(folder / self.output, frame)
            return (
                failed if isinstance(failed, LabelFailure) else LabelFailure("there is no trajectory", kind="stopped")
            )
        atoms = read(path, format="xyz", index=-1)
        cell = np.loadtxt(cells, ndmin=2)[-1, 2:11].reshape(3, 3) if cells.is_file() else boxed(frame).cell
        return in_order(replace(frame, numbers=atoms.numbers, positions=atoms.positions, cell=cell), frame)

    def _files(self, settings: Cp2k, frame: Frame, more: Mapping[str, Any]) -> dict[str, str | Path]:
        """The input with further sections."""
        sections = merged(_sections(settings, frame), more)
        if _inner(settings.input, "FORCE_EVAL", "DFT", "XC", "XC_FUNCTIONAL") is not None:
            del sections["FORCE_EVAL"]["DFT"]["XC"]  # functionals that stand side by side would add up
        made: dict[str, str | Path] = {"cp2k.inp": "\n".join(_lines(merged(sections, settings.input))) + "\n"}
        return made | {file.name: expand(file) for file in settings.files}

    def read(self, settings: Cp2k, frame: Frame, folder: Path) -> Labels | LabelFailure:
        """The labels in cp2k.out."""
        del settings
        return read_output(folder / self.output, frame)


def _relaxing(how: OwnRelaxation) -> dict[str, Any]:
    """Sections for a relaxation."""
    limits = {"OPTIMIZER": "BFGS", "MAX_ITER": how.steps, "MAX_FORCE": how.fmax * BOHR / HARTREE}
    if how.cell == "none":
        return {"GLOBAL": {"RUN_TYPE": "GEO_OPT"}, "MOTION": {"GEO_OPT": limits}}
    cell = {**limits, "EXTERNAL_PRESSURE": how.pressure, "PRESSURE_TOLERANCE": how.stress}
    return {"GLOBAL": {"RUN_TYPE": "CELL_OPT"}, "MOTION": {"CELL_OPT": cell, "PRINT": {"CELL": {"_": "ON"}}}}


def _sections(settings: Cp2k, frame: Frame) -> dict[str, Any]:
    """lamflow's own input for a frame."""
    box = boxed(frame)
    dft: dict[str, Any] = {
        "BASIS_SET_FILE_NAME": settings.basis_file,
        "POTENTIAL_FILE_NAME": settings.potential_file,
        "MGRID": {"CUTOFF": settings.cutoff, "REL_CUTOFF": settings.rel_cutoff, "NGRIDS": 4},
        "QS": {"EPS_DEFAULT": 1e-12},
        "SCF": {"SCF_GUESS": "ATOMIC", "EPS_SCF": 1e-7, "MAX_SCF": 100},
        "XC": {"XC_FUNCTIONAL": {"_": settings.functional}},
    }
    mesh = settings.mesh(frame)
    if not frame.pbc:
        dft["POISSON"] = {"PERIODIC": "NONE", "POISSON_SOLVER": "MT"}
    elif mesh is not None:
        dft["KPOINTS"] = {"SCHEME": f"MONKHORST-PACK {mesh[0]} {mesh[1]} {mesh[2]}"}
    if settings.magnetic_moments:
        dft.update(UKS=True, MULTIPLICITY=_multiplicity(settings, frame))
    if frame.electronic_temperature is not None:
        smear = {"_": True, "METHOD": "FERMI_DIRAC", "ELECTRONIC_TEMPERATURE": f"[K] {frame.electronic_temperature}"}
        dft["SCF"].update(SMEAR=smear, ADDED_MOS=10 + 2 * frame.natoms)
    kinds = [_kind(settings, element) for element in sorted(set(frame.symbols))]
    cell = {name: " ".join(f"{x:.12f}" for x in row) for name, row in zip("ABC", box.cell, strict=True)}
    coordinates = [
        f"{symbol} {x:.12f} {y:.12f} {z:.12f}" for symbol, (x, y, z) in zip(box.symbols, box.positions, strict=True)
    ]
    return {
        "GLOBAL": {"PROJECT": "lamflow", "RUN_TYPE": "ENERGY_FORCE", "PRINT_LEVEL": "MEDIUM"},
        "FORCE_EVAL": {
            "METHOD": "QUICKSTEP",
            **({"STRESS_TENSOR": "ANALYTICAL"} if frame.pbc else {}),
            "PRINT": {"FORCES": {"_": "ON", "NDIGITS": 12}, **({"STRESS_TENSOR": {"_": "ON"}} if frame.pbc else {})},
            "DFT": dft,
            "SUBSYS": {"CELL": {**cell, **({} if frame.pbc else {"PERIODIC": "NONE"})}, "COORD": {"": coordinates},
                       "KIND": kinds},
        },
    }  # fmt: skip


def _kind(settings: Cp2k, element: str) -> dict[str, Any]:
    if element not in settings.basis:
        raise ValueError(f"label.basis: there is none for {element}")
    moments = settings.magnetic_moments
    return {
        "_": element, "ELEMENT": element, "BASIS_SET": settings.basis[element],
        "POTENTIAL": settings.potentials[element],
        **({"MAGNETIZATION": moments[element]} if element in moments else {}),
    }  # fmt: skip


def _multiplicity(settings: Cp2k, frame: Frame) -> int:
    """2S + 1 of the moments that are asked for, as near as the number of electrons allows."""
    charge = int(_inner(settings.input, "FORCE_EVAL", "DFT", "CHARGE") or 0)
    odd = (int(frame.numbers.sum()) - charge) % 2
    unpaired = 2 * round((abs(sum(settings.moments(frame.symbols))) - odd) / 2) + odd
    return 1 + max(odd, unpaired)


def _inner(sections: Any, *path: str) -> Any:
    """What lies at the end of a path of sections, or None."""
    for key in path:
        sections = sections.get(key) if isinstance(sections, Mapping) else None
    return sections


def _upper(value: Any) -> Any:
    """Sections and keywords in upper case, as CP2K takes them in any."""
    if isinstance(value, Mapping):
        return {str(key).upper(): _upper(item) for key, item in value.items()}
    return [_upper(item) for item in value] if isinstance(value, list) else value


def _lines(sections: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """The lines of an input."""
    margin = "  " * depth
    for key, given in sections.items():
        if key == "_":
            continue
        for value in given if isinstance(given, list) else [given]:
            if isinstance(value, Mapping):
                yield f"{margin}&{key} {_word(value.get('_', ''))}".rstrip()
                yield from _lines(value, depth + 1)
                yield f"{margin}&END {key}"
            else:
                yield f"{margin}{key} {_word(value)}".rstrip() if key else f"{margin}{value}"


def _word(value: Any) -> str:
    return ("TRUE" if value else "FALSE") if isinstance(value, bool) else str(value)


def read_output(path: Path, frame: Frame) -> Labels | LabelFailure:
    """The labels in CP2K's output for `frame`, or why there are none.

    CP2K ends well after a cycle that did not converge, so it must say that it did.
    """
    text = path.read_text(errors="replace", encoding="utf-8") if path.is_file() else ""
    if "SCF run NOT converged" in text or "outer SCF loop FAILED to converge" in text:
        return LabelFailure("the SCF cycle did not converge", kind="unconverged")
    if "[ABORT]" in text:
        box = text.partition("[ABORT]")[2].partition(" ****")[0].splitlines()[1:]
        reason = " ".join(line[9:-1].strip() for line in box)  # beside the picture of a man
        return LabelFailure(f"CP2K stopped: {' '.join(reason.split())}")
    if "SCF run converged" not in text or "PROGRAM ENDED AT" not in text:
        return LabelFailure("CP2K stopped early", kind="incomplete")
    try:
        energy, forces, stress = _energy(text), _forces(text), _stress(text)
    except KeyError as error:
        return LabelFailure(f"the output is in {error.args[0]}, a unit that lamflow does not know", kind="invalid")
    if energy is None or forces is None:
        return LabelFailure(f"the output has no {'energy' if energy is None else 'forces'}", kind="incomplete")
    virial = None
    if stress is not None and frame.pbc:
        virial = virial_of(-stress, frame.volume)
    return Labels(energy, forces, virial)


def _energy(text: str) -> float | None:
    """The energy in eV: `energy [a.u.]: -1.0`, or since CP2K 2025 `energy [hartree] -1.0`."""
    number = r"-?[\d.]+(?:[Ee][-+]?\d+)?"
    stated = rf"ENERGY\| Total FORCE_EVAL.*energy\s+[\[(](\S+)[\])]:?\s+({number})\s*$"
    lines = re.findall(stated, text, re.M)
    return float(lines[-1][1]) * ENERGY[lines[-1][0].lower()] if lines else None


def _forces(text: str) -> Floats | None:
    """Forces (N, 3) in eV/Å: the older table of atoms, or the newer lines that begin with FORCES|."""
    lines = re.findall(r"^ FORCES\|\s+\d+\s+(\S+)\s+(\S+)\s+(\S+)\s+\S+\s*$", text, re.M)
    if not lines:
        table = text.rpartition("ATOMIC FORCES in [a.u.]")[2].partition("SUM OF ATOMIC FORCES")
        if not table[1]:
            return None
        lines = re.findall(r"^\s+\d+\s+\d+\s+[A-Z]\w*\s+(\S+)\s+(\S+)\s+(\S+)\s*$", table[0], re.M)
        return np.array(lines, dtype=np.float64).reshape(-1, 3) * HARTREE / BOHR
    unit = re.findall(r"FORCES\|.*[Ff]orces \[(\S+)\]", text)
    return np.array(lines, dtype=np.float64).reshape(-1, 3) * FORCE[unit[-1].lower() if unit else "hartree/bohr"]


def _stress(text: str) -> Floats | None:
    """The stress (3, 3) in eV/Å³ as CP2K prints it, positive under compression."""
    heads = list(re.finditer(r"^\s*(?:STRESS\|\s+)?(?:\w+\s+)?stress tensor \[(\w+)\]\s*$", text, re.M | re.I))
    if not heads:
        return None
    number = r"[ \t]+(-?[\d.]+(?:[Ee][-+]?\d+)?)"
    row = rf"^[ \t]*(?:STRESS\|[ \t]+)?[xyzXYZ]{number * 3}[ \t]*$"  # without STRESS| until CP2K 7.1
    rows = re.findall(row, text[heads[-1].end() :], re.M)[:3]
    if len(rows) < 3:
        return None
    return np.array(rows, dtype=np.float64) * PRESSURE[heads[-1].group(1).lower()]


def _example(folder: Path) -> Example:
    del folder
    program = next((name for name in ("cp2k", "cp2k.psmp") if shutil.which(name)), "cp2k")
    settings = {
        "cutoff": 120, "rel_cutoff": 30, "basis": {"H": "SZV-MOLOPT-SR-GTH"}, "potentials": {"H": "GTH-PBE-q1"},
        "command": [program], "input": {"FORCE_EVAL": {"DFT": {"SCF": {"EPS_SCF": 1e-6}}}},
    }  # fmt: skip
    return Example(settings, hydrogen_frames())


ENGINE = Engine(
    "cp2k",
    on_path("cp2k"),
    install="apt-get install cp2k cp2k-data",
    image="label-cp2k",
    label=Role(Cp2k, Cp2kLabeler, example=_example),
)
