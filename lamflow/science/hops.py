"""How ions move: the distribution of their displacements, how far it is from a Gaussian, and jumps between sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lamflow.data.frames import Floats

LAGS = 4
"""Times at which the van Hove function is kept."""
BINS, RANGE = 100, 10.0
"""Of the distances, up to so many Å."""
REST = 0.3
"""ps that an ion stays in a place which is a site; it flies from one to another in less."""
STILL = 1 / 3
"""Root mean square distance from the middle of a site, in units of the least length of a jump."""


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

    An ion jumps when it comes to rest `distance` Å away from where it was at rest: it stays near one place for 0.3 ps.
    """
    count = len(paths)
    lags = np.unique(np.maximum(1, np.round(np.geomspace(0.01, 0.4, LAGS) * count))).astype(np.int64)
    edges = np.linspace(0, RANGE, BINS + 1)
    functions, gaussian = [], []
    for lag in lags:
        squares = ((paths[lag:] - paths[:-lag]) ** 2).sum(axis=2).ravel()
        functions.append(np.histogram(np.sqrt(squares), edges)[0] / (len(squares) * np.diff(edges)))
        gaussian.append(3 * np.mean(squares**2) / (5 * np.mean(squares) ** 2) - 1 if squares.any() else 0.0)
    number, square = _jumps(paths, distance, max(1, round(REST / interval)))
    time = interval * (count - 1) * paths.shape[1]
    return Hops(
        np.asarray(lags * interval, dtype=np.float64), np.array(functions), np.array(gaussian), number, square, time
    )


def _jumps(paths: Floats, distance: float, window: int) -> tuple[int, float]:
    """How many jumps there are, and their mean square length in Å²; ions rest for `window` frames at least."""
    window = min(window, len(paths))
    sums, squares = (
        np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
        for values in (paths, (paths**2).sum(axis=2))
    )
    middles = (sums[window:] - sums[:-window]) / window
    spread = (squares[window:] - squares[:-window]) / window - (middles**2).sum(axis=2)
    at_rest = spread <= (STILL * distance) ** 2
    later = np.minimum(np.arange(len(middles)) + window // 2, len(middles) - 1)  # the flight is over by then
    sites, number, total = middles[0].copy(), 0, 0.0
    for frame in range(1, len(middles)):
        settled = np.where(at_rest[later[frame]][:, None], middles[later[frame]], middles[frame])
        lengths = ((settled - sites) ** 2).sum(axis=1)
        gone = at_rest[frame] & (lengths > distance**2)
        number, total = number + int(gone.sum()), total + float(lengths[gone].sum())
        sites[gone] = settled[gone]
    return number, total / number if number else 0.0
