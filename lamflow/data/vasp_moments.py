"""Tables of moments that VASP writes: what DeltaSpin of VASP 6 says at the end of each cycle in OUTCAR."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import Atoms

from lamflow.data.fields import FORCE_MAG, SPIN, Floats

TITLE, AFTER = "DeltaSpin final status", "  FORCE on cell"
"""The lines between which a block of DeltaSpin stands."""
CONVENTION = "magnetic force = spin_lambda for L=E+lambda.(M-M_target)"
"""How OUTCAR says what its magnetic forces λ are. Where L is stationary ∂E/∂M + λ = 0, so they are −∂E/∂M."""
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][+-]?\d+)?"


class NoMomentsError(ValueError):
    """Why there are no moments. kind: that of the failure of a label"""

    def __init__(self, message: str, kind: Literal["unconverged", "invalid"]) -> None:
        super().__init__(message)
        self.kind: Literal["unconverged", "invalid"] = kind


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


def deltaspin(block: str, natoms: int) -> MagneticOutput:
    """Moments and magnetic forces in a block after `TITLE`. Raises NoMomentsError where they did not converge."""
    for what in ("SCF convergence", "Moment constraint"):
        said = re.search(rf"^\s*{what}\s*:\s*(\S.*?)\s*$", block, re.M)
        if said is None or said[1] != "reached":
            found = said[1] if said else "nothing is said of it"
            raise NoMomentsError(f"DeltaSpin: {what.lower()}: {found}", "unconverged")
    if CONVENTION not in block:
        raise NoMomentsError(
            f"OUTCAR does not say {CONVENTION!r}, so the sign of its magnetic forces is not known", "invalid"
        )
    tables = [rows_below(block, rf"^ *ion +elem +cx +cy +cz +{first} .*\n *-+$", natoms) for first in ("Mx", "MFx")]
    return MagneticOutput(tables[0][:, :3], tables[1][:, :3])


def give_moments(atoms: Atoms, block: str) -> None:
    """Put the moments and magnetic forces of a block into `atoms`; those of ions that it does not name are none.

    Raises NoMomentsError as `deltaspin` does, and for an ion without one of the two.
    """
    found = deltaspin(block, len(atoms))
    known = np.asarray(np.isfinite(found.moments).all(axis=1))
    if not known.any() or (known != np.isfinite(found.forces).all(axis=1)).any():
        raise NoMomentsError("OUTCAR has moments of DeltaSpin and no magnetic forces of the same ions", "invalid")
    atoms.set_array(SPIN, np.where(known[:, None], found.moments, 0.0))
    atoms.set_array(FORCE_MAG, np.where(known[:, None], found.forces, 0.0))


def rows_below(text: str, header: str, natoms: int) -> Floats:
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
        values = [number(word) for word in row[2].split()]
        if 1 <= int(row[1]) <= natoms:
            made[int(row[1]) - 1, : len(values)] = values
    return made


def number(word: str) -> float:
    """A number as Fortran writes it."""
    return float(re.sub("[dD]", "e", word))
