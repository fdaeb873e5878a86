"""Subsets of points that say nearly as much as all of them."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from lamflow.data.frames import Floats, Ints

SAMPLE = 500
"""Points whose distances tell how wide a kernel must be."""
BLOCK = 2000
"""Points that are compared with each other at once."""
OTHERS = 5000
"""Points, drawn at random, that tell how many lie around a point in other blocks."""
MIDDLE = (0.3, 0.7)
"""Where blocks may be cut in two."""
COINCIDE = 1e-14
"""Squared distance, relative to that of the farthest point, below which points are the same."""


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
    sums = np.concatenate([_kernel(_squared(points[start : start + BLOCK], points), width).sum(axis=1)
                           for start in range(0, len(points), BLOCK)])  # fmt: skip
    return float(-np.log(sums / len(points)).mean())


def neighbourhoods(points: Floats) -> list[Ints]:
    """Numbers of the points in blocks of at most BLOCK: parts of parts along the direction in which they vary most, cut
    at the widest gap near the middle."""
    waiting, blocks = [np.arange(len(points))], list[Ints]()
    while waiting:
        members = waiting.pop()
        if len(members) <= BLOCK:
            blocks.append(np.sort(members))
            continue
        own = points[members]
        along = own @ np.linalg.eigh(np.atleast_2d(np.cov(own.T)))[1][:, -1]
        order = np.argsort(along, kind="stable")
        low, high = (int(part * len(members)) for part in MIDDLE)
        cut = low + 1 + int(np.diff(along[order[low:high]]).argmax())
        waiting += [members[order[:cut]], members[order[cut:]]]
    return blocks


def by_entropy(points: Floats, count: int, seed: int) -> Ints:
    """Numbers of `count` points, each the one that a kernel density of those chosen before knows least of.

    The greedy choice of the largest δH(x | chosen) = −log Σ K(x, y), as in QUESTS' minimum set coverage: outliers stay,
    crowds are thinned. Begins with the point that is densest among all.

    Exact for at most BLOCK points. Of more, blocks of neighbours are chosen from side by side, the least known point of
    all blocks first; other blocks are taken to have as large a part of their points around x chosen as its own block,
    and OTHERS points tell how many these are. One point of every block is chosen whatever the others are.
    """
    width, known = bandwidth(points), np.empty(len(points))
    others = np.random.default_rng(seed).permutation(len(points))[:OTHERS]
    for members in neighbourhoods(points):
        block, elsewhere = points[members], points[np.setdiff1d(others, members)]
        squared = _squared(block, block)
        kernel = _kernel(squared, width)
        outside = _kernel(_squared(block, elsewhere), width).sum(axis=1) * (len(points) / len(others))
        known[members] = _known(squared, kernel, 1 + outside / kernel.sum(axis=1))
    return np.sort(np.argsort(known, kind="stable")[:count])


def _known(squared: Floats, kernel: Floats, crowded: Floats) -> Floats:
    """(B,) how well each point of a block was known when it was chosen; the least known point is chosen next.

    crowded  (B,) how many times as many points are around each as the block has
    """
    known, density, nearest = np.empty(len(kernel)), np.zeros(len(kernel)), np.full(len(kernel), np.inf)
    chosen, least = int(kernel.sum(axis=1).argmax()), -np.inf
    for _ in range(len(kernel)):
        known[chosen] = least
        density += kernel[chosen]
        np.minimum(nearest, squared[chosen], out=nearest)
        density[chosen] = np.inf
        # beyond the kernel's reach all densities are zero: there the farthest is the least known
        value = 1e6 * crowded * density - 1e-9 * np.sqrt(nearest)
        chosen = int(value.argmin())
        least = float(value[chosen])
    return known


def by_distance(points: Floats, count: int) -> Ints:
    """Numbers of at most `count` points, each the farthest from all chosen before it; none that coincides with another.

    Begins with the point that is farthest from the mean (T. F. Gonzalez, Theor. Comput. Sci. 38, 293 (1985)). Exact for
    at most BLOCK points. Of more, blocks of neighbours are chosen from side by side, the farthest point of all blocks
    first; what was chosen in other blocks is not seen.
    """
    away = np.zeros(len(points))
    for members in neighbourhoods(points):
        block = points[members]
        away[members] = _away(block - block.mean(axis=0))
    chosen = np.argsort(-away, kind="stable")[:count]
    return np.sort(chosen[away[chosen] > 0])


def _away(block: Floats) -> Floats:
    """(B,) squared distance of each point from the nearest chosen before it; 0 where they coincide."""
    squared, away = _squared(block, block), np.zeros(len(block))
    nearest, size = np.full(len(block), np.inf), (block**2).sum(axis=1)
    chosen, farthest = int(size.argmax()), np.inf
    while farthest > COINCIDE * max(float(size.max()), 1e-300):
        away[chosen] = farthest
        np.minimum(nearest, squared[chosen], out=nearest)
        nearest[chosen] = -1.0
        chosen = int(nearest.argmax())
        farthest = float(nearest[chosen])
    return away


def by_clusters(points: Floats, count: int) -> Ints:
    """Numbers of about `count` points, the one nearest to the middle of each of as many clusters, as DIRECT does.

    Standardised, reduced to the principal components with eigenvalues above 1 (J. Qi et al., npj Comput. Mater. 10, 43
    (2024)), and joined by Ward's rule, the last step of BIRCH: those first that lie closest. Exact for at most BLOCK
    points; of more, only points in one block of neighbours are joined, up to one height in all blocks.
    """
    scaled = (points - points.mean(axis=0)) / np.maximum(points.std(axis=0), 1e-12)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(scaled.T)))
    reduced = scaled @ vectors[:, values > min(1.0, float(values.max()) * 0.999)]
    blocks = neighbourhoods(reduced)
    trees = [linkage(reduced[members], "ward") if len(members) > 1 else np.zeros((0, 4)) for members in blocks]
    heights = np.sort(np.concatenate([tree[:, 2] for tree in trees]))
    height = heights[min(len(points) - count, len(heights)) - 1] if count < len(points) else -1.0
    chosen = [
        middle
        for members, tree in zip(blocks, trees, strict=True)
        for middle in members[_middles(reduced[members], tree, height)]
    ]
    return np.sort(np.array(chosen, dtype=np.int64))


def _middles(block: Floats, tree: Floats, height: float) -> list[int]:
    """The point nearest to the middle of each cluster of a block that is joined up to a height."""
    labels = fcluster(tree, height, "distance") if len(block) > 1 else np.ones(1, dtype=np.int64)
    order = np.argsort(labels, kind="stable")
    found = []
    for members in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        middle = block[members].mean(axis=0)
        found.append(int(members[((block[members] - middle) ** 2).sum(axis=1).argmin()]))
    return found


def every_nth(trajectory: Ints, n: int, ends: int) -> Ints:
    """Numbers of the first and last `ends` frames, and of every `n`-th, of each run of frames of one trajectory."""
    kept = []
    edges = np.flatnonzero(np.diff(trajectory)) + 1
    for members in np.split(np.arange(len(trajectory)), edges):
        kept.append(np.unique(np.concatenate([members[:ends], members[-ends:], members[::n]])))
    return np.concatenate(kept) if len(trajectory) else np.zeros(0, dtype=np.int64)


def _squared(first: Floats, second: Floats) -> Floats:
    """(C, E) squared distances."""
    squared = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None] - 2 * first @ second.T
    return np.asarray(np.maximum(squared, 0.0))


def _kernel(squared: Floats, width: float) -> Floats:
    return np.asarray(np.exp(-squared / (2 * width**2)))
