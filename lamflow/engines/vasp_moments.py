"""Moments that VASP holds: by the DeltaSpin patch, or by the penalty of its own (I_CONSTRAINED_M).

Made from manuals, public examples and recorded files; nothing here has been run with VASP.

DeltaSpin: Z. Cai, K. Wang, Y. Xu, S.-H. Wei and B. Xu, Quantum Front. 2, 21 (2023). The penalty: VASP's manual,
I_CONSTRAINED_M; P.-W. Ma and S. L. Dudarev, Phys. Rev. B 91, 054420 (2015).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from lamflow.data.frames import Floats
from lamflow.data.vasp_moments import MagneticOutput
from lamflow.engines.deltaspin import TOLERANCE, HeldMoments
from lamflow.engines.protocol import LabelFailure
from lamflow.engines.vasp_incar import is_on
from lamflow.engines.vasp_magnetic_output import read_penalty, read_vasp5, read_vasp6
from lamflow.units import Unit

PENALTY = 1e-3
"""eV an atom that the penalty may be worth at most."""
NONCOLLINEAR: dict[str, Any] = {"LNONCOLLINEAR": True, "ISYM": -1}
HOLDING = {
    "I_CONSTRAINED_M": "constrained_moments", "LDELTASPIN": "deltaspin", "SCTYPE": "deltaspin with `patch: vasp5`",
}  # fmt: skip
"""Tags that hold moments, and the setting that is for them."""
OF_FRAMES = frozenset(
    {"MAGMOM", "M_CONSTR", "M_DELTASPIN", "DELTASPIN_ATOMS", "DELTASPIN_COMPONENTS", "CONSTRL", "LAMBDA"}
)
"""Tags that come from the moments of a frame."""


class VaspDeltaSpin(HeldMoments):
    """Every moment is held at what the frame says by a VASP with the DeltaSpin patch."""

    patch: Literal["vasp6", "vasp5"] = "vasp6"
    """`vasp6`: tags `LDELTASPIN`, …; moments are those of the projectors, as in PROCAR. `vasp5`: tags `SCTYPE`, …;
    moments are smoothed integrals within `RWIGS`, which `input` has by element."""

    @property
    def needs_radii(self) -> bool:
        """Moments are those within RWIGS."""
        return self.patch == "vasp5"

    def tags(self, moments: Floats, held: list[bool]) -> dict[str, Any]:
        """INCAR tags for moments (N, 3) in μB, and which of them are held."""
        vectors, flags = _vectors(moments), [int(flag) for flag in held]
        if self.patch == "vasp6":
            return {
                **NONCOLLINEAR, "LDELTASPIN": True, "DELTASPIN_ATOMS": flags, "DELTASPIN_COMPONENTS": [1, 1, 1],
                "DELTASPIN_MOMENT_DEF": 0, "DELTASPIN_TOL": 1e-6, "LORBIT": 11, "M_DELTASPIN": vectors,
                "MAGMOM": vectors,
            }  # fmt: skip
        return {
            **NONCOLLINEAR, "I_CONSTRAINED_M": 2, "SCTYPE": 1, "IDECOSC": 0, "LAMBDA": f"{3 * len(held)}*0",
            "CONSTRL": [flag for flag in flags for _ in range(3)], "NSC": 100, "NSCMIN": 2, "SCDIFF": 1e-6,
            "INISC": 0.01, "SCCUT": 3, "M_CONSTR": vectors, "MAGMOM": vectors,
        }  # fmt: skip

    def read(self, folder: Path, moments: Floats, held: list[bool]) -> MagneticOutput | LabelFailure:
        """What VASP left in `folder`, or why there is nothing to learn from."""
        read = read_vasp6 if self.patch == "vasp6" else read_vasp5
        return _complete(read(folder, len(moments)), held)


class ConstrainedMoments(HeldMoments):
    """Every moment is drawn to what the frame says by VASP's own penalty (`I_CONSTRAINED_M = 2`)."""

    weight: Annotated[float, Field(gt=0, le=1e4), Unit("eV/μB²")]
    """`LAMBDA`. Labels of moments that are not drawn near enough to the frame's are refused: give more."""

    @property
    def needs_radii(self) -> bool:
        """Moments are those within RWIGS."""
        return True

    def tags(self, moments: Floats, held: list[bool]) -> dict[str, Any]:
        """INCAR tags for moments (N, 3) in μB, and which of them are held. Raises ValueError where one is zero."""
        shortest = float(np.linalg.norm(moments[held], axis=1).min(initial=np.inf))
        if shortest < TOLERANCE:
            raise ValueError(
                f"constrained_moments: a moment of the frame is {shortest:.3g} μB, and VASP takes an M_CONSTR of zero "
                "for no constraint; a VASP with DeltaSpin (deltaspin) holds it"
            )
        vectors = _vectors(moments)
        return {**NONCOLLINEAR, "I_CONSTRAINED_M": 2, "LAMBDA": self.weight, "M_CONSTR": vectors, "MAGMOM": vectors}

    def read(self, folder: Path, moments: Floats, held: list[bool]) -> MagneticOutput | LabelFailure:
        """What VASP left in `folder`, or why there is nothing to learn from."""
        found = _complete(read_penalty(folder, moments, self.weight), held)
        if isinstance(found, LabelFailure):
            return found
        away, worth = float(np.abs((found.moments - moments)[held]).max(initial=0.0)), found.penalty / len(moments)
        if away > TOLERANCE or worth > PENALTY:
            return LabelFailure(
                f"a penalty of {self.weight:g} eV/μB² leaves a moment {away:.3g} μB from where it was to be and adds "
                f"{1e3 * worth:.3g} meV an atom; {TOLERANCE:g} μB and {1e3 * PENALTY:g} meV may be: give more weight "
                "(constrained_moments.weight)",
                kind="refused",
            )
        return found


