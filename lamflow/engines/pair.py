"""A linear pair potential, fitted by least squares in milliseconds: for first steps, teaching and tests, without torch.

The energy is a constant for each element plus φ(r) = Σₖ cₖ exp(-(r - rₖ)²/2w²)·f(r) for each pair of elements, with a
cosine cutoff f. It is linear in its coefficients, so training is one ridge regression on energies and forces. The
members of a committee are fitted to bootstrap samples of the frames. Models with spins add Σ ψ(r) sᵢ·sⱼ with functions
of the same kind, and c₁s² + c₂s⁴ + c₃s⁶ for each magnetic atom; they are fitted to magnetic forces as well.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from ase.data import atomic_numbers
from pydantic import Field

from lamflow.config.engines import EngineSettings, ExaminedStudy, TrainerSettings
from lamflow.config.pretrained import PretrainedModel
from lamflow.config.section import Element, Section, expand
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.frames import Floats, Ints
from lamflow.data.io import read_labeled
from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example
from lamflow.engines.protocol import Evaluator, LammpsPotential, Progress, TrainingJob
from lamflow.errors import EngineError, InputError
from lamflow.science.spin_bonds import SpinBonds, StillAtoms
from lamflow.units import Positive, Unit

MODEL = "pair.json"
LARGEST = 20_000
"""Coefficients whose equations are solved: 3.2 GB."""
POWERS = np.array([1, 2, 3])
"""Of s² in the energy of a moment by itself."""


class PairSpin(Section):
    """Moments that a pair potential sees."""

    elements: list[Element] = Field(min_length=1)
    """The magnetic ones; every frame of the data that has them has moments and magnetic forces."""


class PairTraining(TrainerSettings):
    """Fit linear pair potentials. Good for a first look at a workflow, not for physics."""

    model_file_name: ClassVar[str | None] = MODEL

    engine: Literal["pair"]
    cutoff: Annotated[float, Field(ge=2.5, le=12), Unit("Å")] = 5.0
    functions: int = Field(16, ge=2, le=1000)
    """Basis functions of each pair of elements, evenly spaced from 1 Å to the cutoff."""
    ridge: Positive = 1e-6
    """Regularisation, as a fraction of the mean of the normal matrix's diagonal."""
    energy_weight: Positive = 10.0
    """Weight of an energy per atom in eV, relative to a force component in eV/Å."""
    spin: PairSpin | None = None
    """Models learn magnetic moments."""
    magnetic_weight: Positive = 1.0
    """Weight of a component of a magnetic force in eV/μB, relative to a force component in eV/Å."""

    @property
    def magnetic_elements(self) -> Sequence[str]:
        """See TrainerSettings."""
        return self.spin.elements if self.spin is not None else ()

    def evaluator_settings(self, model: PretrainedModel) -> PairPotential:
        """See TrainerSettings."""
        return PairPotential(engine="pair", model=model)

    def seconds(self) -> float:
        """About a second for a few hundred frames."""
        return 1.0


class PairPotential(EngineSettings):
    """A fitted pair potential: a file pair.json, or the model of a run."""

    engine: Literal["pair"]
    model: PretrainedModel

    @property
    def title(self) -> str:
        """See EngineSettings."""
        return str(self.model.file or self.model.url or self.model.s3)

    @property
    def model_file(self) -> Path | None:
        """See EngineSettings."""
        return expand(self.model.file) if self.model.file else None

    @property
    def moments_seen(self) -> Sequence[str] | None:
        """See EngineSettings."""
        known = self.model_file is not None and self.model_file.is_file()
        return loaded(self.model_file).basis.magnetic if known and self.model_file is not None else None

    def known_elements(self) -> set[str] | None:
        """See EngineSettings."""
        file = self.model_file
        return set(loaded(file).basis.elements) if file is not None and file.is_file() else None

    def examine(self, study: ExaminedStudy) -> list[str]:
        """See EngineSettings: whether the file is such a model, and knows the elements."""
        if self.model_file is None:
            return []
        unknown = sorted(set(study.elements) - set(loaded(self.model_file).basis.elements))
        if unknown:
            raise InputError(f"{self.model_file} does not know {', '.join(unknown)}")
        return []


