"""What moves is evaluated by a session of the model where it opens one, and as frames where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from lamflow.config import parse
from lamflow.config.properties import PropertiesStudy
from lamflow.data import Frame, Labels
from lamflow.data.frames import Floats, Ints
from lamflow.engines import registry
from lamflow.engines.batched import OneByOne
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.ops.operation import Context
from lamflow.ops.potentials import asked_potential
from lamflow.science.properties.simulated import by_frames

STUDY = """
workflow: properties
name: moved
elements: [Cu]
structures: [{name: copper, crystal: {formula: Cu, lattice: fcc}}]
potentials: [{name: emt, evaluate: {engine: emt}}]
"""


@dataclass
class WithSessions:
    """EMT that opens sessions for periodic systems, and remembers how many systems each step had."""

    steps: list[int] = field(default_factory=list)

    def evaluate(self, frames: Sequence[Frame]) -> list[Labels]:
        return EmtEvaluator(Emt(engine="emt")).evaluate(frames)

    def open_session(self, starts: Sequence[Frame], others: Sequence[object]) -> WithSessions | None:
        assert not others
        self.session = OneByOne([EmtEvaluator(Emt(engine="emt"))], starts)
        return _Session(self) if starts[0].pbc else None  # type: ignore[return-value]


@dataclass
class _Session:
    model: WithSessions

    def evaluate(self, positions: Floats, cells: Floats, numbers: Ints) -> tuple[Floats, ...]:
        self.model.steps.append(len(numbers))
        return self.model.session.evaluate(positions, cells, numbers)


@pytest.mark.parametrize("pbc", [True, False])
def test_a_session_says_what_frames_say(pbc: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = WithSessions()
    monkeypatch.setattr(registry, "evaluator", lambda settings: model)
    study = parse(STUDY, root=tmp_path, kind=PropertiesStudy)
    context = Context(0, 1, "job", tmp_path, tmp_path, tmp_path)
    potential = asked_potential(study, 0, None, context)
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms.pbc = pbc
    frames = [Frame.from_ase(atoms), Frame.from_ase(atoms)]
    positions = np.stack([frame.positions for frame in frames])
    positions[1] += np.random.default_rng(1).normal(0, 0.05, (4, 3))
    arrays = positions, np.stack([frame.cell for frame in frames]), np.array([0, 1])
    for own, plain in zip(
        potential.open_session(frames)(*arrays), by_frames(model.evaluate)(frames)(*arrays), strict=True
    ):
        assert own == pytest.approx(plain, nan_ok=True)
    assert model.steps == ([2] if pbc else [])
