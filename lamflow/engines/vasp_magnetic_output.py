"""What VASP writes of moments that it holds: tables in OUTCAR and OSZICAR."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamflow.data.frames import Floats
from lamflow.engines.protocol import LabelFailure

CONVENTION = "magnetic force = spin_lambda for L=E+lambda.(M-M_target)"
"""How OUTCAR says what its magnetic forces λ are. Where L is stationary ∂E/∂M + λ = 0, so they are −∂E/∂M."""
PRINTED = 2e-3
"""μB by which MW_int, which has three decimals, may differ from what the field says."""
SAME_PENALTY = 0.02
"""By which the penalty may differ, relatively, from what the field says: both have five digits or fewer."""
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][+-]?\d+)?"


@dataclass(frozen=True, slots=True, eq=False)
class MagneticOutput:
    """What VASP says of N moments, in the order of its files; NaN where it says nothing of one.

    moments  (N, 3)  μB
    forces   (N, 3)  −∂E/∂M, eV/μB
    penalty  ()      eV, what the constraint adds to the energy
    """

    moments: Floats
    forces: Floats
    penalty: float = 0.0


def read_vasp6(folder: Path, natoms: int) -> MagneticOutput | LabelFailure:
    """The tables in OUTCAR by which DeltaSpin of VASP 6 ends, where it has converged."""
    before, title, block = _text(folder / "OUTCAR").rpartition("DeltaSpin final status")
    if not title:
        return LabelFailure(
            "OUTCAR says nothing of DeltaSpin: this VASP 6 has no such patch"
            if before or block
            else "there is no OUTCAR",
            kind="incomplete",
        )
    for what in ("SCF convergence", "Moment constraint"):
        said = re.search(rf"^\s*{what}\s*:\s*(\S.*?)\s*$", block, re.M)
        if said is None or said[1] != "reached":
            return LabelFailure(
                f"DeltaSpin: {what.lower()}: {said[1] if said else 'nothing is said of it'}", kind="unconverged"
            )
    if CONVENTION not in block:
        return LabelFailure(
            f"OUTCAR does not say {CONVENTION!r}, so the sign of its magnetic forces is not known", kind="invalid"
        )
    tables = [_rows(block, rf"^ *ion +elem +cx +cy +cz +{first} .*\n *-+$", natoms) for first in ("Mx", "MFx")]
    return MagneticOutput(tables[0][:, :3], tables[1][:, :3])


def read_vasp5(folder: Path, natoms: int) -> MagneticOutput | LabelFailure:
    """The last tables in OSZICAR by which DeltaSpin of VASP 5 tells moments (first three numbers) and forces (last)."""
    text = _text(folder / "OSZICAR")
    moments = _rows(text, r"^.*MW_current.*$", natoms)
    forces = _rows(text, r"^.*Magnetic Force.*$", natoms)
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
    penalty, printed = (_number(word) for word in said[-1].groups())
    field = _rows(text, r"^ *ion +lambda\*MW_perp *$", len(wanted))
    field = field[:, :3]
    drawn = np.isfinite(field).all(axis=1)
    reached = _rows(text, r"^ *ion +MW_int +M_int *$", len(wanted))[:, :3]
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


def _rows(text: str, header: str, natoms: int) -> Floats:
    """Numbers (N, 6) in the rows `ion … numbers` of the last table below `header`; NaN where there are none.

    Of words that are no such numbers, symbols and flags of components, there may be some behind the number of the ion.
    """
    made = np.full((natoms, 6), np.nan)
    headers = list(re.finditer(header, text, re.M))
    if not headers:
        return made
    for line in text[headers[-1].end() :].lstrip("\n").splitlines():
        row = re.match(rf"\s*(\d+)(?:\s+[A-Z][a-z]?\s+[01]\s+[01]\s+[01])?((?:\s+{NUMBER}){{3,6}})\s*$", line)
        if row is None:
            break
        values = [_number(word) for word in row[2].split()]
        if 1 <= int(row[1]) <= natoms:
            made[int(row[1]) - 1, : len(values)] = values
    return made


def _last_three(rows: Floats) -> Floats:
    """The last three numbers (N, 3) of rows (N, 6) that may be filled with three only."""
    return np.where(np.isfinite(rows[:, 3:]), rows[:, 3:], rows[:, :3])


def _number(word: str) -> float:
    return float(re.sub("[dD]", "e", word))


def _text(path: Path) -> str:
    return path.read_text(errors="replace", encoding="utf-8") if path.is_file() else ""
