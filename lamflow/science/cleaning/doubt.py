"""How far off a model may be on each frame, by what it has wrong there besides."""

from __future__ import annotations

import numpy as np

from lamflow.data.features import Features
from lamflow.data.frames import Floats
from lamflow.data.opinions import Opinions
from lamflow.science.cleaning.energies import FAR, HUBER, beyond_elements, robust_sigma

WIDEST = 10.0
"""Times the error on frames that a model knows; with a larger one anything would be allowed."""
FRAMES = 8
"""Of an element, from which on they say how well a model knows it."""
ERRORS = 3.0
"""Standard errors by which the scatter of an element must exceed that of all."""
LEAST = np.array([0.015, 0.015, 0.1])
"""eV/atom, eV/Å and GPa; models differ from any method by as much."""
NORMAL = 1.4826
"""Standard deviation of a normal distribution over the median of its absolute values."""


def energy_beyond(features: Features, opinion: Opinions) -> Floats:
    """(C,) energy of the labels beyond the model's, energies of elements fitted, eV/atom."""
    return beyond_elements(features, features.energy - opinion.energy)[0]


def expected_of(features: Features, opinion: Opinions) -> Floats:
    """(C, 3) robust standard deviations to be expected of what a model says of energy, forces and stress.

    In eV/atom, eV/Å and GPa, the last two root mean squares of the components; larger where the model's own forces or
    stress are, whatever the labels say.
    """
    columns = [
        expected_errors(features, energy_beyond(features, opinion), np.zeros((len(features), 0))),
        expected_errors(features, opinion.force_error, opinion.force_model[:, None]),
        expected_errors(features, np.nan_to_num(opinion.stress_error), np.nan_to_num(opinion.stress_model)[:, None]),
    ]
    return np.asarray(np.maximum(np.stack(columns, axis=1), LEAST))


def expected_errors(features: Features, residual: Floats, doubts: Floats) -> Floats:
    """(C,) robust standard deviation to be expected of a model's `residual` (C,) energy of each frame, eV/atom.

    doubts  (C, K) by how much the model's other answers differ from the labels, each zero or above

    Errors of a model are no normal distribution: on structures that it does not know, its forces and its stress are
    wrong, too, and on others all fit. So the size of the residual is regressed on the doubts, weighted as Huber does;
    an element whose frames scatter more than that is known less well, and so are all its frames. A shift of the label
    alone leaves forces and stress as they are, and is judged by what is expected of a frame that the model knows.
    """
    size = np.abs(residual)
    design = np.hstack([np.ones((len(size), 1)), doubts])
    near = size < FAR * max(robust_sigma(residual), 1e-9)  # others are no errors of a model
    weight, solution = near.astype(np.float64), np.zeros(design.shape[1])
    for _ in range(10):
        gram = design.T @ (weight[:, None] * design)
        solution = np.linalg.lstsq(gram, design.T @ (weight * size), rcond=1e-10)[0]
        rest = size - design @ solution
        weight = near * np.minimum(1.0, HUBER * max(robust_sigma(rest), 1e-9) / np.maximum(np.abs(rest), 1e-12))
    solution = np.maximum(solution, 0.0)
    known = max(float(solution[0]), 0.3 * float(np.median(size)), 1e-9)
    scale = np.clip(design @ solution, known, WIDEST * known)
    ratio = size / scale
    middle = max(float(np.median(ratio)), 1e-9)
    return np.asarray(NORMAL * middle * scale * _by_elements(features, ratio / middle))


def _by_elements(features: Features, ratio: Floats) -> Floats:
    """(C,) the largest median of `ratio` (C,), which is 1 for all frames, among a frame's elements; 1 at least."""
    has = features.formulas > 0
    factor = np.ones(len(features))
    for element in np.flatnonzero(has[np.unique(features.formula)].any(axis=0)):
        mine = has[features.formula, element]
        if mine.sum() < FRAMES:
            continue
        median = float(np.median(ratio[mine]))
        if median > 1 + ERRORS / np.sqrt(mine.sum()):
            factor[mine] = np.maximum(factor[mine], median)
    return factor