class PairTrainer:
    """Trainer of linear pair potentials."""

    def __init__(self, settings: PairTraining) -> None:
        self.settings = settings

    def train(self, job: TrainingJob, progress: Progress) -> int:
        """See Trainer. Leaves pair.json; one step, for there is nothing to iterate."""
        settings = self.settings
        labeled = [item for system in job.systems for item in read_labeled(system)]
        drawn = np.random.default_rng(job.seed).integers(len(labeled), size=len(labeled))
        basis = _Basis(job.elements, settings.cutoff, settings.functions, settings.magnetic_elements)
        weights = np.bincount(drawn, minlength=len(labeled))
        known = basis.occurring([item.frame for item in labeled])
        if len(known) > LARGEST:
            raise InputError(
                f"a pair potential of {len(job.elements)} elements has {len(known)} coefficients for the pairs of "
                f"these {len(labeled)} frames, whose equations take {8e-9 * len(known) ** 2:.0f} GB; {LARGEST} are the "
                "most: lower `functions`, or take a network (engine: deepmd)"
            )
        with np.errstate(over="ignore", invalid="ignore"):  # coefficients that are no numbers are found below
            normal, right = _normal_equations(basis, labeled, weights, settings, known)
        progress(0.9)
        normal += settings.ridge * np.trace(normal) / len(normal) * np.eye(len(normal))
        coefficients = np.zeros(basis.size)
        coefficients[known] = np.linalg.solve(normal, right)
        if not np.isfinite(coefficients).all():
            raise EngineError("the least-squares fit gave coefficients that are not finite")
        job.output.mkdir(parents=True, exist_ok=True)
        document = {
            "elements": job.elements,
            "cutoff": settings.cutoff,
            "functions": settings.functions,
            "magnetic": list(settings.magnetic_elements),
            "coefficients": coefficients.tolist(),
        }
        (job.output / MODEL).write_text(json.dumps(document), encoding="utf-8")
        return 1

    def pretrained(self, job: TrainingJob) -> dict[str, Evaluator]:
        """See Trainer. Nothing is ever pre-trained."""
        del job
        return {}

    def load(self, folder: Path, head: str = "") -> PairModel:
        """See Trainer."""
        del head
        return loaded(folder / MODEL)


