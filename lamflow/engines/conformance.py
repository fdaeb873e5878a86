"""Tests that every engine inherits. An engine's own test gives the fixture `engine` and little else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lamflow.data import Frame, Labels
from lamflow.engines.protocol import Evaluator, Labeler

STEP = 1e-4
"""Displacement in Å, and strain, of the finite differences."""


class EvaluatorConformance:
    """What any Evaluator must hold. Subclasses define the fixture `engine`, and `frames` if Cu does not suit."""

    force_tolerance = 1e-3
    """eV/Å"""
    virial_tolerance = 1e-2
    """eV"""

    def frames(self) -> list[Frame]:
        """Small frames that the engine knows, of two sizes."""
        from ase.build import bulk

        rng = np.random.default_rng(3)
        made = []
        for repeat in ((2, 2, 2), (2, 2, 1), (2, 2, 2)):
            atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(repeat)
            atoms.positions += rng.normal(scale=0.08, size=atoms.positions.shape)
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))), scale_atoms=True)
            made.append(Frame.from_ase(atoms))
        return made

    def test_shapes_and_finite(self, engine: Evaluator) -> None:
        frames = self.frames()
        for frame, labels in zip(frames, engine.evaluate(frames), strict=True):
            assert labels.problem(frame) is None

    def test_batching_changes_nothing(self, engine: Evaluator) -> None:
        frames = self.frames()
        one_by_one = [engine.evaluate([frame])[0] for frame in frames]
        for alone, together in zip(one_by_one, engine.evaluate(frames), strict=True):
            assert abs(alone.energy - together.energy) < 1e-4 * max(1.0, abs(alone.energy))
            np.testing.assert_allclose(alone.forces, together.forces, atol=self.force_tolerance)

    def test_inputs_are_not_modified(self, engine: Evaluator) -> None:
        frames = self.frames()
        before = [frame.content_hash() for frame in frames]
        engine.evaluate(frames)
        assert [frame.content_hash() for frame in frames] == before

    def test_nothing_in_nothing_out(self, engine: Evaluator) -> None:
        assert engine.evaluate([]) == []

    def test_forces_are_minus_the_gradient(self, engine: Evaluator) -> None:
        frame = self.frames()[0]
        [labels] = engine.evaluate([frame])
        for atom, axis in ((0, 0), (3, 1), (frame.natoms - 1, 2)):
            low, high = engine.evaluate([_displaced(frame, atom, axis, -STEP), _displaced(frame, atom, axis, STEP)])
            slope = (high.energy - low.energy) / (2 * STEP)
            assert abs(labels.forces[atom, axis] + slope) < self.force_tolerance * max(1.0, abs(slope))

    def test_virial_is_minus_the_strain_derivative(self, engine: Evaluator) -> None:
        frame = self.frames()[0]
        [labels] = engine.evaluate([frame])
        if labels.virial is None:
            return
        for row, column in ((0, 0), (1, 1), (0, 2)):
            low, high = engine.evaluate([_strained(frame, row, column, -STEP), _strained(frame, row, column, STEP)])
            slope = (high.energy - low.energy) / (2 * STEP)
            virial = 0.5 * (labels.virial[row, column] + labels.virial[column, row])
            assert abs(virial + slope) < self.virial_tolerance * max(1.0, abs(slope))


class LabelerConformance:
    """What any Labeler must hold. Subclasses define the fixture `engine` and `good_frames`."""

    def good_frames(self) -> Sequence[Frame]:
        """Frames that the engine can label."""
        return EvaluatorConformance().frames()[:2]

    def test_every_frame_gets_a_good_label(self, engine: Labeler, tmp_path: Path) -> None:
        frames = self.good_frames()
        for frame, labels in zip(frames, engine.label(frames, tmp_path), strict=True):
            assert isinstance(labels, Labels), labels
            assert labels.problem(frame) is None


def virial_traces(
    engine: Labeler, strained: Callable[[float], Frame], work: Path, step: float = 2e-3
) -> tuple[float, float]:
    """The trace of the virial as the engine says it, and as minus the derivative of the energy by strain, in eV.

    strained  the frame when all its lengths are 1 + strain times what they were
    """
    answers = engine.label([strained(-step), strained(0.0), strained(step)], work)
    low, middle, high = (answer for answer in answers if isinstance(answer, Labels))
    assert middle.virial is not None
    return float(np.trace(middle.virial)), (low.energy - high.energy) / (2 * step)


def _displaced(frame: Frame, atom: int, axis: int, by: float) -> Frame:
    positions = frame.positions.copy()
    positions[atom, axis] += by
    return replace(frame, positions=positions)


def _strained(frame: Frame, row: int, column: int, by: float) -> Frame:
    """The frame under a symmetric strain whose (row, column) element is `by`."""
    strain = np.zeros((3, 3))
    strain[row, column] += by / 2
    strain[column, row] += by / 2
    deformation = np.eye(3) + strain
    return replace(frame, positions=frame.positions @ deformation, cell=frame.cell @ deformation)
