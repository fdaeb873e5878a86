"""Quantum ESPRESSO: labels by pw.x."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from ase.data import atomic_numbers
from pydantic import Field, JsonValue, model_validator

from lamflow.config.engines import ExaminedStudy
from lamflow.config.section import Element, InputFile
from lamflow.data import FailureKind, Frame, LabeledFrame, Labels
from lamflow.data.io import labels_from_ase
from lamflow.engines import process
from lamflow.engines.commands import PROGRAMS
from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example, silicon_frames
from lamflow.engines.own_relaxation import OwnRelaxation
from lamflow.engines.periodic import PeriodicSettings, boxed
from lamflow.engines.process import on_path
from lamflow.engines.program.relaxing import RelaxingLabeler, in_order
from lamflow.engines.protocol import LabelFailure
from lamflow.engines.pseudopotentials import check_pseudopotentials
from lamflow.engines.qe_namelists import check_key, check_value
from lamflow.engines.species import aligned, linked
from lamflow.errors import InputError
from lamflow.units import BAR_IN_KBAR, BOHR, BOLTZMANN, RYDBERG, Rydberg

FORBIDDEN = {
    "calculation": "labels are single points",
    "ibrav": "lamflow writes the structure",
    "nat": "lamflow writes the structure",
    "ntyp": "lamflow writes the structure",
    "scf_must_converge": "without it an unconverged run claims to have converged",
    "prefix": "lamflow sets it",
    "outdir": "lamflow sets it",
    "pseudo_dir": "pseudopotentials are given as files",
    "tprnfor": "forces are always computed",
    "tstress": "the stress is always computed",
    "constrained_magnetization": "its penalty is part of the energy and pw.x prints no magnetic forces; abacus and "
    "vasp hold moments (deltaspin)",
}
INDEXED = re.compile(r"(?P<key>\w+)\((?P<of>\w+)\)")
"""A key of one species, like hubbard_u(Fe)."""
POLARISED = "starting_magnetization"
"""Fraction of its valence electrons by which a species is polarised where the cycle begins; ASE writes it by atom."""
REMEDIES: dict[FailureKind, list[dict[str, JsonValue]]] = {
    "unconverged": [
        {"electrons": {"electron_maxstep": 200, "mixing_beta": 0.3}},
        {"electrons": {"electron_maxstep": 400, "mixing_beta": 0.1, "mixing_mode": "local-TF"}},
    ]
}


class QuantumEspresso(PeriodicSettings):
    """Labels by Quantum ESPRESSO's pw.x: one self-consistent calculation with forces and stress a frame.

    Without `kspacing` and `kpoints` k points are 0.2 Å⁻¹ apart.
    """

    forbidden = FORBIDDEN
    spacing = 0.2
    relaxed_cells = frozenset({"all", "volume", "shape", "none"})
    obtained = "install Quantum ESPRESSO (Debian: apt-get install quantum-espresso)"

    engine: Literal["qe"]
    pseudopotentials: dict[Element, InputFile]
    """One file an element."""
    ecutwfc: Rydberg
    """Kinetic energy cutoff of the wave functions."""
    ecutrho: Rydberg | None = None
    """Cutoff of the density; four times `ecutwfc` if absent, which is too low for ultrasoft pseudopotentials."""
    input: dict[Literal["control", "system", "electrons"], dict[str, JsonValue]] = Field(default_factory=dict)
    """Further keys of pw.x's namelists, as in its manual. Those of species take an element: `hubbard_u(Fe): 4.0`."""
    command: list[str] = ["pw.x"]
    """How pw.x is started, for example `[mpirun, -np, "4", pw.x]`."""
    remedies: dict[FailureKind, list[dict[str, JsonValue]]] = REMEDIES

    @model_validator(mode="after")
    def _species_have_names(self) -> Self:
        PROGRAMS["qe"].check(self.command)
        for namelist, keys in self.input.items():
            for key, value in keys.items():
                check_key(namelist, key)
                check_value(namelist, key, value)
        for key in self.input.get("system", {}):
            found = INDEXED.fullmatch(key)
            if found and found["of"] not in atomic_numbers:
                raise ValueError(
                    f"input.system.{key}: species come in another order in every frame; name the element, for example "
                    f"{found['key']}(Fe)"
                )
        return self

    def examine(self, study: ExaminedStudy) -> list[str]:
        """Whether pseudopotentials are of the elements that they are given for."""
        try:
            check_pseudopotentials(self.pseudopotentials, study.elements)
        except ValueError as error:
            raise InputError(f"label.{error}") from error
        return super().examine(study)

    def known_elements(self) -> set[str] | None:
        """Those with a pseudopotential."""
        return set(self.pseudopotentials)

    def seconds(self, natoms: int) -> float:
        """From 2 s for 2 atoms of silicon, growing with the square of the atoms."""
        return 2.0 + 0.05 * natoms**2


