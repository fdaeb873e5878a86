"""Structures that codes relax by themselves come to where our own optimiser comes to with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk

from lamflow.config.properties import Relaxing
from lamflow.data import Frame, Labels
from lamflow.engines.cp2k import Cp2k
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.engines.example import hydrogen_frames
from lamflow.engines.own_relaxation import OwnRelaxation, RelaxesItself
from lamflow.engines.protocol import LabelFailure
from lamflow.engines.qe import QuantumEspresso
from lamflow.engines.registry import labeler
from lamflow.ops.native import NativeRelaxer
from lamflow.science.relaxation import Freedom, RelaxationPath, relax

PSEUDO = Path("/usr/share/espresso/pseudo/Si.pbe-rrkj.UPF")
EMT = EmtEvaluator(Emt(engine="emt"))


@dataclass
class Half:
    """A code that comes half of the way to where EMT has no forces each time that it is asked."""

    asked: list[OwnRelaxation] = field(default_factory=list)

    def relax(self, frame: Frame, work: Path, how: OwnRelaxation) -> Frame | LabelFailure:
        del work
        self.asked.append(how)
        if len(self.asked) > 4:
            return LabelFailure("it is tired", kind="stopped")
        [path] = relax([frame], EMT.evaluate, Relaxing(steps=3, fmax=how.fmax), free=[Freedom(cell=how.cell)])
        return path.frame


def copper() -> Frame:
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms.positions += np.random.default_rng(1).normal(0, 0.05, (4, 3))
    return Frame.from_ase(atoms)


def native(code: Any, evaluate: Any, frame: Frame, work: Path, free: Freedom, **settings: Any) -> RelaxationPath:
    cells = frozenset({"all", "none"})
    [path] = NativeRelaxer(code, evaluate, cells, work)([frame], settings=Relaxing(**settings), free=[free])
    return path


def test_a_code_goes_on_until_labels_say_that_nothing_is_left(tmp_path: Path) -> None:
    code = Half()
    path = native(code, EMT.evaluate, copper(), tmp_path, Freedom(), fmax=0.02)
    assert path.converged
    assert len(code.asked) == len(path.steps) - 1 > 1
    assert (code.asked[0].cell, code.asked[0].fmax) == ("all", 0.01)
    tired = native(Half(), EMT.evaluate, copper(), tmp_path, Freedom(), fmax=1e-8)
    assert tired.failure == "its own relaxation: it is tired"


def test_what_a_code_cannot_relax_is_relaxed_by_its_labels(tmp_path: Path) -> None:
    code, along = Half(), Freedom(np.tile([0.0, 0.0, 1.0], (4, 1)), "none")
    path = native(code, EMT.evaluate, copper(), tmp_path, along, fmax=0.02)
    assert path.converged
    assert not code.asked
    assert path.frame.positions[:, :2] == pytest.approx(copper().positions[:, :2])


@pytest.mark.qe
@pytest.mark.slow
def test_silicon_by_pw_x_is_the_same_by_its_own_optimiser(tmp_path: Path) -> None:
    settings = QuantumEspresso.model_validate(
        {"engine": "qe", "pseudopotentials": {"Si": PSEUDO}, "ecutwfc": 16, "kspacing": 0.6}
    )
    code = labeler(settings)
    assert isinstance(code, RelaxesItself)
    count = [0]

    def evaluate(frames: Sequence[Frame]) -> list[Labels]:
        count[0] += len(frames)
        answers = code.label(frames, tmp_path)
        assert all(isinstance(one, Labels) for one in answers)
        return [one for one in answers if isinstance(one, Labels)]

    atoms = bulk("Si", "diamond", a=5.3)
    atoms.positions[1] += [0.05, 0.02, -0.03]
    start = Frame.from_ase(atoms)
    own = native(code, evaluate, start, tmp_path, Freedom(), fmax=0.01)
    asked = count[0]
    [ours] = relax([start], evaluate, Relaxing(fmax=0.01))
    assert own.converged
    assert ours.converged
    assert own.frame.volume == pytest.approx(ours.frame.volume, rel=2e-3)
    assert own.labels.energy == pytest.approx(ours.labels.energy, abs=2e-3)
    lengths = [np.linalg.norm(path.frame.positions[1] - path.frame.positions[0]) for path in (own, ours)]
    assert lengths[0] == pytest.approx(lengths[1], abs=5e-3)
    assert asked < count[0] - asked


@pytest.mark.cp2k
@pytest.mark.slow
def test_hydrogen_by_cp2k_comes_to_its_bond_length(tmp_path: Path) -> None:
    code = labeler(Cp2k.model_validate({
        "engine": "cp2k", "cutoff": 120, "rel_cutoff": 30, "basis": {"H": "SZV-MOLOPT-SR-GTH"},
        "potentials": {"H": "GTH-PBE-q1"}, "input": {"FORCE_EVAL": {"DFT": {"SCF": {"EPS_SCF": 1e-6}}}},
    }))  # fmt: skip
    assert isinstance(code, RelaxesItself)
    start = hydrogen_frames()[0]
    found = code.relax(start, tmp_path, OwnRelaxation("none", 50, 0.01, 1.0))
    assert isinstance(found, Frame)
    [labels] = code.label([found], tmp_path)
    assert isinstance(labels, Labels)
    assert np.abs(labels.forces).max() < 0.03
    assert found.cell == pytest.approx(start.cell)
