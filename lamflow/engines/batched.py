"""Hundreds of systems advance together in one process: one evaluation a step for all, the committee on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import model_validator

from lamflow.config.engines import DynamicsSettings, Relaxation
from lamflow.config.moments import MovingMoments
from lamflow.config.seeds import child_seed
from lamflow.data import Deviations, Frame, Labels, Trajectory
from lamflow.data.fields import SPIN, repeated
from lamflow.data.frames import Floats, Ints
from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example
from lamflow.engines.protocol import BatchSession, Evaluator, Model, SessionModel, Simulation
from lamflow.errors import EngineError
from lamflow.science.deviation import deviations
from lamflow.science.dynamics import Dynamics, Systems
from lamflow.science.relaxation import Freedom, RelaxationPath, relax
from lamflow.science.spin_dynamics import SpinDynamics
from lamflow.units import BAR_IN_EV_PER_A3, EvPerAngstrom, PerBar

COLLAPSED = 0.1
"""Fraction of its volume below which a system is none any more."""


class BatchedExploration(DynamicsSettings):
    """Molecular dynamics or relaxation of all start structures and conditions together, in one process a pod."""

    engine: Literal["batched"]
    ensemble: Literal["nve", "nvt", "langevin", "npt", "relax"] = "langevin"
    """Velocity Verlet, Nosé-Hoover chains, Langevin dynamics, Langevin dynamics with stochastic rescaling of the
    volume, or FIRE on atoms, cell and, with `spins`, moments."""
    compressibility: PerBar = 1e-5
    """A guess for `npt`: a system that is stiffer changes its volume faster than `barostat_time`, a softer one slower;
    averages do not depend on it. Metals have about 1e-6, water 4.5e-5."""
    fmax: EvPerAngstrom = 0.02
    """`relax` ends when no force is larger, nor a magnetic force in eV/μB."""
    max_force: EvPerAngstrom = 200.0
    """A system in which an atom feels more has exploded: it ends, and the others go on."""
    spins: MovingMoments | None = None
    """Magnetic moments move too; they stay as they are in the start structures if absent."""

    @model_validator(mode="after")
    def _moments_fit(self) -> Self:
        if self.spins is not None and self.ensemble == "relax":
            for key in ("temperatures", "magnetic_field", "mobility"):
                if key in self.spins.model_fields_set:
                    raise ValueError(f"spins.{key}: relax brings moments to rest; take it out, or use langevin")
        return self

    def axes(self) -> dict[str, list[float]]:
        """Those of dynamics, and the temperatures of moments."""
        return {**super().axes(), "spin_temperature": self.spins.temperatures if self.spins is not None else []}

    def unsupported_start(self, start: Frame) -> str | None:
        """See WalkerSettings."""
        if self.spins is not None and start.spins is None:
            return "spins: a structure has no magnetic moments to move; give its structure set `spins`"
        return None

    def seconds(self, natoms: int) -> float:
        """As small models take on one core, for one system among many."""
        return 6e-5 * natoms * self.steps


@dataclass(eq=False)
class _Kept:
    """What one system leaves: a list a quantity, one entry a frame."""

    steps: list[int] = field(default_factory=list)
    positions: list[Floats] = field(default_factory=list)
    cells: list[Floats] = field(default_factory=list)
    velocities: list[Floats] = field(default_factory=list)
    energies: list[Floats] = field(default_factory=list)
    forces: list[Floats] = field(default_factory=list)
    virials: list[Floats] = field(default_factory=list)
    spins: list[Floats] = field(default_factory=list)
    magnetic: list[Floats] = field(default_factory=list)
    failure: str | None = None

    def trajectory(self, start: Frame) -> Trajectory:
        """The frames with what the committee says of them."""
        if not self.steps:
            return Trajectory.nothing(start, self.failure)
        forces = np.stack(self.forces, axis=1)
        found: Deviations | None = None
        if len(forces) > 1:
            virials = np.stack(self.virials, axis=1) if start.pbc else None
            magnetic = np.stack(self.magnetic, axis=1) if self.magnetic else None
            found = deviations(np.stack(self.energies, axis=1), forces, virials, magnetic)
        fields = repeated(start.fields, len(self.steps))
        if self.spins:
            fields[SPIN] = np.stack(self.spins)
        return Trajectory(
            start.numbers, np.stack(self.positions), np.stack(self.cells), np.array(self.steps, dtype=np.int64),
            start.pbc, self.failure, velocities=np.stack(self.velocities), forces=forces.mean(axis=0),
            deviations=found, fields=fields,
        )  # fmt: skip


class OneByOne:
    """Any models as BatchSession: every step evaluates frames as if for the first time."""

    def __init__(self, models: Sequence[Evaluator], starts: Sequence[Frame]) -> None:
        self.models, self.starts = models, starts

    def evaluate(
        self, positions: Floats, cells: Floats, numbers: Ints, models: int = 1, spins: Floats | None = None
    ) -> tuple[Floats, ...]:
        """See BatchSession. What cannot be evaluated is no number."""
        starts = [self.starts[number] for number in numbers]
        frames = [
            Frame(start.numbers, own, cell, start.pbc, start.fields)
            for start, own, cell in zip(starts, positions, cells, strict=True)
        ]
        if spins is not None:
            frames = [frame.with_fields(spin=own) for frame, own in zip(frames, spins, strict=True)]
        answers = [_evaluated(model, frames) for model in self.models[:models]]
        nothing = np.zeros((3, 3))
        return (
            np.array([[labels.energy for labels in answer] for answer in answers]),
            np.array([[labels.forces for labels in answer] for answer in answers]),
            np.array([[nothing if one.virial is None else one.virial for one in answer] for answer in answers]),
            *([np.array([[_force_mag(one) for one in answer] for answer in answers])] if spins is not None else []),
        )


def _force_mag(labels: Labels) -> Floats:
    """Magnetic forces (N, 3) in eV/μB; no numbers where there are none."""
    return np.full_like(labels.forces, np.nan) if labels.force_mag is None else labels.force_mag


def _evaluated(model: Evaluator, frames: Sequence[Frame]) -> list[Labels]:
    try:
        return model.evaluate(frames)
    except EngineError:
        if len(frames) == 1:
            return [Labels(np.nan, np.full((frames[0].natoms, 3), np.nan))]
        return [labels for frame in frames for labels in _evaluated(model, [frame])]


class BatchedExplorer:
    """Explorer of many systems at once."""

    def __init__(self, settings: BatchedExploration) -> None:
        self.settings = settings

    def explore(self, simulation: Simulation, model: Model) -> Trajectory:
        """See Explorer."""
        [found] = self.explore_all([simulation], [model])
        if not len(found):
            raise EngineError(found.failure or "no frame was kept")
        return found

    def explore_all(self, simulations: Sequence[Simulation], committee: Sequence[Model]) -> Iterator[Trajectory]:
        """See BatchExplorer. Systems with the same number of atoms advance together."""
        alike: dict[tuple[int, bool, bool], list[int]] = {}
        for place, simulation in enumerate(simulations):
            start = simulation.start
            alike.setdefault((start.natoms, start.pbc, start.electronic_temperature is None), []).append(place)
        found: dict[int, Trajectory] = {}
        for places in alike.values():
            mine = [simulations[place] for place in places]
            try:
                made = self._relax(mine, committee) if self.settings.ensemble == "relax" else self._run(mine, committee)
            except EngineError as error:
                made = [
                    Trajectory.nothing(simulation.start, str(error).splitlines()[0], str(error)) for simulation in mine
                ]
            found |= zip(places, made, strict=True)
        yield from (found[place] for place in range(len(simulations)))

    def _run(self, simulations: Sequence[Simulation], committee: Sequence[Model]) -> list[Trajectory]:
        settings, starts = self.settings, [simulation.start for simulation in simulations]
        if settings.ensemble == "npt" and not starts[0].pbc:
            raise EngineError("npt needs periodic structures; use langevin for isolated ones")
        if starts[0].natoms < 2:
            raise EngineError("dynamics needs at least two atoms; give the structure set a supercell")
        session = _session(committee, starts)
        dynamics, moments = self._dynamics(simulations), self._moments(simulations)
        systems = dynamics.begin(starts)
        kept = [_Kept() for _ in simulations]
        volumes = np.abs(np.linalg.det(systems.cells))

        def evaluate(positions: Floats, cells: Floats, numbers: Ints) -> tuple[Floats, Floats, Floats]:
            if moments is None:
                energies, forces, virials = session.evaluate(positions, cells, numbers)
            else:
                energies, forces, virials, magnetic = session.evaluate(
                    positions, cells, numbers, spins=moments.spins[numbers]
                )
                moments.forces[numbers] = magnetic[0]
            return energies[0], forces[0], virials[0]

        try:
            systems.energies, systems.forces, systems.virials = evaluate(
                systems.positions, systems.cells, systems.number
            )
            self._drop(systems, kept, 0, volumes, moments)
            for step in range(1, settings.steps + 1):
                if not len(systems.number):
                    break
                if moments is not None:
                    moments.step(systems.number)
                dynamics.step(systems, evaluate)
                self._drop(systems, kept, step, volumes, moments)
                if step % settings.every == 0 and len(systems.number):
                    _keep(systems, kept, step, session, len(committee), moments)
        except EngineError as error:  # what was kept until then is good
            for number in systems.number:
                kept[int(number)].failure = str(error).splitlines()[0]
        return [own.trajectory(start) for own, start in zip(kept, starts, strict=True)]

    def _dynamics(self, simulations: Sequence[Simulation]) -> Dynamics:
        settings = self.settings
        temperatures = [simulation.condition["temperature"] for simulation in simulations]
        seeds = [child_seed(simulation.seed, "dynamics") for simulation in simulations]
        pressures = [simulation.condition.get("pressure", 0.0) * BAR_IN_EV_PER_A3 for simulation in simulations]
        assert settings.ensemble != "relax"  # noqa: S101  see explore_all
        return Dynamics(
            settings.ensemble, settings.timestep, np.array(temperatures), seeds, np.array(pressures),
            settings.thermostat_time, settings.barostat_time, settings.compressibility / BAR_IN_EV_PER_A3,
        )  # fmt: skip

    def _moments(self, simulations: Sequence[Simulation]) -> _Moments | None:
        """The moments of all systems, where they move."""
        settings = self.settings.spins
        if settings is None:
            return None
        spins = []
        for simulation in simulations:
            reason = self.settings.unsupported_start(simulation.start)
            if reason is not None or simulation.start.spins is None:
                raise EngineError(reason or "")
            spins.append(simulation.start.spins)
        temperatures = [
            simulation.condition.get("spin_temperature", simulation.condition["temperature"])
            for simulation in simulations
        ]
        dynamics = SpinDynamics(
            np.array(temperatures), settings.mobility, self.settings.timestep,
            [child_seed(simulation.seed, "spins") for simulation in simulations], settings.fixed_length,
            np.asarray(settings.magnetic_field, dtype=np.float64),
        )  # fmt: skip
        return _Moments(dynamics, np.stack(spins), np.zeros((len(spins), *spins[0].shape)))

    def _drop(
        self, systems: Systems, kept: Sequence[_Kept], step: int, volumes: Floats, moments: _Moments | None
    ) -> None:
        """End the systems that have exploded or collapsed; `volumes` (B,) are those of all at the start, Å³."""
        if moments is not None and self.settings.spins is not None:
            self._drop_moments(systems, kept, step, moments, self.settings.spins.max_moment)
        largest = np.linalg.norm(systems.forces, axis=-1).max(axis=1)
        there = np.abs(np.linalg.det(systems.cells)) >= COLLAPSED * volumes[systems.number]
        good = (largest < self.settings.max_force) & np.isfinite(systems.energies) & there
        if good.all():
            return
        for number, force, whole in zip(systems.number[~good], largest[~good], there[~good], strict=True):
            why = f"exploded: an atom feels {force:.3g} eV/Å" if whole else "collapsed: a tenth of the volume is left"
            kept[int(number)].failure = f"the run {why} at step {step}"
        systems.keep(np.flatnonzero(good))

    def _drop_moments(self, systems: Systems, kept: Sequence[_Kept], step: int, moments: _Moments, most: float) -> None:
        """End the systems with a moment larger than `most` in μB, or one that is no number."""
        lengths = np.linalg.norm(moments.spins[systems.number], axis=-1).max(axis=1)
        good = (lengths <= most) & np.isfinite(moments.forces[systems.number]).all(axis=(1, 2))
        for number, length in zip(systems.number[~good], lengths[~good], strict=True):
            kept[int(number)].failure = f"the run exploded: a moment has {length:.3g} μB at step {step}"
        if not good.all():
            systems.keep(np.flatnonzero(good))

    def _relax(self, simulations: Sequence[Simulation], committee: Sequence[Model]) -> list[Trajectory]:
        """FIRE on atoms and cell of all systems."""
        settings = self.settings
        pressures = sorted({simulation.condition.get("pressure", 0.0) for simulation in simulations})
        how = Relaxation(method="fire", steps=settings.steps, fmax=settings.fmax)
        paths: dict[int, Trajectory] = {}
        for pressure in pressures:
            mine = [
                place
                for place, simulation in enumerate(simulations)
                if simulation.condition.get("pressure", 0.0) == pressure
            ]
            starts = [simulations[place].start for place in mine]
            relaxed = relax(
                starts, committee[0].evaluate, how, pressure * BAR_IN_EV_PER_A3, [self._freedom(one) for one in starts]
            )
            for place, path in zip(mine, relaxed, strict=True):
                paths[place] = self._thinned(path)
        return [paths[place] for place in range(len(simulations))]

    def _freedom(self, start: Frame) -> Freedom:
        """What of a start structure relaxes."""
        spins = self.settings.spins
        if spins is None:
            return Freedom()
        if (reason := self.settings.unsupported_start(start)) is not None:
            raise EngineError(reason)
        return Freedom(moments="directions" if spins.fixed_length else "all")

    def _thinned(self, path: RelaxationPath) -> Trajectory:
        """Every so many frames of a relaxation and its last, up to the first moment that is too large."""
        steps, spins, failure = path.steps, self.settings.spins, path.failure
        count = len(steps)
        if spins is not None:
            lengths = np.linalg.norm(steps.fields[SPIN], axis=-1).max(axis=1)
            large = np.flatnonzero(lengths > spins.max_moment)
            if len(large):
                count = int(large[0])
                failure = f"the run exploded: a moment has {lengths[count]:.3g} μB at step {count}"
        chosen = sorted({*range(0, count, self.settings.every), *([count - 1] if count else [])})
        return replace(steps.subset(np.array(chosen, dtype=np.int64)), failure=failure)


@dataclass(eq=False)
class _Moments:
    """Moments of all B systems on their way.

    spins   (B, N, 3)  μB
    forces  (B, N, 3)  on them, eV/μB
    """

    dynamics: SpinDynamics
    spins: Floats
    forces: Floats

    def step(self, numbers: Ints) -> None:
        """One step of the systems `numbers`."""
        self.spins[numbers] = self.dynamics.step(self.spins[numbers], self.forces[numbers], numbers)


def _session(committee: Sequence[Model], starts: Sequence[Frame]) -> BatchSession:
    first: Any = committee[0]
    made = first.open_session(starts, committee[1:]) if isinstance(first, SessionModel) else None
    return made if made is not None else OneByOne(committee, starts)


def _keep(
    systems: Systems, kept: Sequence[_Kept], step: int, session: BatchSession, models: int, moments: _Moments | None
) -> None:
    """Keep a frame of each system, with what all models say of it."""
    spins = None if moments is None else moments.spins[systems.number]
    magnetic = None if moments is None else moments.forces[systems.number][None]
    if models > 1 and spins is not None:
        energies, forces, virials, magnetic = session.evaluate(
            systems.positions, systems.cells, systems.number, models, spins
        )
    elif models > 1:
        energies, forces, virials = session.evaluate(systems.positions, systems.cells, systems.number, models)
    else:
        energies, forces, virials = systems.energies[None], systems.forces[None], systems.virials[None]
    for row, number in enumerate(systems.number):
        own = kept[int(number)]
        own.steps.append(step)
        own.positions.append(systems.positions[row])
        own.cells.append(systems.cells[row])
        own.velocities.append(systems.velocities[row])
        own.energies.append(energies[:, row])
        own.forces.append(forces[:, row])
        own.virials.append(virials[:, row])
        if spins is not None and magnetic is not None:
            own.spins.append(spins[row])
            own.magnetic.append(magnetic[:, row])


def _probe() -> str:
    return "comes with lamflow; batches are fast with DeePMD models"


def _example(folder: Path) -> Example:
    del folder
    return Example({"structures": ["x"], "temperatures": [300], "steps": 20, "every": 5})


ENGINE = Engine("batched", _probe, explore=Role(BatchedExploration, BatchedExplorer, example=_example))
