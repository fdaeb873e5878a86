"""EMT: effective medium theory of Al, Cu, Ag, Au, Ni, Pd and Pt, as ASE has it. Real forces in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from lamflow.config.engines import LabelerSettings
from lamflow.data import Frame, Labels
from lamflow.data.io import labels_from_ase
from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example
from lamflow.engines.protocol import LabelFailure
from lamflow.errors import EngineError

ELEMENTS = ("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt")


class Emt(LabelerSettings):
    """Labels by effective medium theory (K. W. Jacobsen et al., Surf. Sci. 366, 394 (1996)). No settings."""

    cached: ClassVar[bool] = False

    engine: Literal["emt"] = "emt"

    def known_elements(self) -> set[str] | None:
        """The seven that have parameters."""
        return set(ELEMENTS)

    def seconds(self, natoms: int) -> float:
        """About half a millisecond an atom."""
        return 5e-4 * natoms


class EmtEvaluator:
    """EMT as Evaluator and Labeler."""

    def __init__(self, settings: Emt) -> None:
        self.settings = settings

    def evaluate(self, frames: Sequence[Frame]) -> list[Labels]:
        """See Evaluator. Raises EngineError for an element that EMT does not know."""
        labels = []
        for index, frame in enumerate(frames):
            result = _evaluate(frame)
            if isinstance(result, LabelFailure):
                raise EngineError(f"EMT: frame {index}: {result.reason}")
            labels.append(result)
        return labels

    def label(self, frames: Sequence[Frame], work: Path) -> list[Labels | LabelFailure]:
        """See Labeler. EMT needs no files."""
        del work
        return [_evaluate(frame) for frame in frames]


def _evaluate(frame: Frame) -> Labels | LabelFailure:
    from ase.calculators.emt import EMT

    unknown = sorted(set(frame.symbols) - set(ELEMENTS))
    if unknown:
        return LabelFailure(f"EMT has no parameters for {', '.join(unknown)}; it knows {', '.join(ELEMENTS)}")
    atoms = frame.to_ase()
    atoms.calc = EMT()
    atoms.get_forces()
    if frame.pbc:
        atoms.get_stress()
    labels = labels_from_ase(atoms)
    problem = labels.problem(frame)
    return LabelFailure(problem) if problem else labels


def _probe() -> str:
    import ase

    return f"ASE {ase.__version__}"


ENGINE = Engine(
    "emt",
    _probe,
    packages=("ase",),
    label=Role(Emt, EmtEvaluator, example=lambda _: Example()),
    evaluate=Role(Emt, EmtEvaluator, example=lambda _: Example()),
)
