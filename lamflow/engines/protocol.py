"""What an engine promises, with shapes and units. A code may play several of the six roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from lamflow.data import Attempt, FailureKind, Frame, Labels, Relaxed, Trajectory
from lamflow.data.frames import Floats, Ints

Progress = Callable[[float], None]
"""Takes the fraction of the work that is done, 0 to 1."""


@runtime_checkable
class Evaluator(Protocol):
    """A potential: energy, forces and virial of any frame."""

    def evaluate(self, frames: Sequence[Frame]) -> list[Labels]:
        """Label each frame, in the order given. See Labels for shapes and units.

        Must not modify `frames`. Same frames, same labels, whatever the batching.
        Raises EngineError when a frame cannot be evaluated, naming its index.
        """
        ...


@dataclass(frozen=True, slots=True)
class LabelFailure:
    """Why a frame has no label: the reason in a few words, the end of the log, and the class of the failure.

    attempts  every try that was made, the last one with this failure; empty for engines that try once
    """

    reason: str
    log: str = ""
    kind: FailureKind = "stopped"
    attempts: tuple[Attempt, ...] = ()


class Labeler(Protocol):
    """A first-principles code, or whatever stands for the truth."""

    def label(self, frames: Sequence[Frame], work: Path) -> list[Labels | LabelFailure]:
        """Label each frame, in the order given, with files below `work`.

        A frame that cannot be labeled (not converged, refused by the code) gets a LabelFailure and does not stop the
        others. Raises NodeError when the machine is at fault, EngineError when no frame could ever be labeled.
        """
        ...


@runtime_checkable
class HashesInput(Protocol):
    """A Labeler that can say what it adds to its settings."""

    def input_hash(self, frame: Frame) -> str:
        """Hash of everything that the code is told of such elements beside the structure: lamflow's own defaults,
        contents and names of files. Labels with another hash are others, whatever the settings say.

        Raises ValueError for a frame that the code cannot treat.
        """
        ...


@runtime_checkable
class ChecksFrames(Protocol):
    """A Labeler that knows what it refuses before anything runs."""

    def unsupported_reason(self, frame: Frame) -> str | None:
        """Why the code, as it is set up, cannot treat such a frame; None if it can, or if only pods can tell."""
        ...


@runtime_checkable
class SaysVersion(Protocol):
    """A Labeler whose outputs say which version of the code has written them."""

    def version(self, work: Path) -> str | None:
        """The version that has written the files below `work`; None where they do not say."""
        ...


@dataclass(frozen=True, slots=True)
class LammpsPotential:
    """How LAMMPS uses a trained model.

    style         name of the pair style, and `model` the file that follows it
    coefficients  what follows pair_coeff; chemical symbols in the order of the atom types follow these
    files         files by name, to be put beside the input: the model's, and those that it needs
    environment   variables that the process needs
    deviations    what follows the files of several models so that LAMMPS compares them; `{every}` are steps, `{file}`
                  is the table that it writes. None if it cannot
    electronic_temperature  what sets it, `{temperature}` in K; None for a model that knows none
    commands      of the potential, all of them, instead of style, model and coefficients; `{elements}` stands for the
                  chemical symbols of the atom types, `{Cu}` for the type of an element
    """

    style: str
    model: str
    coefficients: str
    files: dict[str, Path]
    environment: dict[str, str] = field(default_factory=dict)
    deviations: str | None = None
    electronic_temperature: str | None = None
    commands: tuple[str, ...] = ()


class BatchSession(Protocol):
    """Systems of the same number of atoms that models evaluate again and again while they move."""

    def evaluate(
        self, positions: Floats, cells: Floats, numbers: Ints, models: int = 1, spins: Floats | None = None
    ) -> tuple[Floats, ...]:
        """Of the first so many models: energies (M, B) in eV, forces (M, B, N, 3) in eV/Å, virials (M, B, 3, 3) in eV,
        and with spins magnetic forces (M, B, N, 3) in eV/μB.

        positions (B, N, 3) and cells (B, 3, 3) in Å; numbers (B,) of the systems among those that began; spins
        (B, N, 3) in μB where moments move.
        """
        ...


@runtime_checkable
class SessionModel(Protocol):
    """A Model that is faster when it keeps what does not change from step to step."""

    def open_session(self, starts: Sequence[Frame], others: Sequence[Evaluator]) -> BatchSession | None:
        """Systems that begin as `starts`, which have the same number of atoms and boundaries, for this model and
        `others` of its kind. None where that cannot be had."""
        ...


@runtime_checkable
class EmbedsAtoms(Protocol):
    """A Model that says how it sees atoms."""

    def embed(self, frames: Sequence[Frame], features: str) -> list[Floats]:
        """Features (N, D) of the atoms of each frame: its `descriptor`, or the `last_layer` before the energy.

        Raises EngineError for a model that cannot say them.
        """
        ...


class Model(Evaluator, Protocol):
    """A trained model: an Evaluator that LAMMPS may know as well."""

    def lammps(self) -> LammpsPotential:
        """How LAMMPS uses it. Raises EngineError for a model that LAMMPS does not know."""
        ...


@dataclass(frozen=True, slots=True)
class HeadData:
    """One head of a multi-task training.

    name     of the head
    systems  folders of its data
    weight   how often batches are drawn from it, relative to the others
    head     head of the pre-trained model that it starts from, or RANDOM; None to go on with the head of its own name
    export   LAMMPS may be asked to use it
    """

    name: str
    systems: tuple[Path, ...]
    weight: float = 1.0
    head: str | None = None
    export: bool = False


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One model to train.

    systems    folders of deepmd/npy or deepmd/npy/mixed data
    elements   the type map
    seed       of this model
    previous   the model's own folder from the iteration before, or None
    output     folder that the trained model is left in
    scratch    folder that outlives a failed try: a checkpoint found here is continued
    index      number of the model, from 0
    iteration  1 for the first that trains
    new        those of `systems` that the last iteration added; empty in the first
    heads      the systems by head, where one model has several
    for_lammps LAMMPS may be asked to use the model
    threads    of the process
    gpus       that the training may use
    timeout    s
    score      held-out RMSEs by name, of a model's evaluators by head, for a trainer that chooses among checkpoints;
               None where there is nothing to judge by
    """

    systems: tuple[Path, ...]
    elements: tuple[str, ...]
    seed: int
    previous: Path | None
    output: Path
    scratch: Path
    index: int = 0
    iteration: int = 1
    new: tuple[Path, ...] = ()
    heads: tuple[HeadData, ...] = ()
    for_lammps: bool = False
    threads: int = 1
    gpus: int = 0
    timeout: float = 86400.0
    score: Callable[[Mapping[str, Evaluator]], Mapping[str, float]] | None = None


