"""How ions move: the distribution of their displacements, how far it is from a Gaussian, and jumps between sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lamflow.data.frames import Floats

LAGS = 4
"""Times at which the van Hove function is kept."""
BINS, RANGE = 100, 10.0
"""Of the distances, up to so many Å."""


@dataclass(frozen=True, eq=False)
class Hops:
    """What ions of one simulation do.

    times      (LAGS,)       ps
    van_hove   (LAGS, BINS)  4πr² G_s(r, t), 1/Å: the probability that an ion has moved by r
    gaussian   (LAGS,)       α₂ = 3⟨r⁴⟩/5⟨r²⟩² - 1: 0 for a walk, positive for ions that wait and jump
    jumps      how many jumps all ions made together, `square` their mean square length in Å²
    ion_time   how long all ions were followed, together, ps
    """

    times: Floats
    van_hove: Floats
    gaussian: Floats
    jumps: int
    square: float
    ion_time: float


def hops(paths: Floats, interval: float, distance: float) -> Hops:
    """Of paths (F, N, 3) in Å without drift, frames every `interval` ps.

    An ion jumps when it is `distance` Å away from where it was at rest: there it rests from then on.
    """
    count = len(paths)
    lags = np.unique(np.maximum(1, np.round(np.geomspace(0.01, 0.4, LAGS) * count))).astype(np.int64)
    edges = np.linspace(0, RANGE, BINS + 1)
    functions, gaussian = [], []
    for lag in lags:
        squares = ((paths[lag:] - paths[:-lag]) ** 2).sum(axis=2).ravel()
        functions.append(np.histogram(np.sqrt(squares), edges)[0] / (len(squares) * np.diff(edges)))
        gaussian.append(3 * np.mean(squares**2) / (5 * np.mean(squares) ** 2) - 1 if squares.any() else 0.0)
    number, square = _jumps(paths, distance)
    time = interval * (count - 1) * paths.shape[1]
    return Hops(
        np.asarray(lags * interval, dtype=np.float64), np.array(functions), np.array(gaussian), number, square, time
    )


def _jumps(paths: Floats, distance: float) -> tuple[int, float]:
    """How many jumps there are, and their mean square length in Å²."""
    sites, number, total = paths[0].copy(), 0, 0.0
    for positions in paths[1:]:
        squares = ((positions - sites) ** 2).sum(axis=1)
        gone = squares > distance**2
        number, total = number + int(gone.sum()), total + float(squares[gone].sum())
        sites[gone] = positions[gone]
    return number, total / number if number else 0.0
