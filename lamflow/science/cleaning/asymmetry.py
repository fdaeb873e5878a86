"""Forces have the symmetry of their structure: what of them it forbids is an error."""

from __future__ import annotations

import os

import numpy as np

from lamflow.data.frames import Floats, Frame
from lamflow.science.symmetry import SpaceGroup

LARGEST = 100
"""Atoms; larger cells are repeats or have no symmetry, and cost more than they tell."""
OPERATIONS = 24
"""Of a space group, spread evenly, that forces are held against."""


def forbidden_forces(frame: Frame, forces: Floats) -> float:
    """Root mean square of the part of forces (N, 3) that the space group of a crystal forbids, in their unit.

    The mean over the operations g of |F − gF|² is twice the square of what their mean leaves. NaN for a structure
    without symmetry, an isolated one and one of more than LARGEST atoms, of which nothing can be said.
    """
    if not frame.pbc or frame.natoms > LARGEST:
        return float("nan")
    os.environ.setdefault("SPGLIB_WARNING", "OFF")  # it finds nothing in one frame of a thousand, and prints how
    try:
        group = SpaceGroup.of(frame, OPERATIONS)
    except ValueError:
        return float("nan")
    if len(group.rotations) < 2:
        return float("nan")
    squares = [
        ((forces[partner] - forces @ rotation.T) ** 2).mean()
        for rotation, partner in zip(group.rotations, group.partners, strict=True)
    ]
    return float(np.sqrt(np.mean(squares) / 2))
