"""What every engine must hold that gives energies, forces and virials: evaluators and labelers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lamflow.data import Frame, Labels
from lamflow.engines.example import copper_frames
from lamflow.engines.protocol import Evaluator, Labeler, LabelFailure
from lamflow.errors import EngineError

STEP = 1e-4
"""Displacement in Å, strain, and change of a moment in μB, of the finite differences."""
LAWRENCIUM = 103


class EvaluatorConformance:
    """What any Evaluator must hold. Subclasses define the fixture `engine`, and `frames` if Cu does not suit."""

    force_tolerance = 1e-3
    """eV/Å"""
    virial_tolerance = 1e-2
    """eV"""
    has_virial = True
    """Labels of periodic frames have a virial."""

    def frames(self) -> list[Frame]:
        """Small frames that the engine knows, of two sizes."""
        return copper_frames()

    def test_shapes_and_finite(self, engine: Evaluator) -> None:
        frames = self.frames()
        for frame, labels in zip(frames, engine.evaluate(frames), strict=True):
            assert labels.problem(frame) is None
            assert_virial(frame, labels, self.has_virial)

    def test_batching_changes_nothing(self, engine: Evaluator) -> None:
        frames = self.frames()
        one_by_one = [engine.evaluate([frame])[0] for frame in frames]
        for single, together in zip(one_by_one, engine.evaluate(frames), strict=True):
            assert abs(single.energy - together.energy) < 1e-4 * max(1.0, abs(single.energy))
            np.testing.assert_allclose(single.forces, together.forces, atol=self.force_tolerance)
            assert (single.virial is None) == (together.virial is None)
            if single.virial is not None and together.virial is not None:
                np.testing.assert_allclose(single.virial, together.virial, atol=self.virial_tolerance)

    def test_inputs_are_not_modified(self, engine: Evaluator) -> None:
        frames = self.frames()
        before = [frame.content_hash() for frame in frames]
        engine.evaluate(frames)
        assert [frame.content_hash() for frame in frames] == before

    def test_nothing_in_nothing_out(self, engine: Evaluator) -> None:
        assert engine.evaluate([]) == []

    def test_a_frame_that_cannot_be_evaluated_is_an_engine_error(self, engine: Evaluator) -> None:
        frames = [*self.frames(), foreign_frame(self.frames()[0])]
        try:
            labels = engine.evaluate(frames)
        except EngineError as error:
            assert re.search(rf"\bframe {len(frames) - 1}\b", str(error)), f"which frame it was is not said: {error}"
        else:
            assert labels[-1].problem(frames[-1]) is None

    def test_forces_are_minus_the_gradient(self, engine: Evaluator) -> None:
        frame = self.frames()[0]
        [labels] = engine.evaluate([frame])
        for atom, axis in ((0, 0), (min(3, frame.natoms - 1), 1), (frame.natoms - 1, 2)):
            low, high = engine.evaluate([_displaced(frame, atom, axis, -STEP), _displaced(frame, atom, axis, STEP)])
            slope = (high.energy - low.energy) / (2 * STEP)
            assert abs(labels.forces[atom, axis] + slope) < self.force_tolerance * max(1.0, abs(slope))

    def test_virial_is_minus_the_strain_derivative(self, engine: Evaluator) -> None:
        frame = self.frames()[0]
        [labels] = engine.evaluate([frame])
        if labels.virial is None:
            return  # that it should be there is said by another test
        for row, column in ((0, 0), (1, 1), (0, 2)):
            low, high = engine.evaluate([_strained(frame, row, column, -STEP), _strained(frame, row, column, STEP)])
            slope = (high.energy - low.energy) / (2 * STEP)
            virial = 0.5 * (labels.virial[row, column] + labels.virial[column, row])
            assert abs(virial + slope) < self.virial_tolerance * max(1.0, abs(slope))

    def test_magnetic_forces_are_minus_the_gradient(self, engine: Evaluator) -> None:
        frame = self.frames()[0]
        [labels] = engine.evaluate([frame])
        if labels.force_mag is None or frame.spins is None:
            return
        moved = [int(atom) for atom in np.flatnonzero(labels.force_mag.any(axis=1))[[0, -1]]]
        for atom, axis in ((moved[0], 0), (moved[0], 2), (moved[1], 1)):
            low, high = engine.evaluate([_turned_spin(frame, atom, axis, -STEP), _turned_spin(frame, atom, axis, STEP)])
            slope = (high.energy - low.energy) / (2 * STEP)
            assert abs(labels.force_mag[atom, axis] + slope) < self.force_tolerance * max(1.0, abs(slope))


class LabelerConformance:
    """What any Labeler must hold. Subclasses define the fixture `engine`, and `good_frames` if Cu does not suit."""

    has_virial = True
    """Labels of periodic frames have a virial."""
    knows_every_element = True
    """No element is refused by the settings; the code itself may still fail."""

    def good_frames(self) -> Sequence[Frame]:
        """Frames that the engine can label."""
        return copper_frames()[:2]

    def test_every_frame_gets_a_good_label(self, engine: Labeler, tmp_path: Path) -> None:
        frames = self.good_frames()
        for frame, labels in zip(frames, engine.label(frames, tmp_path), strict=True):
            assert isinstance(labels, Labels), labels
            assert labels.problem(frame) is None
            assert_virial(frame, labels, self.has_virial)

    def test_a_foreign_element_is_a_failure_and_stops_no_other_frame(self, engine: Labeler, tmp_path: Path) -> None:
        good = self.good_frames()[0]
        first, foreign, last = engine.label([good, foreign_frame(good), good], tmp_path)
        assert isinstance(first, Labels), first
        assert isinstance(last, Labels), last
        np.testing.assert_allclose(first.forces, last.forces, atol=1e-6)
        if isinstance(foreign, LabelFailure):
            assert foreign.reason
        else:
            assert self.knows_every_element, "a frame with an element that the settings do not know got labels"

    def test_frames_are_not_modified_and_files_lie_below_work(self, engine: Labeler, tmp_path: Path) -> None:
        good = self.good_frames()[0]
        (tmp_path / "tries").mkdir()
        before, files = good.content_hash(), set(tmp_path.iterdir())
        engine.label([good], tmp_path / "tries")
        assert good.content_hash() == before
        assert set(tmp_path.iterdir()) == files


def assert_virial(frame: Frame, labels: Labels, expected: bool) -> None:
    """Periodic frames have a virial unless the engine says that it has none."""
    if frame.pbc and expected:
        assert labels.virial is not None, "a periodic frame has no virial, and gives_virial of the settings is true"


def foreign_frame(frame: Frame) -> Frame:
    """The frame with lawrencium, which no code knows, as its last atom."""
    numbers = frame.numbers.copy()
    numbers[-1] = LAWRENCIUM
    return replace(frame, numbers=numbers)


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


def _turned_spin(frame: Frame, atom: int, axis: int, by: float) -> Frame:
    spins = np.array(frame.spins)
    spins[atom, axis] += by
    return frame.with_fields(spin=spins)


def _strained(frame: Frame, row: int, column: int, by: float) -> Frame:
    """The frame under a symmetric strain whose (row, column) element is `by`."""
    strain = np.zeros((3, 3))
    strain[row, column] += by / 2
    strain[column, row] += by / 2
    deformation = np.eye(3) + strain
    return replace(frame, positions=frame.positions @ deformation, cell=frame.cell @ deformation)
