"""Error bounds of one model: fitted to what it was trained on, calibrated on what was held out, kept in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lamflow.config.select import EmbeddingScore
from lamflow.data import Frame, Labels
from lamflow.data.arrays import read_arrays
from lamflow.data.frames import Floats, Ints
from lamflow.data.layout import BOUNDS
from lamflow.engines.protocol import EmbedsAtoms, Evaluator
from lamflow.errors import EngineError
from lamflow.science.embedding import ErrorBounds

FRAMES = 500
"""Training frames that the distance is fitted to, at most."""


def write_bounds(
    folder: Path, head: str, model: Evaluator, settings: EmbeddingScore, training: Sequence[Frame],
    heldout: Sequence[tuple[Frame, Labels, Labels]],
) -> None:  # fmt: skip
    """Fit and calibrate the bounds of a model with one of its heads.

    heldout  frames, what the model predicts, and what is true
    """
    fitted = ErrorBounds.fitted(*_atoms(model, training, settings))
    numbers, features = _atoms(model, [frame for frame, _, _ in heldout], settings)
    errors = [np.linalg.norm(predicted.forces - true.forces, axis=1) for _, predicted, true in heldout]
    calibrated = fitted.calibrated(fitted.distances(numbers, features), np.concatenate(errors), settings.coverage)
    np.savez(folder / _name(head), **calibrated.arrays())  # type: ignore[arg-type]


def bounded(
    folder: Path, head: str, model: Evaluator, settings: EmbeddingScore, frames: Sequence[Frame]
) -> list[Labels]:
    """What could be true at worst, as far as the bounds in the model's folder say: every force off by its bound."""
    bounds = ErrorBounds.of_arrays(read_arrays(folder / _name(head)))
    possible = []
    for frame, labels, features in zip(frames, model.evaluate(frames), _embedded(model, frames, settings), strict=True):
        off = bounds.bounds(frame.numbers, features)[:, None] * np.array([1.0, 0.0, 0.0])
        possible.append(replace(labels, forces=labels.forces + off, virial=None))
    return possible


def _name(head: str) -> str:
    return f"{head}-{BOUNDS}" if head else BOUNDS


def _embedded(model: Evaluator, frames: Sequence[Frame], settings: EmbeddingScore) -> list[Floats]:
    if not isinstance(model, EmbedsAtoms):
        raise EngineError("select.score: embedding needs models that say their features of atoms; these do not")
    return model.embed(frames, settings.features)


def _atoms(model: Evaluator, frames: Sequence[Frame], settings: EmbeddingScore) -> tuple[Ints, Floats]:
    """Atomic numbers (A,) and features (A, D) of all atoms of the frames."""
    return np.concatenate([frame.numbers for frame in frames]), np.concatenate(_embedded(model, frames, settings))
