"""Moments that a first-principles code holds where they are, and the magnetic forces that this takes (DeltaSpin).

Z. Cai, K. Wang, Y. Xu, S.-H. Wei and B. Xu, Quantum Front. 2, 21 (2023).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from lamflow.config.section import Element, Section
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.fields import FORCE_MAG, SPIN
from lamflow.data.frames import Floats, Ints
from lamflow.engines.protocol import LabelFailure

TOLERANCE = 1e-2
"""μB by which a moment may differ from what it was held at."""
COLLINEAR = 1e-4
"""μB across the axis z that a collinear calculation cannot have."""


class HeldMoments(Section):
    """Whose moments are held."""

    elements: list[Element] = Field(min_length=1)
    """Whose moments are held; those of other elements are free, and are given none."""


class DeltaSpin(HeldMoments):
    """Every moment is held at what the frame says; labels have the magnetic forces on it."""

    collinear: bool = False
    """Moments along z only, at half the cost; frames with others are refused."""


def held_moments(settings: HeldMoments, frame: Frame, order: Ints) -> tuple[Floats, list[bool]]:
    """Moments (N, 3) in μB of the atoms in another order, and which of them are held.

    Raises ValueError for a frame whose moments are missing, or are not those of a collinear calculation.
    """
    held = [frame.symbols[place] in settings.elements for place in order]
    if frame.spins is None:
        named = ", ".join(settings.elements)
        raise ValueError(f"the moments of {named} are held, and the frame has none; give its structure set `spins`")
    moments = np.where(np.array(held)[:, None], frame.spins[order], 0.0)
    across = float(np.abs(moments[:, :2]).max(initial=0.0))
    if isinstance(settings, DeltaSpin) and settings.collinear and across > COLLINEAR:
        raise ValueError(
            f"deltaspin.collinear holds moments along z, and one of the frame has {across:.3g} μB across it; leave "
            "collinear out"
        )
    return moments, held


def abacus_keys(settings: DeltaSpin) -> dict[str, Any]:
    """Keywords of ABACUS's INPUT; stresses are not computed with held moments."""
    spins = {"nspin": 2} if settings.collinear else {"nspin": 4, "noncolin": 1}
    return {
        **spins, "cal_stress": 0, "sc_mag_switch": 1, "decay_grad_switch": 1, "sc_thr": 1e-6, "nsc": 100, "nsc_min": 2,
        "alpha_trial": 0.01, "sccut": 3, "out_mul": 1,
    }  # fmt: skip


def with_magnetic_forces(
    settings: HeldMoments, labeled: LabeledFrame, frame: Frame, order: Ints
) -> LabeledFrame | LabelFailure:
    """The labels of an output whose atoms are `frame`'s in `order`, zeros where no moment was held.

    A failure when magnetic forces are missing or moments are not where they were to be held.
    """
    moments, held = held_moments(settings, frame, order)
    forces = labeled.labels.force_mag
    if forces is None or labeled.frame.spins is None:
        return LabelFailure(
            "the output has no table of magnetic forces; does this build of the code hold moments?", kind="incomplete"
        )
    away = float(np.abs(labeled.frame.spins[held] - moments[held]).max(initial=0.0))
    if away > TOLERANCE:
        return LabelFailure(
            f"the moments were not held: one is {away:.3g} μB from where it was to be", kind="unconverged"
        )
    values = {**labeled.labels.fields, FORCE_MAG: np.where(np.array(held)[:, None], forces, 0.0)}
    return LabeledFrame(labeled.frame.with_fields(**{SPIN: None}), Labels.of(values, frame.natoms))
