"""Quantum ESPRESSO: labels by pw.x."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, JsonValue, model_validator

from lamflow.config.engines import Engine, LabelerSettings
from lamflow.config.section import Element, InputFile, expand
from lamflow.data import Frame, Labels
from lamflow.data.io import labels_from_ase
from lamflow.engines import process
from lamflow.engines.protocol import LabelFailure
from lamflow.errors import EngineError, NodeError
from lamflow.units import Rydberg, Second

FORBIDDEN = {
    "scf_must_converge": "without it an unconverged run claims to have converged",
    "prefix": "lamflow sets it",
    "outdir": "lamflow sets it",
    "pseudo_dir": "pseudopotentials are given as files",
    "tprnfor": "forces are always computed",
    "tstress": "the stress is always computed",
}


class QuantumEspresso(LabelerSettings):
    """Labels by Quantum ESPRESSO's pw.x: one self-consistent calculation with forces and stress a frame."""

    engine: Literal["qe"]
    pseudopotentials: dict[Element, InputFile]
    """One file an element."""
    ecutwfc: Rydberg
    """Kinetic energy cutoff of the wave functions."""
    ecutrho: Rydberg | None = None
    """Cutoff of the density; four times `ecutwfc` if absent, which is too low for ultrasoft pseudopotentials."""
    kspacing: float = Field(0.2, gt=0)
    """Largest distance between k points, in Å⁻¹ with the factor 2π included."""
    input: dict[Literal["control", "system", "electrons"], dict[str, JsonValue]] = Field(default_factory=dict)
    """Further keys of pw.x's namelists, as in its manual."""
    command: list[str] = ["pw.x"]
    """How pw.x is started, for example `[mpirun, -np, "4", pw.x]`."""
    label_timeout: Second = 6 * 3600.0
    """A label that takes longer has failed."""

    @model_validator(mode="after")
    def _no_forbidden_keys(self) -> Self:
        for namelist, keys in self.input.items():
            for key in keys:
                if key.lower() in FORBIDDEN:
                    raise ValueError(f"input.{namelist}.{key}: not allowed: {FORBIDDEN[key.lower()]}")
        return self

    def missing(self) -> str | None:
        """The program that `command` names."""
        if shutil.which(self.command[0]) is not None:
            return None
        return (
            f"{self.command[0]}: no such program on PATH; install Quantum ESPRESSO "
            "(Debian: apt-get install quantum-espresso) or give label.command"
        )

    def known_elements(self) -> set[str] | None:
        """Those with a pseudopotential."""
        return set(self.pseudopotentials)

    def seconds(self, natoms: int) -> float:
        """From 2 s for 2 atoms of silicon, growing with the square of the atoms."""
        return 2.0 + 0.05 * natoms**2


class QeLabeler:
    """Labeler by pw.x."""

    def __init__(self, settings: QuantumEspresso) -> None:
        self.settings = settings

    def label(self, frames: Sequence[Frame], work: Path) -> list[Labels | LabelFailure]:
        """See Labeler. Each frame has a folder of its own below `work`, with pw.x's input and output."""
        missing = self.settings.missing()
        if missing:
            raise EngineError(missing)
        return [self._label(frame, work / frame.content_hash()) for frame in frames]

    def _label(self, frame: Frame, work: Path) -> Labels | LabelFailure:
        output, accuracy = work / "pw.out", float(self._electrons()["conv_thr"])
        if self._write_input(frame, work):
            finished = read_output(output, frame, accuracy)
            if isinstance(finished, Labels):
                return finished
        output.unlink(missing_ok=True)
        message = ""
        try:
            process.run(
                [*self.settings.command, "-in", "pw.in"],
                cwd=work, log=output, timeout=self.settings.label_timeout,
            )  # fmt: skip
        except NodeError:
            raise
        except EngineError as error:
            message = str(error).splitlines()[0]
        finally:
            shutil.rmtree(work / "out", ignore_errors=True)
        result = read_output(output, frame, accuracy)
        if isinstance(result, Labels) or "converge" in result.reason or not message:
            return result
        return LabelFailure(f"{result.reason}; {message}", result.log)

    def _electrons(self) -> dict[str, Any]:
        given = {key.lower(): value for key, value in self.settings.input.get("electrons", {}).items()}
        threshold = str(given.get("conv_thr", 1e-8)).lower().replace("d", "e")  # Fortran writes 1.0d-8
        return {**given, "conv_thr": float(threshold)}

    def _write_input(self, frame: Frame, work: Path) -> bool:
        """Write pw.in, and say whether the very same input was there already."""
        from ase.io.espresso import write_espresso_in

        work.mkdir(parents=True, exist_ok=True)
        settings, names = self.settings, {}
        for element in sorted(set(frame.symbols)):
            source = expand(settings.pseudopotentials[element])
            names[element] = source.name
            link = work / source.name
            link.unlink(missing_ok=True)
            link.symlink_to(source.absolute())
        system: dict[str, Any] = {
            "ecutwfc": settings.ecutwfc,
            "ecutrho": settings.ecutrho or 4 * settings.ecutwfc,
        }
        namelists = {
            "control": {
                "calculation": "scf", "tprnfor": True, "tstress": True, "prefix": "lamflow", "outdir": "./out",
                "pseudo_dir": "./", "disk_io": "none", **settings.input.get("control", {}),
            },
            "system": {**system, **settings.input.get("system", {})},
            "electrons": self._electrons(),
        }  # fmt: skip
        atoms = frame.to_ase()
        if not frame.pbc:
            atoms.center(vacuum=5.0)
        kpts = kpoint_grid(frame.cell, settings.kspacing) if frame.pbc else (1, 1, 1)
        text = io.StringIO()
        write_espresso_in(text, atoms, input_data=namelists, pseudopotentials=names, kpts=kpts)
        file = work / "pw.in"
        before = file.read_text() if file.is_file() else None
        file.write_text(text.getvalue())
        return before == text.getvalue()


