"""ASE: dynamics and relaxation over any Evaluator, and any of ASE's calculators as Evaluator and Labeler."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from ase.calculators.calculator import BaseCalculator, Calculator, FileIOCalculator, all_changes
from ase.calculators.genericfileio import GenericFileIOCalculator
from ase.units import fs
from pydantic import Field, JsonValue, StringConstraints, model_validator

from lamflow.config.engines import DynamicsSettings, ExaminedStudy, LabelerSettings, one_atom
from lamflow.data import Frame, Labels, Trajectory
from lamflow.data.io import labels_from_ase
from lamflow.data.problems import stress_of, voigt
from lamflow.engines.commands import named_files
from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example
from lamflow.engines.protocol import Evaluator, LabelFailure, Model, Simulation
from lamflow.errors import EngineError, InputError
from lamflow.units import BAR_IN_EV_PER_A3, EvPerAngstrom

EXPLODED = 200.0
"""eV/Å; a run in which an atom feels more than this is ended."""
VARIADIC = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
CALCULATOR = set(inspect.signature(Calculator.__init__).parameters)
"""What every calculator of ASE takes."""


class AseExploration(DynamicsSettings):
    """Molecular dynamics, relaxation or reaction paths by ASE, one run for every start structure and condition."""

    regime: ClassVar[str] = "method"
    engine: Literal["ase"]
    method: Literal["nve", "nvt", "langevin", "npt", "relax", "neb"] = "langevin"
    """Velocity Verlet, Nosé-Hoover chains, Langevin dynamics, Martyna-Tobias-Klein dynamics of the volume, FIRE on
    atoms and cell, or a nudged elastic band with a climbing image between `structures` and those of `to`."""
    to: str | None = None
    """For `neb`: the structure set with the other ends, as many structures with the same atoms in the same order."""
    images: int = Field(7, ge=3, le=101)
    """For `neb`: structures of the band, its ends included."""
    fmax: EvPerAngstrom = 0.02
    """`relax` and `neb` end when no force is larger."""

    @model_validator(mode="after")
    def _has_ends(self) -> Self:
        if (self.method == "neb") != (self.to is not None):
            raise ValueError("to: method neb needs the other ends of its paths" if self.to is None else
                             f"to: method {self.method} goes to no other structure; did you mean 'neb'?")  # fmt: skip
        return self

    @property
    def final_structures(self) -> str | None:
        """See WalkerSettings."""
        return self.to

    def unsupported_start(self, start: Frame) -> str | None:
        """See WalkerSettings."""
        if self.method == "npt" and not start.pbc:
            return "npt needs a periodic structure; use nvt for an isolated one"
        return None if self.method in ("relax", "neb") else one_atom(start)

    def seconds(self, natoms: int) -> float:
        """As small models take on one core."""
        return 3e-4 * natoms * self.steps * (self.images - 2 if self.method == "neb" else 1)


class AseLabels(LabelerSettings):
    """Labels by a calculator of ASE: EMT, xTB, a universal potential, or whatever a package offers."""

    engine: Literal["ase"]
    calculator: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$")]
    """Where it is imported from, for example `chgnet.model.dynamics.CHGNetCalculator`."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """What it is made with."""
    virial: bool = True
    """Periodic frames get a virial; say `false` for a calculator that has no stress."""

    @property
    def gives_virial(self) -> bool:
        """See LabelerSettings."""
        return self.virial

    def missing(self) -> str | None:
        """The package that the calculator comes from."""
        package = self.calculator.split(".")[0]
        found = importlib.util.find_spec(package) is not None
        return None if found else f"{self.calculator}: the package {package!r} is not installed here"

    def examine(self, study: ExaminedStudy) -> list[str]:
        """Whether there is such a calculator."""
        del study
        if self.missing() is None:
            try:
                made = self.create()
            except (Exception, SystemExit) as error:  # others' calculators raise anything
                raise InputError(f"label: {self.calculator}: {type(error).__name__}: {error}") from error
            if self.virial and "stress" not in made.implemented_properties:
                raise InputError(
                    f"label: {self.calculator} cannot do stress, so frames would have no virial; set virial: false "
                    "to do without (then no cell can change)"
                )
        return []

    def implementation_hash(self) -> str:
        """The package's version, and the files and programs that its arguments name."""
        package = self.calculator.split(".")[0]
        found: dict[str, Any] = {}
        with contextlib.suppress(PackageNotFoundError):
            found["version"] = version(package)
        for name, value in self.arguments.items():
            if isinstance(value, str):
                words = [str(Path(value).absolute())] if Path(value).is_file() else value.split()
                found[name] = named_files(words)
        return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()

    def create(self) -> Calculator:
        """A new calculator. Raises TypeError for what is none, and what importing and making it raise."""
        module, _, name = self.calculator.rpartition(".")
        made = getattr(importlib.import_module(module), name)
        if not (isinstance(made, type) and issubclass(made, BaseCalculator)):
            raise TypeError("this is no class of calculators of ASE")
        check_arguments(made, self.arguments)
        return made(**self.arguments)