def loaded(file: Path) -> PairModel:
    """The model in a file pair.json. Raises InputError for another file."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        basis = _Basis(
            tuple(document["elements"]), document["cutoff"], document["functions"], document.get("magnetic", ())
        )
        coefficients = np.array(document["coefficients"], dtype=np.float64)
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{file} is no pair potential of lamflow's: {error}") from error
    if coefficients.shape != (basis.size,):
        raise InputError(f"{file} has {len(coefficients)} coefficients where {basis.size} are needed")
    return PairModel(basis, coefficients)


def _potential(settings: PairPotential) -> PairModel:
    if settings.model_file is None:
        raise EngineError("the pair potential has not been fetched; name a file")
    return loaded(settings.model_file)


class PairModel:
    """Evaluator of a fitted pair potential."""

    def __init__(self, basis: _Basis, coefficients: Floats) -> None:
        self.basis = basis
        self.atoms = StillAtoms(lambda frame: basis.bonds(frame, coefficients))
        self.constants = coefficients[: len(basis.elements)]

    def evaluate(self, frames: Sequence[Frame]) -> list[Labels]:
        """See Evaluator."""
        spins, constants = [], []
        for index, frame in enumerate(frames):
            try:
                constants.append(float(self.constants[self.basis.types(frame)].sum()))
                spins.append(self.basis.spins(frame))
            except EngineError as error:
                raise EngineError(f"frame {index}: {error}") from error
        labels = self.atoms.labels(frames, spins)
        return [replace(own, energy=own.energy + constant) for own, constant in zip(labels, constants, strict=True)]

    def lammps(self) -> LammpsPotential:
        """See Model."""
        raise EngineError("LAMMPS does not know the models of engine 'pair'; explore with engine 'ase'")


class _Basis:
    """The functions that energies and their derivatives are linear in: P for the elements and their pairs, and as many
    for pairs of moments and the moments themselves where there are any."""

    def __init__(self, elements: tuple[str, ...], cutoff: float, functions: int, magnetic: Sequence[str] = ()) -> None:
        self.elements, self.cutoff = elements, cutoff
        self.centers = np.linspace(1.0, cutoff, functions)
        self.width = (cutoff - 1.0) / (functions - 1)
        self.place = {atomic_numbers[symbol]: index for index, symbol in enumerate(elements)}
        kinds = len(elements)
        self.pair = np.zeros((kinds, kinds), dtype=np.int64)
        for number, (i, j) in enumerate(itertools.combinations_with_replacement(range(kinds), 2)):
            self.pair[i, j] = self.pair[j, i] = number
        self.plain = kinds + kinds * (kinds + 1) // 2 * functions
        self.magnetic = magnetic
        self.size = self.plain + (self.plain - kinds + len(POWERS) * kinds if magnetic else 0)

    def occurring(self, frames: Sequence[Frame]) -> Ints:
        """The coefficients of the elements, and of the pairs of elements that are in a frame together, in order."""
        together = {tuple(np.unique(self.types(frame)).tolist()) for frame in frames}
        kinds = np.array(sorted({kind for types in together for kind in types}))
        pairs = {
            int(self.pair[pair]) for types in together for pair in itertools.combinations_with_replacement(types, 2)
        }
        functions = len(self.centers)
        bonds = (len(self.elements) + np.array(sorted(pairs))[:, None] * functions + np.arange(functions)).ravel()
        columns = [kinds, bonds]
        if self.magnetic:
            columns += [bonds + self.plain - len(self.elements), self._places(kinds).ravel()]
        return np.unique(np.concatenate(columns))

    def derivatives(self, frame: Frame) -> tuple[Floats, Floats, Floats, Floats | None]:
        """What multiplies the coefficients in energy (P,), forces (N, 3, P), virial (3, 3, P) and magnetic forces
        (N, 3, P), which only models with spins have."""
        types, kinds = self.types(frame), len(self.elements)
        first, second, distance, vector = self._neighbors(frame)
        value, slope = self._radial(distance)
        columns = self._columns(types[first], types[second])
        energy = np.bincount(types, minlength=self.size).astype(np.float64)
        forces, virial = np.zeros((frame.natoms, 3, self.size)), np.zeros((3, 3, self.size))
        spins = self.spins(frame)
        terms = [(columns, np.ones(len(first)))]
        if spins is not None:
            dots = np.einsum("kx,kx->k", spins[first], spins[second])
            terms.append((columns + self.plain - kinds, dots))
        for places, factor in terms:
            np.add.at(energy, places, 0.5 * factor[:, None] * value)
            pull = (factor[:, None] * slope)[:, None, :] * (vector / distance[:, None])[:, :, None]
            for axis in range(3):
                np.add.at(forces, (first[:, None], axis, places), pull[:, axis])
                for other in range(3):
                    np.add.at(virial, (axis, other, places), -0.5 * pull[:, axis] * vector[:, other, None])
        if spins is None:
            return energy, forces, virial, None
        magnetic = np.zeros((frame.natoms, 3, self.size))
        for axis in range(3):
            np.add.at(magnetic, (first[:, None], axis, terms[1][0]), -value * spins[second, axis, None])
        self._single_moments(types, spins, energy, magnetic)
        return energy, forces, virial, magnetic

    def bonds(self, frame: Frame, coefficients: Floats) -> SpinBonds:
        """The model of these coefficients (P,), without the constants of elements."""
        types, kinds = self.types(frame), len(self.elements)
        first, second, distance, vector = self._neighbors(frame)
        value, slope = self._radial(distance)
        columns = self._columns(types[first], types[second])
        plain = coefficients[columns]
        if self.magnetic:
            coupling = coefficients[columns + self.plain - kinds]
            single = coefficients[self._places(types)]
        else:
            coupling, single = np.zeros_like(plain), np.zeros((frame.natoms, 1))
        return SpinBonds(
            first, second, vector, (plain * value).sum(axis=1), (plain * slope).sum(axis=1),
            (coupling * value).sum(axis=1), (coupling * slope).sum(axis=1), single,
        )  # fmt: skip

    def types(self, frame: Frame) -> Ints:
        """Places (N,) of its atoms' elements. Raises EngineError for elements that the model does not know."""
        try:
            return np.array([self.place[number] for number in frame.numbers])
        except KeyError:
            raise EngineError(f"the model knows {list(self.elements)}, not {sorted(set(frame.symbols))}") from None

    def _neighbors(self, frame: Frame) -> tuple[Any, Any, Floats, Floats]:
        """Both ends (K,), length (K,) and vector (K, 3) of every directed bond."""
        from ase.neighborlist import primitive_neighbor_list

        cell = frame.cell if frame.pbc else np.eye(3)
        found = primitive_neighbor_list("ijdD", [frame.pbc] * 3, cell, frame.positions, self.cutoff)
        first, second, distance, vector = found
        return first, second, distance, vector

    def _columns(self, first: Ints, second: Ints) -> Any:
        """Places (K, functions) of the coefficients of bonds between atoms of these types (K,)."""
        functions = len(self.centers)
        return len(self.elements) + self.pair[first, second][:, None] * functions + np.arange(functions)

    def _places(self, types: Ints) -> Ints:
        """Places (N, powers) of the coefficients of single moments."""
        return self.size - len(POWERS) * (len(self.elements) - types[:, None]) + np.arange(len(POWERS))

    def _single_moments(self, types: Ints, spins: Floats, energy: Floats, magnetic: Floats) -> None:
        """Add what multiplies the coefficients of moments by themselves."""
        squared = (spins**2).sum(axis=1)[:, None]
        places = self._places(types)
        np.add.at(energy, places, squared**POWERS)
        slopes, atoms = -2 * POWERS * squared ** (POWERS - 1), np.arange(len(types))[:, None]
        for axis in range(3):
            magnetic[atoms, axis, places] += slopes * spins[:, axis, None]

    def spins(self, frame: Frame) -> Floats | None:
        """Moments (N, 3) of the magnetic atoms; None for a model without. Raises EngineError for a frame that lacks
        them, or has some that the model does not see."""
        if not self.magnetic:
            if frame.spins is not None:
                raise EngineError("the model knows no spins, and the frame has magnetic moments")
            return None
        seen = np.isin(frame.numbers, [atomic_numbers[element] for element in self.magnetic])
        if frame.spins is None:
            if seen.any():
                raise EngineError(f"the model needs the magnetic moments of {', '.join(self.magnetic)}")
            return np.zeros((frame.natoms, 3))
        return np.where(seen[:, None], frame.spins, 0.0)

    def _radial(self, distance: Floats) -> tuple[Floats, Floats]:
        """Values (K, functions) and slopes of the basis functions at distances (K,)."""
        shift = (distance[:, None] - self.centers) / self.width
        bell = np.exp(-0.5 * shift**2)
        angle = np.pi * distance[:, None] / self.cutoff
        fade = 0.5 * (np.cos(angle) + 1)
        faded = -0.5 * np.pi / self.cutoff * np.sin(angle)
        return bell * fade, bell * faded - shift / self.width * bell * fade


