"""What a label of a frame will cost, by labels that are finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lamflow.data.frames import Floats
from lamflow.data.label_work import LabelCost, LabelWork

FEWEST = 3
DRAWS = 4000
"""Of the posterior, for sums of labels; always the same ones."""
SCATTER, BELIEF = 0.4, 1.0
"""Standard deviation of the logarithm of the seconds before labels tell, and so many labels that this counts as."""
TIGHTNESS = 0.2
"""The scatter at which coefficients are believed to lie as far from their means as SPREADS says."""
MEANS, SPREADS = (0.0, 2.0, 0.0, 0.7), (10.0, 1.0, 1.0, 1.0)
"""Of the logarithm of the seconds: a constant, what it grows by with the logarithms of the number of atoms (between
linear and cubic codes) and of the volume (fewer k-points), and with magnetism (two spins). Elements: 0 ± 1."""


@dataclass(frozen=True, eq=False)
class LabelCosts:
    """A linear model of the logarithm of the seconds with its uncertainty (A. Gelman et al., Bayesian Data Analysis,
    ch. 14: normal-inverse-gamma), so that few labels, and labels unlike those that are finished, make wide bounds.

    elements     chemical symbols of finished labels
    coefficient  (P,)    of the columns of `_columns`
    root         (P, P)  times the scatter and normal numbers: how far coefficients may be off
    scatter      of the logarithm about the model
    freedom      degrees of freedom with which the scatter is known
    """

    elements: tuple[str, ...]
    coefficient: Floats
    root: Floats
    scatter: float
    freedom: float

    @property
    def exponent(self) -> float:
        """What the seconds grow by with the number of atoms, at a constant volume."""
        return float(self.coefficient[1])

    @classmethod
    def fitted(cls, labels: Sequence[LabelCost]) -> LabelCosts | None:
        """None for too few labels to tell."""
        counted = [label for label in labels if label.seconds > 0 and label.natoms > 0]
        if len(counted) < FEWEST:
            return None
        elements = tuple(sorted({element for label in counted for element in label.composition}))
        x, y = _columns(counted, elements), np.log([label.seconds for label in counted])
        mean = np.array([*MEANS, *np.zeros(len(elements))])
        prior = np.diag((TIGHTNESS / np.array([*SPREADS, *np.ones(len(elements))])) ** 2)
        precision = prior + x.T @ x
        coefficient = np.linalg.solve(precision, prior @ mean + x.T @ y)
        left, moved = y - x @ coefficient, coefficient - mean
        freedom = BELIEF + len(counted)
        variance = (BELIEF * SCATTER**2 + left @ left + moved @ prior @ moved) / freedom
        root = np.linalg.inv(np.linalg.cholesky(precision)).T
        return cls(elements, coefficient, root, float(np.sqrt(variance)), freedom)

    def seconds(self, frames: Sequence[LabelWork]) -> Floats:
        """Expected seconds (F,) of labels of frames."""
        return np.asarray(np.exp(_columns(frames, self.elements) @ self.coefficient + self.scatter**2 / 2))

    def at_most(self, frames: Sequence[LabelWork], risk: float = 0.05) -> Floats:
        """Seconds (F,) that the first 1, 2, … of these labels take together, but for this probability."""
        rng, x = np.random.default_rng(0), _columns(frames, self.elements)
        scatter = self.scatter * np.sqrt(self.freedom / rng.chisquare(self.freedom, (DRAWS, 1)))
        coefficient = self.coefficient + scatter * (rng.normal(size=(DRAWS, len(self.coefficient))) @ self.root.T)
        unknown = np.array([1 - sum(map(_of(frame), self.elements)) for frame in frames])
        logarithm = (
            coefficient @ x.T + scatter * rng.normal(size=(DRAWS, len(x))) + rng.normal(size=(DRAWS, 1)) * unknown
        )
        return np.asarray(np.quantile(np.exp(logarithm).cumsum(axis=1), 1 - risk, axis=0))


def _columns(frames: Sequence[LabelWork], elements: Sequence[str]) -> Floats:
    """(F, P): one, logarithms of atoms and volume, magnetism, and the fraction of each element."""
    rows = [
        [
            1.0, np.log(max(frame.natoms, 1)), np.log(frame.volume) if frame.volume else 0.0, float(frame.magnetic),
            *map(_of(frame), elements),
        ]
        for frame in frames
    ]  # fmt: skip
    return np.array(rows, dtype=np.float64).reshape(-1, len(MEANS) + len(elements))


def _of(frame: LabelWork) -> Callable[[str], float]:
    """The fraction of an element in a frame."""
    return lambda element: frame.composition.get(element, 0) / max(sum(frame.composition.values()), 1)