class QeLabeler(RelaxingLabeler[QuantumEspresso]):
    """Labeler by pw.x."""

    output = "pw.out"
    version_pattern = r"Program PWSCF v\.(\S+)"
    temporary_files = ("out",)

    def command(self, settings: QuantumEspresso) -> list[str]:
        """pw.x reads its input by name."""
        return [*settings.command, "-in", "pw.in"]

    def files(self, settings: QuantumEspresso, frame: Frame) -> dict[str, str | Path]:
        """pw.in and the pseudopotentials."""
        return self._files(settings, frame, {})

    def relaxing_files(self, settings: QuantumEspresso, frame: Frame, how: OwnRelaxation) -> dict[str, str | Path]:
        """See RelaxingLabeler; by pw.x's BFGS."""
        return self._files(settings, frame, _relaxing(how))

    def read_relaxed(self, frame: Frame, folder: Path) -> Frame | LabelFailure:
        """The last structure in pw.out."""
        return read_relaxed(folder / self.output, frame)

    def _files(
        self, settings: QuantumEspresso, frame: Frame, more: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, str | Path]:
        """The input with further keys of namelists."""
        from ase.io.espresso import write_espresso_in

        sources = linked("pseudopotentials", settings.pseudopotentials, frame.symbols)
        check_pseudopotentials(settings.pseudopotentials, sources)
        system: dict[str, Any] = {
            "ecutwfc": settings.ecutwfc,
            "ecutrho": settings.ecutrho or 4 * settings.ecutwfc,
            **_indexed(settings.input.get("system", {}), list(sources)),
        }
        if frame.electronic_temperature is not None:
            width = frame.electronic_temperature * BOLTZMANN / RYDBERG
            system.update(occupations="smearing", smearing="fermi-dirac", degauss=width)
        namelists = {
            "control": {
                "calculation": "scf", "tprnfor": True, "tstress": True, "prefix": "lamflow", "outdir": "./out",
                "pseudo_dir": "./", "disk_io": "none", **settings.input.get("control", {}), **more.get("control", {}),
            },
            "system": system,
            "electrons": _electrons(settings),
            **{name: dict(keys) for name, keys in more.items() if name != "control"},
        }  # fmt: skip
        box = boxed(frame)
        atoms = box.to_ase()
        polarised = {element: system.pop(f"{POLARISED}({n})", 0.0) for n, element in enumerate(sources, 1)}
        if settings.magnetic_moments:
            if not system.get("noncolin"):
                system["nspin"] = 2
            for element, moment in settings.magnetic_moments.items():
                if element in sources:  # 1 and more are μB since 7.3
                    polarised[element] = float(np.clip(moment / valence_electrons(sources[element][1]), -0.999, 0.999))
        if any(polarised.values()):
            atoms.set_initial_magnetic_moments([polarised[symbol] for symbol in box.symbols])
        text = io.StringIO()
        names = {element: name for element, (name, _) in sources.items()}
        write_espresso_in(text, atoms, input_data=namelists, pseudopotentials=names, kpts=settings.mesh(frame))
        return {"pw.in": text.getvalue(), **dict(sources.values())}

    def read(self, settings: QuantumEspresso, frame: Frame, folder: Path) -> Labels | LabelFailure:
        """The labels in pw.out."""
        return read_output(folder / self.output, frame, float(_electrons(settings)["conv_thr"]))


def _relaxing(how: OwnRelaxation) -> dict[str, dict[str, Any]]:
    """Keys of namelists for a relaxation. Energies end nothing: forces and stress do."""
    control = {
        "calculation": "relax" if how.cell == "none" else "vc-relax", "nstep": how.steps,
        "forc_conv_thr": how.fmax * BOHR / RYDBERG, "etot_conv_thr": 1e-3,
    }  # fmt: skip
    cell = {"press": how.pressure * BAR_IN_KBAR, "press_conv_thr": how.stress * BAR_IN_KBAR, "cell_dofree": how.cell}
    made: dict[str, dict[str, Any]] = {"control": control, "ions": {"ion_dynamics": "bfgs"}}
    return made if how.cell == "none" else {**made, "cell": cell}


