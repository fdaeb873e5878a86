"""Quantum ESPRESSO: labels by pw.x."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue

from lamflow.config.engines import Engine
from lamflow.config.section import Element, InputFile, expand
from lamflow.data import FailureKind, Frame, Labels
from lamflow.data.io import labels_from_ase
from lamflow.engines import process
from lamflow.engines.program import PeriodicSettings, ProgramLabeler, Spacing, boxed, on_path
from lamflow.engines.protocol import LabelFailure
from lamflow.units import BOLTZMANN, RYDBERG, Rydberg

FORBIDDEN = {
    "scf_must_converge": "without it an unconverged run claims to have converged",
    "prefix": "lamflow sets it",
    "outdir": "lamflow sets it",
    "pseudo_dir": "pseudopotentials are given as files",
    "tprnfor": "forces are always computed",
    "tstress": "the stress is always computed",
}
REMEDIES: dict[FailureKind, list[dict[str, JsonValue]]] = {
    "unconverged": [
        {"electrons": {"electron_maxstep": 200, "mixing_beta": 0.3}},
        {"electrons": {"electron_maxstep": 400, "mixing_beta": 0.1, "mixing_mode": "local-TF"}},
    ]
}


class QuantumEspresso(PeriodicSettings):
    """Labels by Quantum ESPRESSO's pw.x: one self-consistent calculation with forces and stress a frame."""

    forbidden = FORBIDDEN
    obtained = "install Quantum ESPRESSO (Debian: apt-get install quantum-espresso)"

    engine: Literal["qe"]
    pseudopotentials: dict[Element, InputFile]
    """One file an element."""
    ecutwfc: Rydberg
    """Kinetic energy cutoff of the wave functions."""
    ecutrho: Rydberg | None = None
    """Cutoff of the density; four times `ecutwfc` if absent, which is too low for ultrasoft pseudopotentials."""
    kspacing: Spacing = 0.2
    input: dict[Literal["control", "system", "electrons"], dict[str, JsonValue]] = Field(default_factory=dict)
    """Further keys of pw.x's namelists, as in its manual."""
    command: list[str] = ["pw.x"]
    """How pw.x is started, for example `[mpirun, -np, "4", pw.x]`."""
    remedies: dict[FailureKind, list[dict[str, JsonValue]]] = REMEDIES

    def known_elements(self) -> set[str] | None:
        """Those with a pseudopotential."""
        return set(self.pseudopotentials)

    def seconds(self, natoms: int) -> float:
        """From 2 s for 2 atoms of silicon, growing with the square of the atoms."""
        return 2.0 + 0.05 * natoms**2


class QeLabeler(ProgramLabeler[QuantumEspresso]):
    """Labeler by pw.x."""

    output = "pw.out"
    heavy = ("out",)

    def command(self, settings: QuantumEspresso) -> list[str]:
        """pw.x reads its input by name."""
        return [*settings.command, "-in", "pw.in"]

    def files(self, settings: QuantumEspresso, frame: Frame) -> dict[str, str | Path]:
        """pw.in and the pseudopotentials."""
        from ase.io.espresso import write_espresso_in

        sources = {element: expand(settings.pseudopotentials[element]) for element in sorted(set(frame.symbols))}
        system: dict[str, Any] = {
            "ecutwfc": settings.ecutwfc,
            "ecutrho": settings.ecutrho or 4 * settings.ecutwfc,
            **settings.input.get("system", {}),
        }
        if frame.electronic_temperature is not None:
            width = frame.electronic_temperature * BOLTZMANN / RYDBERG
            system.update(occupations="smearing", smearing="fermi-dirac", degauss=width)
        namelists = {
            "control": {
                "calculation": "scf", "tprnfor": True, "tstress": True, "prefix": "lamflow", "outdir": "./out",
                "pseudo_dir": "./", "disk_io": "none", **settings.input.get("control", {}),
            },
            "system": system,
            "electrons": _electrons(settings),
        }  # fmt: skip
        box = boxed(frame)
        atoms = box.to_ase()
        moments = settings.moments(box.symbols)
        if moments:
            system["nspin"] = 2
            atoms.set_initial_magnetic_moments(moments)
        text = io.StringIO()
        names = {element: source.name for element, source in sources.items()}
        write_espresso_in(text, atoms, input_data=namelists, pseudopotentials=names, kpts=settings.mesh(frame))
        return {"pw.in": text.getvalue(), **{source.name: source for source in sources.values()}}

    def read(self, settings: QuantumEspresso, frame: Frame, folder: Path) -> Labels | LabelFailure:
        """The labels in pw.out."""
        return read_output(folder / self.output, frame, float(_electrons(settings)["conv_thr"]))


def _electrons(settings: QuantumEspresso) -> dict[str, Any]:
    given = {key.lower(): value for key, value in settings.input.get("electrons", {}).items()}
    threshold = str(given.get("conv_thr", 1e-8)).lower().replace("d", "e")  # Fortran writes 1.0d-8
    return {**given, "conv_thr": float(threshold)}


def read_output(output: Path, frame: Frame, conv_thr: float) -> Labels | LabelFailure:
    """The labels in pw.x's output for `frame`, or why there are none.

    Neither the exit status nor `JOB DONE` is trusted: the self-consistent cycle must say that it converged, its last
    accuracy must be at most `conv_thr` (Ry), and energy, forces and stress must be there and finite.
    """
    text = output.read_text(errors="replace") if output.is_file() else ""
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
    if list(atoms.numbers) != list(frame.numbers):
        return LabelFailure("pw.x's output is of another structure", log, "invalid")
    return labels_from_ase(atoms)


ENGINE = Engine(
    "qe",
    {"label": (QuantumEspresso, QeLabeler)},
    on_path("pw.x"),
    install="apt-get install quantum-espresso",
    image="label-qe",
)
