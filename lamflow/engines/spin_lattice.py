"""A Landau-Heisenberg spin-lattice: energies, forces and magnetic forces of iron-like magnets in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from lamflow.config.engines import LabelerSettings
from lamflow.data import Frame, Labels
from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example
from lamflow.engines.protocol import LabelFailure
from lamflow.errors import EngineError
from lamflow.science.spin_bonds import StillAtoms
from lamflow.science.spin_lattice import SpinLattice
from lamflow.units import Electronvolt, Length, PerAngstrom, Unit

ELEMENT = "Fe"


class SpinLatticeLabels(LabelerSettings):
    """Labels by a model of atoms and moments that a DeepSpin model can learn, as EMT is one for metals.

    The defaults are like bcc iron with 2.2 μB; see `lamflow/science/spin_lattice.py` for the energy.
    """

    cached: ClassVar[bool] = False

    engine: Literal["spin-lattice"]
    depth: Electronvolt = 0.4
    """Of a bond without moments."""
    steepness: PerAngstrom = 1.4
    distance: Length = 2.55
    """Where a bond without moments is deepest."""
    exchange: Annotated[float, Field(ge=-10, le=10), Unit("eV/μB²")] = 0.005
    """Of two moments at that distance; positive for ferromagnets, negative for antiferromagnets."""
    decay: Length = 0.9
    """Over which the exchange falls to 37 %."""
    landau: tuple[
        Annotated[float, Field(ge=-10, le=10), Unit("eV/μB²")], Annotated[float, Field(gt=0, le=10), Unit("eV/μB⁴")]
    ] = (-0.40, 0.045)
    """Energy of a moment by itself: times its square, and its fourth power."""
    cutoff: Length = 4.6
    """Bonds fade over the last ångström."""

    @property
    def uses_spins(self) -> bool:
        """See LabelerSettings."""
        return True

    @property
    def at_once(self) -> int:
        """See LabelerSettings."""
        return 10_000

    def known_elements(self) -> set[str] | None:
        """Iron stands for all magnets."""
        return {ELEMENT}

    def seconds(self, natoms: int) -> float:
        """About a tenth of a millisecond an atom."""
        return 1e-4 * natoms


class SpinLatticeEvaluator:
    """The model as Evaluator and Labeler."""

    def __init__(self, settings: SpinLatticeLabels) -> None:
        self.model = SpinLattice(
            settings.depth, settings.steepness, settings.distance, settings.exchange, settings.decay, settings.landau,
            settings.cutoff - 1.0, settings.cutoff,
        )  # fmt: skip
        self.atoms = StillAtoms(self.model.bonds)

    def evaluate(self, frames: Sequence[Frame]) -> list[Labels]:
        """See Evaluator. Raises EngineError for another element, and for a frame without moments."""
        for index, frame in enumerate(frames):
            if (failure := refused(frame)) is not None:
                raise EngineError(f"spin-lattice: frame {index}: {failure.reason}")
        labels = self.atoms.labels(frames, [frame.spins for frame in frames])
        for index, own in enumerate(labels):
            if not np.isfinite(own.energy):
                raise EngineError(f"spin-lattice: frame {index}: its energy is {own.energy}")
        return labels

    def unsupported_reason(self, frame: Frame) -> str | None:
        """See ChecksFrames."""
        failure = refused(frame)
        return None if failure is None else failure.reason

    def label(self, frames: Sequence[Frame], work: Path) -> list[Labels | LabelFailure]:
        """See Labeler. It needs no files."""
        del work
        return [refused(frame) or self._labels(frame) for frame in frames]

    def _labels(self, frame: Frame) -> Labels | LabelFailure:
        [labels] = self.atoms.labels([frame], [frame.spins])
        problem = labels.problem(frame)
        return LabelFailure(problem) if problem else labels


def refused(frame: Frame) -> LabelFailure | None:
    """Why the model knows nothing of this frame."""
    unknown = sorted(set(frame.symbols) - {ELEMENT})
    if unknown:
        return LabelFailure(f"the spin-lattice is of {ELEMENT}, not of {', '.join(unknown)}", kind="refused")
    if frame.spins is None:
        return LabelFailure(
            f"its {ELEMENT} has no magnetic moments; give its structure set `spins`, or its file a column `spin`",
            kind="refused",
        )
    return None


def iron_frames() -> list[Frame]:
    """Rattled and strained iron with moments in all directions, of two sizes."""
    from ase.build import bulk

    rng, frames = np.random.default_rng(5), []
    for repeat in ((2, 2, 2), (2, 2, 1), (2, 2, 2)):
        atoms = bulk("Fe", "bcc", a=2.86, cubic=True).repeat(repeat)
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))), scale_atoms=True)
        frames.append(Frame.from_ase(atoms).with_fields(spin=rng.normal(scale=1.3, size=(len(atoms), 3))))
    return frames


def _probe() -> str:
    return "built in"


def _example(folder: Path) -> Example:
    del folder
    return Example(frames=iron_frames())


ENGINE = Engine(
    "spin-lattice",
    _probe,
    label=Role(SpinLatticeLabels, SpinLatticeEvaluator, example=_example),
    evaluate=Role(SpinLatticeLabels, SpinLatticeEvaluator, example=_example),
)
