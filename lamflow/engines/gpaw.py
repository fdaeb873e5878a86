"""GPAW: labels by projector augmented waves, in an interpreter that may be another one than lamflow's."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from ase.data import atomic_numbers
from pydantic import Field, JsonValue, model_validator

from lamflow.config.engines import ExaminedStudy
from lamflow.data import FailureKind, Frame, Labels
from lamflow.data.problems import virial_of
from lamflow.engines.commands import PROGRAMS
from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example, silicon_frames
from lamflow.engines.periodic import PeriodicSettings, boxed
from lamflow.engines.process import on_path
from lamflow.engines.program.labeler import ProgramLabeler
from lamflow.engines.protocol import LabelFailure
from lamflow.errors import InputError
from lamflow.units import BOLTZMANN, Electronvolt

ANSWER = "labels.json"
FORBIDDEN = {
    "txt": "lamflow sets it",
    "kpts": "give kspacing or kpoints",
    "mode": "give cutoff; labels are by plane waves, for the other modes have no stress",
    "xc": "give xc",
}
REMEDIES: dict[FailureKind, list[dict[str, JsonValue]]] = {
    "unconverged": [
        {"maxiter": 600, "mixer": {"method": "separate", "beta": 0.05, "nmaxold": 5, "weight": 50}},
        {"maxiter": 900, "mixer": {"method": "separate", "beta": 0.01, "nmaxold": 3, "weight": 100}},
    ]
}
SCRIPT = '''\
"""Labels one structure. Run by lamflow in an interpreter that has GPAW; reads task.json, writes labels.json."""
import json

from ase import Atoms
from ase.parallel import parprint, world
from gpaw import GPAW, PW, KohnShamConvergenceError

with open("task.json") as file:
    task = json.load(file)
atoms = Atoms(task["symbols"], positions=task["positions"], cell=task["cell"], pbc=task["pbc"])
if task["moments"]:
    atoms.set_initial_magnetic_moments(task["moments"])
atoms.calc = GPAW(mode=PW(task["cutoff"]), txt="gpaw.txt", **task["arguments"])
try:
    answer = {"energy": atoms.get_potential_energy(force_consistent=True), "forces": atoms.get_forces().tolist()}
    if all(task["pbc"]):
        answer["stress"] = atoms.get_stress(voigt=False).tolist()
except KohnShamConvergenceError as error:
    answer = {"unconverged": str(error) or "its steps (maxiter) were not enough"}
if world.rank == 0:
    with open("labels.json", "w") as file:
        json.dump(answer, file)
'''


class Gpaw(PeriodicSettings):
    """Labels by GPAW's plane waves: one self-consistent calculation with forces and stress a frame.

    Without `kspacing` and `kpoints` k points are 0.2 Å⁻¹ apart.
    """

    forbidden = FORBIDDEN
    spacing = 0.2
    obtained = "install GPAW (pip install gpaw)"

    engine: Literal["gpaw"]
    cutoff: Electronvolt
    """Kinetic energy cutoff of the plane waves. The stress converges more slowly with it than the forces."""
    xc: str = "PBE"
    """Exchange and correlation, as GPAW names it."""
    input: dict[str, JsonValue] = Field(default_factory=dict)
    """Further arguments of GPAW's calculator, for example `occupations: {name: fermi-dirac, width: 0.05}`."""
    command: list[str] = ["gpaw", "python"]
    """An interpreter that has GPAW; the script's name follows. For example `[mpirun, -np, "4", gpaw, python]`."""
    remedies: dict[FailureKind, list[dict[str, JsonValue]]] = REMEDIES

    @model_validator(mode="after")
    def _fits(self) -> Self:
        PROGRAMS["gpaw"].check(self.command)
        setups = self.input.get("setups")
        for key in setups if isinstance(setups, dict) else []:
            if key != "default" and key not in atomic_numbers:
                raise ValueError(
                    f"input.setups.{key}: atoms come in another order in every frame; give setups by chemical symbol"
                )
        return self

    def examine(self, study: ExaminedStudy) -> list[str]:
        """Whether setups are given for elements of the study."""
        setups = self.input.get("setups")
        foreign = sorted(set(setups) - {"default", *study.elements}) if isinstance(setups, dict) else []
        if foreign:
            raise InputError(f"label.input.setups: {foreign[0]} is not in elements {study.elements}")
        return super().examine(study)

    def seconds(self, natoms: int) -> float:
        """As one core takes."""
        return 5.0 + 0.15 * natoms**2


class GpawLabeler(ProgramLabeler[Gpaw]):
    """Labeler by GPAW."""

    output = "stdout.log"
    results = (ANSWER, "gpaw.txt")

    def command(self, settings: Gpaw) -> list[str]:
        """The interpreter runs the script."""
        return [*settings.command, "label.py"]

    def files(self, settings: Gpaw, frame: Frame) -> dict[str, str | Path]:
        """The script, and what it is to compute."""
        box = boxed(frame)
        arguments: dict[str, Any] = {"xc": settings.xc, "symmetry": {"point_group": False}, **settings.input}
        arguments["kpts"] = {"size": settings.mesh(frame), "gamma": True}
        if frame.electronic_temperature is not None:
            width = frame.electronic_temperature * BOLTZMANN
            arguments["occupations"] = {"name": "fermi-dirac", "width": width}
        task = {
            "symbols": frame.symbols, "positions": box.positions.tolist(), "cell": box.cell.tolist(),
            "pbc": [frame.pbc] * 3, "cutoff": settings.cutoff, "arguments": arguments,
            "moments": settings.moments(frame.symbols),
        }  # fmt: skip
        return {"label.py": SCRIPT, "task.json": json.dumps(task, indent=1)}

    def read(self, settings: Gpaw, frame: Frame, folder: Path) -> Labels | LabelFailure:
        """The labels in labels.json."""
        del settings
        if not (folder / ANSWER).is_file():
            lines = [
                line
                for line in (folder / self.output).read_text(errors="replace", encoding="utf-8").splitlines()
                if line.strip()
            ]
            reason = f"GPAW stopped: {lines[-1].strip()}" if lines else "GPAW stopped early"
            return LabelFailure(reason, kind="stopped" if lines else "incomplete")
        answer = json.loads((folder / ANSWER).read_text(encoding="utf-8"))
        if "unconverged" in answer:
            return LabelFailure(f"the SCF cycle did not converge: {answer['unconverged']}", kind="unconverged")
        virial = None
        if "stress" in answer:
            virial = virial_of(answer["stress"], frame.volume)
        return Labels(float(answer["energy"]), np.array(answer["forces"], dtype=np.float64), virial)


def _example(folder: Path) -> Example:
    del folder
    missing = None if importlib.util.find_spec("gpaw") else "GPAW is not installed here; pip install gpaw"
    settings = {"cutoff": 300, "kspacing": 1.1, "command": [sys.executable]}
    return Example(settings, silicon_frames()[:1], unavailable=missing)


ENGINE = Engine(
    "gpaw",
    on_path("gpaw"),
    install="pip install gpaw",
    image="label-gpaw",
    label=Role(Gpaw, GpawLabeler, example=_example),
)
