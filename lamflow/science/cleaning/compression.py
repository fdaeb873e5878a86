"""Subsets of points that say nearly as much as all of them."""

from __future__ import annotations

import numpy as np

from lamflow.data.frames import Floats, Ints

SAMPLE = 500
"""Points whose distances tell how wide a kernel must be."""
BLOCK = 2000


def bandwidth(points: Floats) -> float:
    """Width of the Gaussian kernel: the median distance of a point to its nearest neighbour, not below 10⁻⁶."""
    sample = points[np.linspace(0, len(points) - 1, min(len(points), SAMPLE)).astype(int)]
    squared = ((sample[:, None] - sample[None]) ** 2).sum(axis=-1)
    np.fill_diagonal(squared, np.inf)
    return max(float(np.sqrt(np.median(squared.min(axis=1)))), 1e-6) if len(sample) > 1 else 1.0


def entropy(points: Floats, width: float | None = None) -> float:
    """Information entropy of points (C, D), nats: −⟨log 1/C Σ_j K(x_i, x_j)⟩ with a Gaussian kernel.

    Schwalbe-Koda et al., Nat. Commun. 16, 4014 (2025); 0 for points that coincide, log C for points far apart. The
    width is that of all points unless it is given.
    """
    if not len(points):
        return 0.0
    width = bandwidth(points) if width is None else width
    sums = np.concatenate([_kernel(points[start : start + BLOCK], points, width).sum(axis=1)
                           for start in range(0, len(points), BLOCK)])  # fmt: skip
    return float(-np.log(sums / len(points)).mean())


def by_entropy(points: Floats, count: int) -> Ints:
    """Numbers of `count` points, each the one that a kernel density of those chosen before knows least of.

    The greedy choice of the largest δH(x | chosen) = −log Σ K(x, y), as in QUESTS' minimum set coverage: outliers stay,
    crowds are thinned. Begins with the point that is densest among all.
    """
    width = bandwidth(points)
    density = np.full(len(points), 0.0)
    probe = points[np.linspace(0, len(points) - 1, min(len(points), SAMPLE)).astype(int)]
    chosen = [int(_kernel(points, probe, width).sum(axis=1).argmax())]
    distance = np.full(len(points), np.inf)
    for _ in range(count - 1):
        last = points[chosen[-1]][None]
        density += _kernel(points, last, width)[:, 0]
        distance = np.minimum(distance, ((points - last) ** 2).sum(axis=1))
        free = np.ones(len(points), dtype=bool)
        free[chosen] = False
        # beyond the kernel's reach all densities are zero: there the farthest is the least known
        chosen.append(int(np.argmax(np.where(free, -density * 1e6 + 1e-9 * np.sqrt(distance), -np.inf))))
    return np.sort(np.array(chosen, dtype=np.int64))


def by_clusters(points: Floats, count: int, seed: int) -> Ints:
    """Numbers of about `count` points, the one nearest to the middle of each of as many clusters, as DIRECT does.

    Standardised, reduced to the principal components with eigenvalues above 1, clustered by BIRCH (J. Qi et al., npj
    Comput. Mater. 10, 43 (2024)). Raises InputError without scikit-learn.
    """
    from lamflow.data.sources.packages import needed

    cluster = needed("sklearn.cluster", "for compress.method: direct")
    scaled = (points - points.mean(axis=0)) / np.maximum(points.std(axis=0), 1e-12)
    values, vectors = np.linalg.eigh(np.cov(scaled.T))
    reduced = scaled @ vectors[:, values > min(1.0, float(values.max()) * 0.999)]
    labels = cluster.Birch(n_clusters=count, threshold=0.05).fit_predict(reduced)
    del seed
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        middle = reduced[members].mean(axis=0)
        chosen.append(int(members[((reduced[members] - middle) ** 2).sum(axis=1).argmin()]))
    return np.sort(np.array(chosen, dtype=np.int64))


def every_nth(trajectory: Ints, n: int, ends: int) -> Ints:
    """Numbers of the first and last `ends` frames, and of every `n`-th, of each run of frames of one trajectory."""
    kept = []
    edges = np.flatnonzero(np.diff(trajectory)) + 1
    for members in np.split(np.arange(len(trajectory)), edges):
        kept.append(np.unique(np.concatenate([members[:ends], members[-ends:], members[::n]])))
    return np.concatenate(kept) if len(trajectory) else np.zeros(0, dtype=np.int64)


def _kernel(first: Floats, second: Floats, width: float) -> Floats:
    squared = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None] - 2 * first @ second.T
    return np.asarray(np.exp(-np.maximum(squared, 0.0) / (2 * width**2)))
