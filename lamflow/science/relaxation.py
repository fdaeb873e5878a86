"""Many structures relaxed together: one batch of energies, forces and virials a step for all that still move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np

from lamflow.data import Frame, Labels, Relaxed, Trajectory
from lamflow.data.fields import FORCE_MAG
from lamflow.data.frames import Floats, Ints
from lamflow.errors import EngineError
from lamflow.science.symmetry import SpaceGroup

Evaluate = Callable[[Sequence[Frame]], list[Labels]]
EXPLODED = 1e4
"""eV/Å; a force or a stress on the cell beyond this is no longer physics."""
LARGEST_VOLUME_RATIO = 8.0
"""A structure whose volume has grown or shrunk by more than this has fallen apart or collapsed."""
MEMORY = 20
"""Steps that L-BFGS remembers."""
MOMENT = 0.12
"""Å/μB; moments times this are as stiff as positions, for those of iron have about 1 eV/μB²."""
STIFFNESS = 70.0
"""eV/Å², the guess of every second derivative that L-BFGS begins with."""


class RelaxationSettings(Protocol):
    """How structures are relaxed.

    method    `lbfgs` or `fire`
    steps     of a relaxation, at most
    fmax      it ends when no force on an atom or, divided by the number of atoms, on the cell is larger, eV/Å
    cell      the cell is relaxed too
    max_step  longest move of an atom in one step, Å
    """

    @property
    def method(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def fmax(self) -> float: ...
    @property
    def cell(self) -> bool: ...
    @property
    def max_step(self) -> float: ...


Moments = Literal["all", "directions", "none"]


@dataclass(frozen=True, eq=False)
class Freedom:
    """What of a structure may move.

    positions  (N, 3) 1 for components of positions that may, 0 for those that stay; None for all
    cell       its volume, its shape (the volume stays to first order of a step), all of it, or nothing
    moments    magnetic moments, their directions only, or nothing; atoms without one get none
    group      operations that the structure keeps on its way; None where it may lose them
    """

    positions: Floats | None = None
    cell: Literal["all", "volume", "shape", "none"] = "all"
    moments: Moments = "none"
    group: SpaceGroup | None = None


@dataclass(frozen=True, eq=False)
class RelaxationPath:
    """The relaxation of one structure.

    steps      every step's configuration, the start first
    labels     of the last configuration
    converged  the forces on atoms and cell are below the limit
    failure    why it was given up, or None; the steps before are kept
    """

    steps: Trajectory
    labels: Labels
    converged: bool
    failure: str | None = None

    @property
    def frame(self) -> Frame:
        """The last configuration."""
        return self.steps.frame(len(self.steps) - 1)

    @property
    def relaxed(self) -> Relaxed:
        """What a search learns from it."""
        return Relaxed(self.frame, None if self.failure is not None else self.labels)


def mean_of(models: Sequence[Evaluate]) -> Evaluate:
    """The mean of several potentials as one."""

    def evaluate(frames: Sequence[Frame]) -> list[Labels]:
        answers = [model(frames) for model in models]
        return [mean_labels(opinions) for opinions in zip(*answers, strict=True)]

    return evaluate


def mean_labels(opinions: Sequence[Labels]) -> Labels:
    """The mean of what several potentials say of a frame; of virials and magnetic forces only where all have them."""
    virials, fields = [labels.virial for labels in opinions], [labels.force_mag for labels in opinions]
    return Labels(
        float(np.mean([labels.energy for labels in opinions])),
        np.mean([labels.forces for labels in opinions], axis=0),
        None if any(virial is None for virial in virials) else np.mean(virials, axis=0),  # type: ignore[arg-type]
        others={} if any(own is None for own in fields) else {FORCE_MAG: np.mean(fields, axis=0)},  # type: ignore[arg-type]
    )


@dataclass(eq=False)
class _State:
    """One structure on its way.

    The degrees of freedom are the positions in the undeformed cell and N times the deformation of the cell, as in
    E. B. Tadmor et al., Phys. Rev. B 59, 235 (1999), and the moments times MOMENT where they move.
    """

    start: Frame
    free: Freedom
    deformation: Floats = field(default_factory=lambda: np.eye(3))
    frames: list[Frame] = field(default_factory=list)
    labels: Labels | None = None
    converged: bool = False
    failure: str | None = None

    @property
    def active(self) -> bool:
        """It still moves."""
        return not self.converged and self.failure is None

    def coordinates(self) -> Floats:
        """(N + 3, 3), or (2N + 3, 3) with moments."""
        frame = self.frames[-1]
        undeformed = np.linalg.solve(self.deformation, frame.positions.T).T
        moments = [] if self.free.moments == "none" or frame.spins is None else [MOMENT * frame.spins]
        return np.vstack([undeformed, frame.natoms * self.deformation, *moments])

    def move(self, coordinates: Floats) -> None:
        """Go to new coordinates."""
        frame, natoms = self.frames[-1], self.start.natoms
        self.deformation = coordinates[natoms : natoms + 3] / natoms
        positions, cell = coordinates[:natoms] @ self.deformation.T, self.start.cell @ self.deformation.T
        moved = replace(self.start, positions=positions, cell=cell)
        spins = coordinates[natoms + 3 :] / MOMENT
        if len(spins) and self.free.moments == "directions":
            lengths, now = (np.linalg.norm(one, axis=1, keepdims=True) for one in (np.asarray(frame.spins), spins))
            spins = spins * np.divide(lengths, now, out=np.zeros_like(now), where=now > 0)
        self.frames.append(moved.with_fields(spin=spins) if len(spins) else moved)

    def gradient(self, pressure: float) -> Floats:
        """Forces on the degrees of freedom, as many as there are coordinates, in eV/Å."""
        return np.vstack([self._of_atoms(pressure), *self._of_moments()])

    def _of_moments(self) -> list[Floats]:
        """Forces (N, 3) on moments times MOMENT, eV/Å; nothing where they stay."""
        frame, labels = self.frames[-1], self.labels
        if self.free.moments == "none" or frame.spins is None or labels is None:
            return []
        if labels.force_mag is None:
            raise EngineError("the model gives no magnetic forces, so moments cannot be relaxed")
        lengths = np.linalg.norm(frame.spins, axis=1, keepdims=True)
        forces = np.where(lengths > 0, labels.force_mag, 0.0)
        if self.free.moments == "directions":
            along = frame.spins / np.where(lengths > 0, lengths, 1.0)
            forces = forces - (forces * along).sum(axis=1, keepdims=True) * along
        return [forces / MOMENT]

    def _of_atoms(self, pressure: float) -> Floats:
        """Forces (N + 3, 3) on positions and cell."""
        assert self.labels is not None  # noqa: S101  it has been evaluated
        frame, natoms = self.frames[-1], self.start.natoms
        forces, group = self.labels.forces @ self.deformation, self.free.group
        if group is not None:
            forces = group.vectors(forces)
        if self.free.positions is not None:
            forces = forces * self.free.positions
        if self.free.cell == "none" or not frame.pbc:
            return np.vstack([forces, np.zeros((3, 3))])
        if self.labels.virial is None:
            raise EngineError("the model gives no virial, so the cell cannot be relaxed; set relax.cell to false")
        virial = self.labels.virial - pressure * frame.volume * np.eye(3)
        virial = 0.5 * (virial + virial.T)
        if group is not None:
            virial = group.tensor(virial)
        isotropic = np.trace(virial) / 3 * np.eye(3)
        virial = {"all": virial, "volume": isotropic, "shape": virial - isotropic}[self.free.cell]
        return np.vstack([forces, np.linalg.solve(self.deformation, virial.T).T / natoms])


def largest_force(frame: Frame, labels: Labels, free: Freedom, pressure: float = 0.0) -> float:
    """On what may move, divided by the number of atoms on the cell, under `pressure` in eV/Å³: eV/Å.

    Raises EngineError where the cell may change and labels have no virial.
    """
    state = _State(frame, free, frames=[frame], labels=labels)
    return float(np.linalg.norm(state.gradient(pressure), axis=1).max())


def relax(
    starts: Sequence[Frame],
    evaluate: Evaluate,
    settings: RelaxationSettings,
    pressure: float = 0.0,
    free: Sequence[Freedom] | None = None,
) -> list[RelaxationPath]:
    """Relax every structure under `pressure` in eV/Å³; answers are in the order given.

    free  what of each structure moves; everything, the cell as the settings say, if absent

    All that move are evaluated in one batch a step. One that explodes, falls apart or cannot be evaluated ends with
    its reason and does not touch the others. Raises EngineError when not one can be evaluated.
    """
    free = free or [Freedom(cell="all" if settings.cell else "none")] * len(starts)
    states = [_State(start, own, frames=[start]) for start, own in zip(starts, free, strict=True)]
    stepper = (_Fire if settings.method == "fire" else _Lbfgs)(len(states), settings.max_step)
    for step in range(settings.steps + 1):
        active = [index for index, state in enumerate(states) if state.active]
        if not active:
            break
        _label(states, active, evaluate)
        for index in active:
            state = states[index]
            if state.failure is not None:
                continue
            gradient = state.gradient(pressure)
            forces = np.linalg.norm(gradient, axis=1)
            forces[state.start.natoms + 3 :] *= MOMENT  # eV/μB
            largest = float(forces.max())
            state.failure = _trouble(state, largest)
            state.converged = state.failure is None and largest <= settings.fmax
            if state.active and step < settings.steps:
                coordinates = state.coordinates()
                state.move(coordinates + stepper.step(index, coordinates, gradient))
    if states and all(state.labels is None for state in states):
        raise EngineError(f"no structure could be evaluated; the first one: {states[0].failure}")
    return [_result(state) for state in states]


def _result(state: _State) -> RelaxationPath:
    natoms = state.start.natoms
    labels = state.labels or Labels(np.nan, np.full((natoms, 3), np.nan))
    frames = state.frames[:-1] if state.failure is not None and len(state.frames) > 1 else state.frames
    steps = Trajectory.of(frames, list(range(len(frames))), state.failure)
    return RelaxationPath(steps, labels, state.converged, state.failure)


def _label(states: list[_State], active: list[int], evaluate: Evaluate) -> None:
    """Evaluate the last configuration of each active structure; in one batch unless one of them cannot be."""
    frames = [states[index].frames[-1] for index in active]
    try:
        answers: list[Labels | None] = list(evaluate(frames))
    except EngineError:
        answers = [_one(states[index], evaluate) for index in active]
    for index, labels in zip(active, answers, strict=True):
        if labels is not None:
            states[index].labels = labels


def _one(state: _State, evaluate: Evaluate) -> Labels | None:
    try:
        [labels] = evaluate([state.frames[-1]])
    except EngineError as error:
        state.failure = str(error).splitlines()[0]
        return None
    return labels


def _trouble(state: _State, largest: float) -> str | None:
    """Why a relaxation cannot go on, or None."""
    frame, steps = state.frames[-1], len(state.frames) - 1
    problem = state.labels.problem(frame) if state.labels is not None else "it could not be evaluated"
    if problem is not None:
        return f"step {steps}: {problem}"
    if not largest < EXPLODED:
        return f"it exploded: a force of {largest:.3g} eV/Å at step {steps}"
    if frame.pbc:
        ratio = abs(float(np.linalg.det(state.deformation)))
        if not 1 / LARGEST_VOLUME_RATIO < ratio < LARGEST_VOLUME_RATIO:
            return f"it fell apart: its volume is {ratio:.2g} times that of the start at step {steps}"
    return None


class _Fire:
    """Fast inertial relaxation (E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006)), each at its own pace."""

    def __init__(self, count: int, max_step: float) -> None:
        self.max_step = max_step
        self.velocity: list[Floats | None] = [None] * count
        self.dt, self.mixing = np.full(count, 0.1), np.full(count, 0.1)
        self.downhill: Ints = np.zeros(count, dtype=np.int64)

    def step(self, index: int, coordinates: Floats, force: Floats) -> Floats:
        """The move of structure `index`."""
        del coordinates
        velocity = self.velocity[index]
        if velocity is None:
            velocity = np.zeros_like(force)
        elif float((force * velocity).sum()) > 0:
            weight = self.mixing[index] * np.linalg.norm(velocity) / max(float(np.linalg.norm(force)), 1e-300)
            velocity = (1 - self.mixing[index]) * velocity + weight * force
            if self.downhill[index] > 5:
                self.dt[index] = min(1.1 * self.dt[index], 1.0)
                self.mixing[index] *= 0.99
            self.downhill[index] += 1
        else:
            velocity = np.zeros_like(force)
            self.mixing[index], self.downhill[index] = 0.1, 0
            self.dt[index] *= 0.5
        velocity = velocity + self.dt[index] * force
        self.velocity[index] = velocity
        return _limited(self.dt[index] * velocity, self.max_step)


class _Lbfgs:
    """Limited-memory BFGS without line search (J. Nocedal, Math. Comput. 35, 773 (1980))."""

    def __init__(self, count: int, max_step: float) -> None:
        self.max_step = max_step
        self.pairs: list[list[tuple[Floats, Floats]]] = [[] for _ in range(count)]
        self.before: list[tuple[Floats, Floats] | None] = [None] * count

    def step(self, index: int, coordinates: Floats, force: Floats) -> Floats:
        """The move of structure `index`."""
        pairs, before = self.pairs[index], self.before[index]
        if before is not None:
            moved, change = coordinates - before[0], before[1] - force
            if float((moved * change).sum()) > 1e-10:  # else the curvature is negative: forget what was learnt
                pairs.append((moved, change))
                del pairs[:-MEMORY]
            else:
                pairs.clear()
        self.before[index] = coordinates, force
        direction, factors = force.copy(), []
        for moved, change in reversed(pairs):
            factor = float((moved * direction).sum() / (moved * change).sum())
            direction -= factor * change
            factors.append(factor)
        direction /= STIFFNESS
        for (moved, change), factor in zip(pairs, reversed(factors), strict=True):
            direction += moved * (factor - float((change * direction).sum() / (moved * change).sum()))
        return _limited(direction, self.max_step)


def _limited(move: Floats, longest: float) -> Floats:
    """`move` scaled down so that no row is longer than `longest`."""
    length = float(np.linalg.norm(move, axis=1).max())
    return move * (longest / length) if length > longest else move