def check_arguments(calculator: type, arguments: Mapping[str, Any]) -> None:
    """Raise TypeError for arguments that a class of calculators takes and does nothing with.

    Calculators that hand their arguments on to a program take any; what these are, only the program knows.
    """
    if issubclass(calculator, FileIOCalculator | GenericFileIOCalculator):
        return
    known = set(getattr(calculator, "default_parameters", {}))
    for parent in calculator.__mro__:
        if "__init__" not in vars(parent) or parent is object:
            continue
        parameters = inspect.signature(vars(parent)["__init__"]).parameters.values()
        known |= {parameter.name for parameter in parameters if parameter.kind not in VARIADIC} - {"self"}
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            break
    for name in arguments:
        if name not in known and not _is_read(calculator, name):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(sorted(known - CALCULATOR))}"
            raise TypeError(f"there is no argument {name!r}; {hint}")


def _is_read(calculator: type, name: str) -> bool:
    """The source of a class, or of one that it is derived from, reads an argument by its name."""
    modules = {parent.__module__ for parent in calculator.__mro__} - {BaseCalculator.__module__, "builtins"}
    for module in modules:
        try:
            source = inspect.getsource(importlib.import_module(module))
        except (OSError, TypeError):
            return True  # without its source nobody can tell
        if re.search(rf"['\"]{re.escape(name)}['\"]|\.{re.escape(name)}\b", source):
            return True
    return False


class EvaluatorCalculator(Calculator):  # type: ignore[misc]  # ASE has no types
    """Any Evaluator as a calculator of ASE."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__()
        self.evaluator = evaluator

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """See ASE's Calculator."""
        super().calculate(atoms, properties, system_changes)
        [labels] = self.evaluator.evaluate([Frame.from_ase(self.atoms)])
        self.results = {"energy": labels.energy, "free_energy": labels.energy, "forces": labels.forces}
        if labels.virial is not None:
            self.results["stress"] = voigt(stress_of(labels.virial, self.atoms.get_volume()))


class CalculatorEvaluator:
    """A calculator of ASE as Evaluator and Labeler; made once, when it is first needed."""

    def __init__(self, settings: AseLabels) -> None:
        self.settings = settings

    @cached_property
    def _calculator(self) -> Any:
        try:
            return self.settings.create()
        except (Exception, SystemExit) as error:
            text = f"the calculator {self.settings.calculator} cannot be made: {type(error).__name__}: {error}"
            raise EngineError(text) from error

    def evaluate(self, frames: Sequence[Frame]) -> list[Labels]:
        """See Evaluator."""
        labels = []
        for index, answer in enumerate(self.label(frames, Path())):
            if isinstance(answer, LabelFailure):
                raise EngineError(f"{self.settings.calculator}: frame {index}: {answer.reason}")
            labels.append(answer)
        return labels

    def label(self, frames: Sequence[Frame], work: Path) -> list[Labels | LabelFailure]:
        """See Labeler. Calculators that keep files keep them where their arguments say."""
        del work
        return [self._label(frame) for frame in frames]

    def _label(self, frame: Frame) -> Labels | LabelFailure:
        atoms = frame.to_ase()
        atoms.calc = self._calculator
        try:
            atoms.get_potential_energy()
            atoms.get_forces()
            if frame.pbc and self.settings.virial:
                atoms.get_stress()
            labels = labels_from_ase(atoms)
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever others raise, it is this frame's failure
            self.__dict__.pop("_calculator", None)  # one that has raised may be left half set up
            text = f"{type(error).__name__}: {error}"
            return LabelFailure(text, kind="unconverged" if "converge" in text.lower() else "stopped")
        problem = labels.problem(frame)
        return LabelFailure(problem, kind="invalid") if problem else labels