class Trainer(Protocol):
    """A code that makes models from data."""

    def train(self, job: TrainingJob, progress: Progress) -> int:
        """Train one model into `job.output` and return the number of steps that it took.

        Raises EngineError with the end of the log when training fails or its loss is not finite.
        """
        ...

    def load(self, folder: Path, head: str = "") -> Model:
        """The model that `train` left in `folder`, with its head `head` where it has several."""
        ...

    def pretrained(self, job: TrainingJob) -> dict[str, Evaluator]:
        """The pre-trained models that `job` starts from, by the name of the head, as they are.

        The name is empty for a model with one head. Nothing for what starts from random weights.
        """
        ...


@dataclass(frozen=True, slots=True)
class HeadCard:
    """What one head of a model is.

    name             empty for a model with one head
    elements         its type map
    cutoff           Å
    receptive_field  how far away an atom can be that changes an atom's energy, Å; more than the cutoff for models that
                     pass messages
    parameters       trainable numbers of descriptor and fitting net
    aliases          other names of the head
    observed         elements of its training data, where the file says so; others of the type map it has never seen
    inputs           what it needs beside a structure, like `charge and spin`; nothing where it has defaults
    """

    name: str
    elements: tuple[str, ...]
    descriptor: str
    fitting: str
    cutoff: float
    receptive_field: float
    parameters: int
    aliases: tuple[str, ...] = ()
    observed: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model file says about itself.

    size    of the file, in bytes
    sha256  of the file
    """

    path: Path
    kind: str
    heads: tuple[HeadCard, ...]
    size: int
    sha256: str

    @property
    def aliases(self) -> dict[str, str]:
        """Heads by their other names."""
        return {alias: head.name for head in self.heads for alias in head.aliases}


@dataclass(frozen=True, slots=True)
class Simulation:
    """One trajectory to run.

    start      frame to begin with
    condition  temperature in K, pressure in bar, … as the engine's settings spell them
    seed       of velocities and noise
    work       an empty folder for its files
    end        frame to go to, for paths between two
    """

    start: Frame
    condition: dict[str, float]
    seed: int
    work: Path
    threads: int = 1
    timeout: float = 86400.0
    end: Frame | None = None


@dataclass(frozen=True, slots=True)
class SearchJob:
    """One generation of a structure search.

    folder      the search's own: what an earlier generation left there is its memory
    generation  from 1
    condition   pressure in bar, …
    seed        of the whole search
    """

    folder: Path
    generation: int
    condition: dict[str, float]
    seed: int
    timeout: float = 86400.0


class Searcher(Protocol):
    """A code that proposes crystal structures and learns from how they relax."""

    def propose(self, job: SearchJob, relaxed: Sequence[Relaxed]) -> list[Frame]:
        """Take what the generation before has relaxed to, in its order, and return the structures of `job.generation`.

        Nothing is returned after the last generation. The same job proposes the same structures, also when it is asked
        again because it was cut off. Raises EngineError when no structure can be made that holds the constraints.
        """
        ...


class RelaxFolder(Protocol):
    """A folder where a code leaves structures to be relaxed, and looks for what they have relaxed to."""

    @property
    def pressure(self) -> float | None:
        """That the code asks for, bar; None if it says nothing."""
        ...

    @property
    def fmax(self) -> float | None:
        """Largest force that is left, eV/Å; None if it says nothing."""
        ...

    def structures(self) -> list[tuple[str, Frame]]:
        """What is to be relaxed, by name. Raises InputError when nothing is there, or something else."""
        ...

    def leave(self, name: str, relaxed: Relaxed, pressure: float) -> None:
        """Write what a structure has relaxed to under `pressure` in bar, or that it has failed."""
        ...


class Explorer(Protocol):
    """A code that visits configurations."""

    def explore(self, simulation: Simulation, model: Model) -> Trajectory:
        """Run `simulation` with `model` and return the frames that were written.

        A run that ends early (lost atoms, exploded) returns what it wrote before, with the reason in `failure`.
        Raises EngineError when nothing was written, NodeError when the machine is at fault.
        """
        ...


@runtime_checkable
class BatchExplorer(Protocol):
    """An Explorer that does many runs better together than one by one."""

    def explore_all(self, simulations: Sequence[Simulation], committee: Sequence[Model]) -> Iterator[Trajectory]:
        """Run `simulations`, and yield the frames of each in their order.

        The first model of `committee` drives. With more than one, trajectories say what all of them disagree on, and
        what the first predicts, if that costs less on the way than afterwards. A run that ends early yields what it
        wrote before, if only nothing, with the reason in `failure`. Raises NodeError when the machine is at fault.
        """
        ...
