"""DeepSpin models: what a training input says of moments, and copies of data that teach symmetries of spins."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from lamflow.config.section import Element, Section
from lamflow.data.fields import FORCE_MAG, SPIN, field
from lamflow.data.frames import Floats
from lamflow.units import Unit

SPIN_LOSS = {
    "type": "ener_spin", "start_pref_e": 0.02, "limit_pref_e": 1.0, "start_pref_fr": 1000.0, "limit_pref_fr": 1.0,
    "start_pref_fm": 10000.0, "limit_pref_fm": 10.0,
}  # fmt: skip
"""Forces on atoms (fr) and magnetic forces (fm); no virial, for that of a DeepSpin model is not symmetric."""
TURNED = (field(SPIN).deepmd, field(FORCE_MAG).deepmd)
"""Arrays of a set that turn with the spins."""


class Spin(Section):
    """Models that see the magnetic moments of atoms (DeepSpin; T. Yang et al., Phys. Rev. B 110, 064427 (2024))."""

    elements: list[Element] = Field(min_length=1)
    """The magnetic ones; every frame of the data that has them has moments and magnetic forces."""
    scheme: Literal["deepspin", "native"] = "deepspin"
    """`deepspin`: a virtual atom beside each magnetic one, for any descriptor. `native`: for DPA-4 only."""
    virtual_scale: Annotated[float, Field(gt=0, le=10), Unit("Å/μB")] = 0.3
    """Distance of the virtual atom for each μB; a few tenths of an ångström in all are good."""
    time_reversal: bool = True
    """Train on every frame with all moments reversed, too: without a magnetic field its energy is the same, which a
    DeepSpin model does not know by itself."""
    rotations: int = Field(0, ge=0, le=100)
    """Copies of every frame whose moments are turned together at random, other ones for each model. Right only where
    labels were computed without spin-orbit coupling."""

    def section(self) -> dict[str, Any]:
        """`model.spin` of DeePMD-kit's input."""
        scale = {"virtual_scale": self.virtual_scale} if self.scheme == "deepspin" else {}
        return {"use_spin": list(self.elements), "scheme": self.scheme, **scale}


def with_copies(systems: Sequence[Path], folder: Path, settings: Spin, seed: int) -> dict[Path, Path]:
    """The systems with copies of their frames below `folder`, by the systems that they are of.

    A frame is followed by itself with all moments reversed, and with moments turned at random; systems without moments
    stay as they are.
    """
    if not (settings.time_reversal or settings.rotations):
        return {system: system for system in systems}
    rng = np.random.default_rng(seed)
    made = {}
    for number, system in enumerate(systems):
        made[system] = system
        if next(system.glob(f"set.*/{TURNED[0]}.npy"), None) is None:
            continue
        copy = made[system] = folder / f"{number:04d}"
        shutil.copytree(system, copy, dirs_exist_ok=True)
        for part in sorted(copy.glob("set.*")):
            _extend(part, settings, rng)
    return made


def _extend(part: Path, settings: Spin, rng: np.random.Generator) -> None:
    """Add the copies to a set of F frames, whose arrays are (F, …)."""
    frames = len(np.load(part / "coord.npy", mmap_mode="r"))
    turns = [np.broadcast_to(np.eye(3), (frames, 3, 3))]
    if settings.time_reversal:
        turns.append(-turns[0])
    turns += [random_rotations(rng, frames) for _ in range(settings.rotations)]
    for file in part.glob("*.npy"):
        given = np.load(file, allow_pickle=False)
        if file.stem in TURNED:
            vectors = given.reshape(frames, -1, 3)
            copies = [(vectors @ turn).reshape(given.shape).astype(given.dtype) for turn in turns]
        else:
            copies = [given] * len(turns)
        np.save(file, np.concatenate(copies), allow_pickle=False)


def random_rotations(rng: np.random.Generator, count: int) -> Floats:
    """Proper rotations (count, 3, 3), every orientation as likely (K. Shoemake, Graphics Gems III, 124 (1992))."""
    w, x, y, z = (quaternions := rng.normal(size=(count, 4))).T / np.linalg.norm(quaternions, axis=1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)