def check_held_moments(
    held: VaspDeltaSpin | ConstrainedMoments | None, tags: Mapping[str, Any], command: list[str]
) -> None:
    """Raise ValueError for tags and programs that do not go with moments that are `held`, or that hold some beside."""
    for tag, setting in HOLDING.items():
        if is_on(tags.get(tag, 0)):
            raise ValueError(
                f"INCAR: {tag} = {tags[tag]}: it holds moments, of which lamflow would not know; leave it out and give "
                f"label.{setting}"
            )
    if held is None:
        return
    given = sorted(OF_FRAMES & set(tags))
    if given:
        raise ValueError(f"INCAR: {given[0]}: moments are held where each frame has them; leave it out")
    if str(tags.get("ISYM", -1)) not in ("-1", "0"):
        raise ValueError(f"INCAR: ISYM = {tags['ISYM']}: moments that are held break symmetries; -1 or 0 it must be")
    if "LNONCOLLINEAR" in tags and not is_on(tags["LNONCOLLINEAR"]):
        raise ValueError("INCAR: LNONCOLLINEAR is off, and moments are held in all directions")
    if "SAXIS" in tags and _words(tags["SAXIS"]) != [0, 0, 1]:
        raise ValueError(f"INCAR: SAXIS = {tags['SAXIS']}: moments are along x, y, z of the frame; leave it out")
    if is_on(tags.get("DELTASPIN_CONSTRAINT_MODE", 0)):
        raise ValueError("INCAR: DELTASPIN_CONSTRAINT_MODE is not 0: whole moments are held, not directions alone")
    if held.needs_radii and not set(held.elements) <= set(tags.get("RWIGS", {})):
        raise ValueError(
            "INCAR: RWIGS: moments are held within these radii; give them by element in `input`, for example "
            f"`RWIGS: {{{held.elements[0]}: 1.2}}` (Å)"
        )
    for word in command:
        if Path(word).name in ("vasp_std", "vasp_gam"):
            raise ValueError(f"command: {word}: moments in all directions need the noncollinear program, `vasp_ncl`")


def _complete(found: MagneticOutput | LabelFailure, held: list[bool]) -> MagneticOutput | LabelFailure:
    """The output, if it says of every moment that is held where it is and which force is on it."""
    if isinstance(found, LabelFailure):
        return found
    known = np.isfinite(found.moments).all(axis=1) & np.isfinite(found.forces).all(axis=1)
    lacking = np.flatnonzero(np.array(held) & ~known)
    if lacking.size:
        return LabelFailure(
            f"the output has no moment or no magnetic force of ion {lacking[0] + 1}; does this VASP have the patch?",
            kind="incomplete",
        )
    return found


def _vectors(moments: Floats) -> str:
    return "  ".join(" ".join(f"{value:.8f}" for value in moment) for moment in moments)


def _words(value: Any) -> list[float]:
    words = value if isinstance(value, list) else str(value).split()
    try:
        return [float(word) for word in words]
    except ValueError:
        return []