class AseExplorer:
    """Explorer by ASE."""

    def __init__(self, settings: AseExploration) -> None:
        self.settings = settings

    def explore(self, simulation: Simulation, model: Model) -> Trajectory:
        """See Explorer."""
        reason = self.settings.unsupported_start(simulation.start)
        if reason is not None:
            raise EngineError(reason)
        if self.settings.method == "neb":
            return self._band(simulation, model)
        atoms = simulation.start.to_ase()
        atoms.calc = EvaluatorCalculator(model)
        kept: list[Frame] = []
        velocities: list[np.ndarray] = []
        steps: list[int] = []
        dynamics = self._dynamics(atoms, simulation)

        def keep() -> None:
            if dynamics.nsteps == 0:
                return
            force = np.abs(atoms.get_forces()).max()
            if not force < EXPLODED:
                raise _ExplodedError(f"an atom feels {force:.3g} eV/Å at step {dynamics.nsteps}")
            kept.append(Frame.from_ase(atoms))
            velocities.append(atoms.get_velocities() * 1000 * fs)
            steps.append(dynamics.nsteps)

        dynamics.attach(keep, interval=self.settings.every)
        failure = None
        try:
            if self.settings.method == "relax":
                dynamics.run(fmax=self.settings.fmax, steps=self.settings.steps)
            else:
                dynamics.run(self.settings.steps)
        except (_ExplodedError, np.linalg.LinAlgError) as error:
            failure = f"the run exploded: {error}"
        except (EngineError, ValueError, RuntimeError, ArithmeticError, AssertionError) as error:
            failure = f"ASE cannot run this: {type(error).__name__}: {error}"
        if not kept:
            if failure is None:  # a relaxation that needed fewer steps than `every`
                kept, steps = [Frame.from_ase(atoms)], [dynamics.nsteps]
            else:
                raise EngineError(failure)
        moving = np.array(velocities) if velocities and self.settings.method != "relax" else None
        return replace(Trajectory.of(kept, steps, failure), velocities=moving)

    def _band(self, simulation: Simulation, model: Model) -> Trajectory:
        """A nudged elastic band (G. Henkelman et al., J. Chem. Phys. 113, 9901 (2000)); its images are the frames."""
        from ase.mep import NEB
        from ase.optimize import FIRE

        start, end = simulation.start, simulation.end
        if end is None or not np.array_equal(start.numbers, end.numbers) or start.pbc != end.pbc:
            raise EngineError("neb needs two ends with the same atoms in the same order; see `to`")
        images = [start.to_ase() for _ in range(self.settings.images - 1)] + [end.to_ase()]
        for image in images:
            image.calc = EvaluatorCalculator(model)
        band = NEB(images, climb=True, method="improvedtangent", allow_shared_calculator=False)
        band.interpolate(method="idpp", mic=start.pbc)
        kept: list[Frame] = []
        steps: list[int] = []
        optimizer = FIRE(band, logfile=None)

        def keep() -> None:
            force = np.abs(band.get_forces()).max()
            if not force < EXPLODED:
                raise _ExplodedError(f"an atom feels {force:.3g} eV/Å at step {optimizer.nsteps}")
            kept.extend(Frame.from_ase(image) for image in images)
            steps.extend([optimizer.nsteps] * len(images))

        optimizer.attach(keep, interval=self.settings.every)
        failure = None
        try:
            optimizer.run(fmax=self.settings.fmax, steps=self.settings.steps)
        except _ExplodedError as error:
            failure = f"the run exploded: {error}"
        except (EngineError, ValueError, RuntimeError, ArithmeticError) as error:
            failure = f"ASE cannot run this: {type(error).__name__}: {error}"
        if not kept:
            raise EngineError(failure or "the band was not moved")
        return Trajectory.of(kept, steps, failure)

    def _dynamics(self, atoms: Any, simulation: Simulation) -> Any:
        from ase.md.langevin import Langevin
        from ase.md.nose_hoover_chain import IsotropicMTKNPT, NoseHooverChainNVT
        from ase.md.velocitydistribution import Stationary, thermalize_momenta
        from ase.md.verlet import VelocityVerlet
        from ase.optimize import FIRE

        settings, temperature = self.settings, simulation.condition.get("temperature", 0.0)
        pressure = simulation.condition.get("pressure", 0.0) * BAR_IN_EV_PER_A3
        step = settings.timestep * 1000 * fs
        if settings.method == "relax":
            from ase.filters import FrechetCellFilter

            system = FrechetCellFilter(atoms, scalar_pressure=pressure) if simulation.start.pbc else atoms
            return FIRE(system, logfile=None)
        rng = np.random.RandomState(simulation.seed % 2**32)
        thermalize_momenta(atoms, temperature, rng=rng)
        Stationary(atoms)
        if settings.method == "nve":
            return VelocityVerlet(atoms, step)
        if settings.method == "nvt":
            return NoseHooverChainNVT(
                atoms, step, temperature_K=temperature, tdamp=settings.thermostat_time * 1000 * fs
            )
        if settings.method == "langevin":
            friction = 1 / (settings.thermostat_time * 1000 * fs)
            return Langevin(atoms, step, temperature_K=temperature, friction=friction, rng=rng)
        return IsotropicMTKNPT(
            atoms, step, temperature_K=temperature, pressure_au=pressure,
            tdamp=settings.thermostat_time * 1000 * fs, pdamp=settings.barostat_time * 1000 * fs,
        )  # fmt: skip


class _ExplodedError(Exception):
    """The forces of a run left the physical range."""


def _probe() -> str:
    import ase

    return f"ASE {ase.__version__}"


def _lennard_jones(folder: Path) -> Example:
    del folder
    arguments = {"sigma": 2.3, "epsilon": 0.1, "rc": 5.0, "smooth": True}
    return Example({"calculator": "ase.calculators.lj.LennardJones", "arguments": arguments})


def _dynamics(folder: Path) -> Example:
    del folder
    return Example({"structures": ["x"], "method": "langevin", "temperatures": [300], "steps": 20, "every": 5})


ENGINE = Engine(
    "ase",
    _probe,
    packages=("ase",),
    explore=Role(AseExploration, AseExplorer, example=_dynamics),
    label=Role(AseLabels, CalculatorEvaluator, example=_lennard_jones),
    evaluate=Role(AseLabels, CalculatorEvaluator, example=_lennard_jones),
)
