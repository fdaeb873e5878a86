"""Crystals and random displacements as DP-GEN, dpgen2 and dpdata mean them."""

from __future__ import annotations

import math

from lamflow.migrate.paths import Spec

LATTICES = ("fcc", "bcc", "hcp", "sc", "diamond")
IDEAL = math.sqrt(8 / 3)
"""c/a of close-packed spheres."""
UNIFORM = 1 / 3
"""Standard deviation of a coordinate for a displacement in a random direction of up to 1, as DP-GEN's init draws it."""
NORMAL = 1 / math.sqrt(3)
"""The same for a normal distribution whose vector has the length 1, as dpdata draws it."""


def crystal(kind: str, constant: float, formula: str, *, nearest: bool) -> Spec:
    """A crystal of lamflow from a lattice constant of theirs.

    nearest  the constant of hcp is that of the fcc crystal with the same distances, as in DP-GEN's init_bulk
    The cells are the conventional ones but for diamond: its two atoms, with half of the usual lattice constant given.
    Raises ValueError for a lattice that they do not know.
    """
    if kind not in LATTICES:
        raise ValueError(f"lattice {kind!r} is none of {', '.join(LATTICES)}")
    if kind == "hcp":
        a = constant / math.sqrt(2) if nearest else constant
        return {"formula": formula, "lattice": kind, "a": round(a, 8), "c": round(IDEAL * a, 8)}
    if kind == "diamond":
        return {"formula": formula, "lattice": kind, "a": 2 * constant}
    return {"formula": formula, "lattice": kind, "a": constant, "cubic": True}


def lattice_note(kind: str, spec: Spec, constant: float) -> str:
    """Why a lattice constant is another number here; empty where it is the same."""
    if kind == "diamond":
        return f"{constant:g} Å is half of the cubic cell's length there: {spec['a']:g} Å"
    if kind == "hcp" and spec["a"] != constant:
        return f"{constant:g} Å is √2 times a there: a = {spec['a']:g} Å, c = {spec['c']:g} Å"
    return ""