def _normal_equations(
    basis: _Basis, labeled: list[LabeledFrame], weights: np.ndarray, settings: PairTraining, known: Ints
) -> tuple[Floats, Floats]:
    """Matrix (K, K) and right side (K,) for the coefficients `known` (K,), the only ones that frames tell."""
    normal, right = np.zeros((len(known), len(known))), np.zeros(len(known))
    for item, weight in zip(labeled, weights, strict=True):
        if weight == 0:
            continue
        energy, forces, _, magnetic = basis.derivatives(item.frame)
        scale = settings.energy_weight / item.frame.natoms
        rows = [scale * energy[None], forces.reshape(-1, basis.size)]
        target = [np.array([scale * item.labels.energy]), item.labels.forces.ravel()]
        if magnetic is not None and item.labels.force_mag is not None:
            rows.append(settings.magnetic_weight * magnetic.reshape(-1, basis.size))
            target.append(settings.magnetic_weight * item.labels.force_mag.ravel())
        matrix = np.concatenate(rows)
        own = np.flatnonzero(matrix.any(axis=0))
        places, matrix = np.searchsorted(known, own), matrix[:, own]
        normal[np.ix_(places, places)] += weight * matrix.T @ matrix
        right[places] += weight * matrix.T @ np.concatenate(target)
    return normal, right


def _probe() -> str:
    return "built in"


def _example(folder: Path) -> Example:
    """A model that is fitted for this purpose."""
    from lamflow.engines.example import copper_frames, trained

    settings = PairTraining(engine="pair", functions=8)
    model = trained(PairTrainer(settings), copper_frames(), folder) / MODEL
    return Example({"model": {"file": model}})


ENGINE = Engine(
    "pair",
    _probe,
    train=Role(PairTraining, PairTrainer, example=lambda _: Example({"functions": 8})),
    evaluate=Role(PairPotential, _potential, example=_example),
)
