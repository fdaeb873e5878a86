"""Structures that are one: the same atoms at the same distances, whatever the order, the cell or the orientation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamflow.data.features import Features
from lamflow.data.frames import Floats, Ints
from lamflow.science.cleaning.fingerprint import QUANTILES, apart


def clusters(features: Features, tolerance: float) -> Ints:
    """(C,) the first frame that each is like: its own number for one that is like none before.

    Frames are alike when they have the same reduced formula and state, volumes per atom that fit, and atoms that have
    moved by less than `tolerance` Å in the mean; equal structures are alike for any tolerance.
    """
    leader = _equal(features)
    if tolerance <= 0:
        return leader
    formula = features.reduced.astype(np.uint64)
    kind = np.unique(np.stack([formula, features.state], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    first = np.flatnonzero(leader == np.arange(len(features)))
    order = first[np.argsort(kind[first], kind="stable")]
    edges = np.flatnonzero(np.diff(kind[order])) + 1
    for members in np.split(order, edges):
        if len(members) > 1:
            _lead(features, np.sort(members), tolerance, leader)
    return leader[leader]


def _equal(features: Features) -> Ints:
    """The first frame with the same content hash."""
    _, first, places = np.unique(features.digest, axis=0, return_index=True, return_inverse=True)
    return np.asarray(first[places.reshape(-1)], dtype=np.int64)


def _lead(features: Features, members: Ints, tolerance: float, leader: Ints) -> None:
    """Write into `leader` which of `members`, all of one formula, are like an earlier one."""
    from scipy.spatial import cKDTree

    points = features.environments[members].astype(np.float64)
    slopes = features.slopes[members].astype(np.float64)
    scale = np.repeat(np.maximum(slopes.max(axis=0), 1e-6), QUANTILES)
    natoms, tree = features.natoms[members], cKDTree(points / scale)
    reach = QUANTILES * tolerance / np.sqrt(natoms.min())  # a mean is at least its largest term over their number
    nearest = tree.query(points / scale, k=2, p=np.inf, distance_upper_bound=reach)[0][:, 1]
    taken = np.zeros(len(members), dtype=bool)
    for place in np.flatnonzero(np.isfinite(nearest)):
        if taken[place]:
            continue
        ball = tree.query_ball_point(points[place] / scale, reach, p=np.inf)
        near = np.array([other for other in ball if other > place and not taken[other]], dtype=np.int64)
        alike = apart(points[place], points[near], slopes[place], np.minimum(natoms[place], natoms[near])) < tolerance
        alike &= _same_volume(features.volume[members[place]], features.volume[members[near]])
        taken[near[alike]] = True
        leader[members[near[alike]]] = members[place]


def _same_volume(one: float, others: Floats) -> NDArray[np.bool_]:
    """Volumes per atom that differ by less than half a percent, or isolated systems both."""
    if not np.isfinite(one):
        return np.asarray(~np.isfinite(others))
    return np.asarray(np.abs(others - one) < 0.005 * one)