def read_relaxed(output: Path, frame: Frame) -> Frame | LabelFailure:
    """The last structure in pw.x's output whose cycle converged, or why there is none."""
    from ase.io import read

    text = output.read_text(errors="replace", encoding="utf-8") if output.is_file() else ""
    if "Forces acting on atoms" not in text:
        error = re.search(r"Error in routine\s+(.*?)\n\s*(.*)", text)
        said = f": {error.group(1).strip()}: {error.group(2).strip()}" if error else " early"
        if "convergence NOT achieved" in text:
            return LabelFailure("the SCF cycle did not converge", kind="unconverged")
        return LabelFailure(f"pw.x stopped{said}", kind="stopped" if error else "incomplete")
    return in_order(Frame.from_ase(read(output, format="espresso-out", index=-1)), frame)


def _indexed(keys: Mapping[str, Any], species: list[str]) -> dict[str, Any]:
    """Keys of species with the number that pw.x knows it by; those of elements that are not there are left out."""
    made = {}
    for key, value in keys.items():
        found = INDEXED.fullmatch(key)
        if found is None:
            made[key.lower()] = value
        elif found["of"] in species:
            made[f"{found['key'].lower()}({species.index(found['of']) + 1})"] = value
    return made


def valence_electrons(pseudopotential: Path) -> float:
    """Electrons of an atom that a UPF file (version 1 or 2) does not replace. Raises ValueError for another file."""
    text = pseudopotential.read_text(errors="replace", encoding="utf-8")
    found = re.search(r"z_valence\s*=\s*\"?\s*([\d.EeDd+-]+)|([\d.EeDd+-]+)\s+Z valence", text)
    if found is None:
        raise ValueError(f"{pseudopotential}: magnetic_moments need its number of valence electrons, and it has none")
    return float((found[1] or found[2]).lower().replace("d", "e"))


def _electrons(settings: QuantumEspresso) -> dict[str, Any]:
    given = {key.lower(): value for key, value in settings.input.get("electrons", {}).items()}
    threshold = str(given.get("conv_thr", 1e-8)).lower().replace("d", "e")  # Fortran writes 1.0d-8
    return {**given, "conv_thr": float(threshold)}


def read_output(output: Path, frame: Frame, conv_thr: float) -> Labels | LabelFailure:
    """The labels in pw.x's output for `frame`, or why there are none.

    Neither the exit status nor `JOB DONE` is trusted: the self-consistent cycle must say that it converged, its last
    accuracy must be at most `conv_thr` (Ry), and energy, forces and stress must be there and finite.
    """
    text = output.read_text(errors="replace", encoding="utf-8") if output.is_file() else ""
    log = process.tail(output)
    if "convergence NOT achieved" in text:
        cycle = [line for line in text.splitlines() if "estimated scf accuracy" in line or "convergence NOT" in line]
        return LabelFailure("the SCF cycle did not converge", "\n".join(cycle[-10:]), "unconverged")
    if "convergence has been achieved" not in text:
        error = re.search(r"Error in routine\s+(.*?)\n\s*(.*)", text)
        if error:
            return LabelFailure(f"pw.x stopped: {error.group(1).strip()}: {error.group(2).strip()}", log)
        return LabelFailure("pw.x stopped early", log, "incomplete")
    accuracies = re.findall(r"estimated scf accuracy\s+<\s+([\d.Ee+-]+) Ry", text)
    if not accuracies or float(accuracies[-1]) > conv_thr:
        last = accuracies[-1] if accuracies else "unknown"
        reason = f"the SCF cycle did not converge: its accuracy is {last} Ry, conv_thr {conv_thr:g} Ry"
        return LabelFailure(reason, log, "unconverged")
    for wanted, name in (("Forces acting on atoms", "forces"), ("total   stress", "stress")):
        if wanted not in text:
            return LabelFailure(f"pw.x's output has no {name}", log, "incomplete")
    from ase.io import read

    atoms = read(output, format="espresso-out", index=-1)
    return aligned(LabeledFrame(Frame.from_ase(atoms), labels_from_ase(atoms)), boxed(frame))


def _example(folder: Path) -> Example:
    del folder
    file = Path("/usr/share/espresso/pseudo/Si.pbe-rrkj.UPF")
    missing = None if file.is_file() else f"{file} is missing: apt-get install quantum-espresso-data"
    settings = {"pseudopotentials": {"Si": file}, "ecutwfc": 12, "kspacing": 1.1}
    return Example(settings, silicon_frames(), unavailable=missing)


ENGINE = Engine(
    "qe",
    on_path("pw.x"),
    install="apt-get install quantum-espresso",
    image="label-qe",
    label=Role(QuantumEspresso, QeLabeler, example=_example),
)
