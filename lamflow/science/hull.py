"""The convex hull of enthalpy over composition, for any number of elements and any set of end members."""

from __future__ import annotations

import numpy as np

from lamflow.data.frames import Floats


def above_hull(fractions: Floats, enthalpies: Floats, reference: tuple[Floats, Floats] | None = None) -> Floats:
    """How far each entry lies above the convex hull, (n,) in eV/atom.

    fractions   (n, k) fraction of each of k elements in n entries; rows add up to 1
    enthalpies  (n,) eV/atom
    reference   fractions and enthalpies of the entries that span the hull; the entries themselves if absent

    The hull at a composition is the lowest enthalpy of any mixture of entries with that composition, a linear program;
    so pure elements need not be among the entries. An entry outside of what the reference spans gets NaN.
    """
    from scipy.optimize import linprog

    known, values = reference if reference is not None else (fractions, enthalpies)
    best: dict[tuple[float, ...], float] = {}
    for fraction, value in zip(np.round(known, 9).tolist(), values.tolist(), strict=True):
        key = tuple(fraction)
        if np.isfinite(value) and value < best.get(key, np.inf):
            best[key] = value
    if not best:
        return np.full(len(fractions), np.nan)
    corners, costs = np.array(list(best)), np.array(list(best.values()))
    levels: dict[tuple[float, ...], float] = {}
    heights = np.full(len(fractions), np.nan)
    for index, fraction in enumerate(np.round(fractions, 9)):
        key = tuple(fraction.tolist())
        if key not in levels:
            mix = linprog(costs, A_eq=corners.T, b_eq=fraction, bounds=(0, None), method="highs")
            levels[key] = float(mix.fun) if mix.success else np.nan
        heights[index] = enthalpies[index] - levels[key]
    return heights
