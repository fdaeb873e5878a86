"""What VASP writes of moments that it holds: tables in OUTCAR and OSZICAR."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from lamflow.data.frames import Floats
from lamflow.data.vasp_moments import NUMBER, TITLE, MagneticOutput, NoMomentsError, deltaspin, number, rows_below
from lamflow.engines.protocol import LabelFailure

PRINTED = 2e-3
"""μB by which MW_int, which has three decimals, may differ from what the field says."""
SAME_PENALTY = 0.02
"""By which the penalty may differ, relatively, from what the field says: both have five digits or fewer."""


def read_vasp6(folder: Path, natoms: int) -> MagneticOutput | LabelFailure:
    """The tables in OUTCAR by which DeltaSpin of VASP 6 ends, where it has converged."""
    before, title, block = _text(folder / "OUTCAR").rpartition(TITLE)
    if not title:
        return LabelFailure(
            "OUTCAR says nothing of DeltaSpin: this VASP 6 has no such patch"
            if before or block
            else "there is no OUTCAR",
            kind="incomplete",
        )
    try:
        return deltaspin(block, natoms)
    except NoMomentsError as error:
        return LabelFailure(str(error), kind=error.kind)


def read_vasp5(folder: Path, natoms: int) -> MagneticOutput | LabelFailure:
    """The last tables in OSZICAR by which DeltaSpin of VASP 5 tells moments (first three numbers) and forces (last)."""
    text = _text(folder / "OSZICAR")
    moments = rows_below(text, r"^.*MW_current.*$", natoms)
    forces = rows_below(text, r"^.*Magnetic Force.*$", natoms)
    return MagneticOutput(moments[:, :3], _last_three(forces))


def read_penalty(folder: Path, wanted: Floats, weight: float) -> MagneticOutput | LabelFailure:
    """The field by which VASP's own penalty λ Σ |M − M⁰|² draws moments to where they are `wanted` (N, 3), μB.

    weight  λ, eV/μB²

    E₀ + λ Σ |M − M⁰|² is stationary, so −∂E₀/∂M = 2 λ (M − M⁰): twice what OSZICAR calls `lambda*MW_perp`. Both its
    size and its sign are held against the penalty and the moments that OSZICAR has beside it.
    """
    text = _text(folder / "OSZICAR")
    said = list(re.finditer(rf"E_p *= *({NUMBER}) +lambda *= *({NUMBER})\s*?\n *ion +lambda\*MW_perp", text))
    if not said:
        what = "OSZICAR has no field lambda*MW_perp" if text else "there is no OSZICAR"
        return LabelFailure(what, kind="incomplete")
    penalty, printed = (number(word) for word in said[-1].groups())
    field = rows_below(text, r"^ *ion +lambda\*MW_perp *$", len(wanted))
    field = field[:, :3]
    drawn = np.isfinite(field).all(axis=1)
    reached = rows_below(text, r"^ *ion +MW_int +M_int *$", len(wanted))[:, :3]
    if abs(printed - weight) > 0.01 * weight:
        return LabelFailure(f"OSZICAR says lambda = {printed:g} eV/μB², and it was to be {weight:g}", kind="invalid")
    implied = float((field[drawn] ** 2).sum()) / weight
    if abs(implied - penalty) > SAME_PENALTY * max(penalty, implied) + 1e-9:
        return LabelFailure(
            f"E_p = {penalty:.4g} eV is not Σ (lambda*MW_perp)²/λ = {implied:.4g} eV, as it is for I_CONSTRAINED_M = 2",
            kind="invalid",
        )
    moments = wanted + field / weight
    apart = float(np.nanmax(np.abs(reached - moments)[drawn], initial=0.0))
    if not apart <= PRINTED or not np.isfinite(reached[drawn]).all():
        return LabelFailure(
            f"a moment MW_int is {apart:.3g} μB from M_CONSTR + lambda*MW_perp/λ: the field has another sign, or is of "
            "another step",
            kind="invalid",
        )
    return MagneticOutput(moments, 2 * field, penalty)


def _last_three(rows: Floats) -> Floats:
    """The last three numbers (N, 3) of rows (N, 6) that may be filled with three only."""
    return np.where(np.isfinite(rows[:, 3:]), rows[:, 3:], rows[:, :3])


def _text(path: Path) -> str:
    return path.read_text(errors="replace", encoding="utf-8") if path.is_file() else ""