def kpoint_grid(cell: np.ndarray, spacing: float) -> tuple[int, int, int]:
    """The coarsest grid whose points are at most `spacing` (Å⁻¹, 2π included) apart along each reciprocal vector."""
    reciprocal = 2 * np.pi * np.linalg.norm(np.linalg.inv(cell).T, axis=1)
    first, second, third = (max(1, int(np.ceil(length / spacing - 1e-9))) for length in reciprocal)
    return first, second, third


def read_output(output: Path, frame: Frame, conv_thr: float) -> Labels | LabelFailure:
    """The labels in pw.x's output for `frame`, or why there are none.

    Neither the exit status nor `JOB DONE` is trusted: the self-consistent cycle must say that it converged, its last
    accuracy must be at most `conv_thr` (Ry), and energy, forces and stress must be there and finite.
    """
    text = output.read_text(errors="replace") if output.is_file() else ""
    log = process.tail(output)
    if "convergence NOT achieved" in text:
        cycle = [line for line in text.splitlines() if "estimated scf accuracy" in line or "convergence NOT" in line]
        return LabelFailure("the SCF cycle did not converge", "\n".join(cycle[-10:]))
    if "convergence has been achieved" not in text:
        error = re.search(r"Error in routine\s+(.*?)\n\s*(.*)", text)
        reason = f"pw.x stopped: {error.group(1).strip()}: {error.group(2).strip()}" if error else "pw.x stopped early"
        return LabelFailure(reason, log)
    accuracies = re.findall(r"estimated scf accuracy\s+<\s+([\d.Ee+-]+) Ry", text)
    if not accuracies or float(accuracies[-1]) > conv_thr:
        last = accuracies[-1] if accuracies else "unknown"
        return LabelFailure(f"the SCF cycle did not converge: its accuracy is {last} Ry, conv_thr {conv_thr:g} Ry", log)
    for wanted, name in (("Forces acting on atoms", "forces"), ("total   stress", "stress")):
        if wanted not in text:
            return LabelFailure(f"pw.x's output has no {name}", log)
    return _parsed(output, frame, log)


def _parsed(output: Path, frame: Frame, log: str) -> Labels | LabelFailure:
    from ase.io import read

    try:
        atoms = read(output, format="espresso-out", index=-1)
        labels = labels_from_ase(atoms)
    except Exception as error:  # noqa: BLE001  whatever a cut-off file does to the parser, it is one failed label
        return LabelFailure(f"pw.x's output cannot be read: {type(error).__name__}: {error}", log)
    if list(atoms.numbers) != list(frame.numbers):
        return LabelFailure("pw.x's output is of another structure", log)
    if not frame.pbc:
        labels = Labels(labels.energy, labels.forces)
    problem = labels.problem(frame) or ("there is no stress" if frame.pbc and labels.virial is None else None)
    return LabelFailure(problem, log) if problem else labels


def _probe() -> str:
    path = shutil.which("pw.x")
    if path is None:
        raise EngineError("no program pw.x on PATH")
    return path


ENGINE = Engine(
    "qe", {"label": (QuantumEspresso, QeLabeler)}, _probe, install="apt-get install quantum-espresso", image="label-qe"
)
