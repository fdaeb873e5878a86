"""How wrong one model may be, told by how far an atom's surroundings are from those that it was trained on.

Distance: Mahalanobis' in the model's own features of atoms, around the mean of each element, with the covariance
shrunk as Y. Chen et al., IEEE Trans. Signal Process. 58, 5016 (2010) do (OAS). Calibration: split conformal prediction
with the distance as the scale (Y. Hu et al., Mach. Learn.: Sci. Technol. 3, 045028 (2022)): of atoms like the held-out
ones, the wanted fraction has an error below its bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamflow.data.frames import Floats, Ints

SMALLEST = 1e-12
"""Relative variance below which a direction of the features carries nothing."""


@dataclass(frozen=True, eq=False)
class ErrorBounds:
    """Bounds of the error of the force on an atom, for E elements and D features.

    numbers  (E,)    atomic numbers
    means    (E, D)  of the features of each element in the training data
    whiten   (D, K)  makes the features' covariance the unit matrix
    scale    ()      eV/Å a unit of distance
    """

    numbers: Ints
    means: Floats
    whiten: Floats
    scale: float = 1.0

    @classmethod
    def fitted(cls, numbers: Ints, features: Floats) -> ErrorBounds:
        """From the atoms of the training data: numbers (A,) and features (A, D). Not calibrated yet."""
        elements = np.unique(numbers)
        means = np.array([features[numbers == element].mean(axis=0) for element in elements])
        centred = features - means[np.searchsorted(elements, numbers)]
        values, vectors = np.linalg.eigh(shrunk_covariance(centred))
        kept = values > SMALLEST * values.max()
        return cls(elements, means, vectors[:, kept] / np.sqrt(values[kept]))

    def distances(self, numbers: Ints, features: Floats) -> Floats:
        """Of atoms (N,) with features (N, D); about 1 for atoms like those of the training data.

        An element that these had not is as far away as from the nearest of theirs.
        """
        offsets = np.stack([(features - mean) @ self.whiten for mean in self.means])
        each = np.sqrt((offsets**2).mean(axis=-1))
        place = np.searchsorted(self.numbers, numbers).clip(max=len(self.numbers) - 1)
        known = self.numbers[place] == numbers
        return np.asarray(np.where(known, each[place, np.arange(len(numbers))], each.min(axis=0)))

    def calibrated(self, distances: Floats, errors: Floats, coverage: float) -> ErrorBounds:
        """With a scale such that `coverage` of atoms like these have smaller errors (eV/Å) than their bounds."""
        return ErrorBounds(self.numbers, self.means, self.whiten, conformal_scale(distances, errors, coverage))

    def bounds(self, numbers: Ints, features: Floats) -> Floats:
        """Of the error of the force on each atom, (N,) in eV/Å."""
        return np.asarray(self.scale * self.distances(numbers, features))

    def arrays(self) -> dict[str, Floats | Ints]:
        """To be stored; `of_arrays` reads them."""
        return {"numbers": self.numbers, "means": self.means, "whiten": self.whiten, "scale": np.array(self.scale)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Any]) -> ErrorBounds:
        """What `arrays` has given."""
        return cls(arrays["numbers"].astype(np.int64), arrays["means"], arrays["whiten"], float(arrays["scale"]))


def shrunk_covariance(centred: Floats) -> Floats:
    """Covariance (D, D) of centred features (A, D), shrunk towards a multiple of the unit matrix (OAS)."""
    count, width = centred.shape
    covariance = centred.T @ centred / count
    trace, square = np.trace(covariance), (covariance**2).sum()
    excess = (count + 1 - 2 / width) * (square - trace**2 / width)
    shrinkage = 1.0 if excess <= 0 else min(1.0, ((1 - 2 / width) * square + trace**2) / excess)
    return np.asarray((1 - shrinkage) * covariance + shrinkage * trace / width * np.eye(width))


def conformal_scale(distances: Floats, errors: Floats, coverage: float) -> float:
    """The factor that makes bounds of distances (A,), so that `coverage` of atoms like these have smaller errors (A,).

    The ⌈(A + 1) coverage⌉-th smallest ratio; the largest where there are too few atoms for that.
    """
    ratios = np.sort(errors / np.maximum(distances, np.finfo(float).tiny))
    rank = int(np.ceil((len(ratios) + 1) * coverage))
    return float(ratios[min(rank, len(ratios)) - 1])
