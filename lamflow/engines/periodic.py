"""Codes that know periodic systems: k points, magnetic moments, and boxes around what is isolated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Discriminator, Field, Tag, model_validator

from lamflow.config.engines import ExaminedStudy
from lamflow.config.section import Element
from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.engines.program.settings import ProgramSettings
from lamflow.errors import InputError
from lamflow.units import BohrMagneton, PerAngstrom


def _shape(value: object) -> str:
    return "three" if isinstance(value, list | tuple) else "one"


Spacing = Annotated[
    Annotated[PerAngstrom, Tag("one")] | Annotated[tuple[PerAngstrom, PerAngstrom, PerAngstrom], Tag("three")],
    Discriminator(_shape),
]
"""Of k points: the same along each reciprocal vector, or one for each."""
Points = Annotated[int, Field(ge=1, le=1000)]
Mesh = tuple[Points, Points, Points]
"""Numbers of k points along the reciprocal vectors."""
VACUUM = 5.0
"""Å of vacuum on every side of an isolated system that a code can only treat in a box."""


class PeriodicSettings(ProgramSettings):
    """What codes are told that sample the Brillouin zone."""

    spacing: ClassVar[float | None] = None
    """`kspacing` where neither it nor `kpoints` is given, Å⁻¹; None leaves it to the code."""
    relaxed_cells: ClassVar[frozenset[str]] = frozenset()
    """What of a cell (`all`, `volume`, `shape`, `none`) may change where the code relaxes structures by itself; nothing
    for one that does not."""

    kspacing: Spacing | None = None
    """Largest distance between k points in Å⁻¹, 2π included; three numbers for one along each reciprocal vector."""
    kpoints: Mesh | None = None
    """The same mesh for every frame instead."""
    magnetic_moments: dict[Element, BohrMagneton] = Field(default_factory=dict)
    """Of each atom of an element where the cycle begins; the calculation is spin-polarised if any is given."""

    @model_validator(mode="after")
    def _one_mesh(self) -> Self:
        if self.kspacing is not None and self.kpoints is not None:
            raise ValueError("give kspacing or kpoints, not both")
        return self

    def examine(self, study: ExaminedStudy) -> list[str]:
        """Whether moments are given, and held, of elements of the study."""
        foreign = sorted(set(self.magnetic_moments) - set(study.elements))
        if foreign:
            raise InputError(f"label.magnetic_moments: {foreign[0]} is not in elements {study.elements}")
        foreign = sorted(set(self.held_elements or ()) - set(study.elements))
        if foreign:
            raise InputError(
                f"label: the moments of {foreign[0]} are to be held, and it is not in elements {study.elements}"
            )
        return []

    def mesh(self, frame: Frame) -> tuple[int, int, int] | None:
        """Numbers of k points for a frame, Γ alone for an isolated one; None where the settings name none."""
        if not frame.pbc:
            return 1, 1, 1
        spacing = self.kspacing if self.kspacing is not None else self.spacing
        if self.kpoints is not None or spacing is None:
            return self.kpoints
        return kpoint_grid(frame.cell, spacing)

    @property
    def uses_electronic_temperature(self) -> bool:
        """They smear the electrons by Fermi and Dirac."""
        return True

    def moments(self, symbols: Sequence[str]) -> list[float]:
        """Magnetic moment of each atom, Bohr magnetons; empty if none is given."""
        given = self.magnetic_moments
        return [given.get(symbol, 0.0) for symbol in symbols] if given else []


def boxed(frame: Frame) -> Frame:
    """A frame for codes that know periodic systems only: an isolated one in the middle of a box with room around it."""
    if frame.pbc:
        return frame
    low, high = frame.positions.min(axis=0), frame.positions.max(axis=0)
    return replace(frame, positions=frame.positions - low + VACUUM, cell=np.diag(high - low + 2 * VACUUM), pbc=True)


def kpoint_grid(cell: Floats, spacing: float | Sequence[float]) -> tuple[int, int, int]:
    """The coarsest grid whose points are at most `spacing` (Å⁻¹, 2π included) apart along each reciprocal vector."""
    reciprocal = 2 * np.pi * np.linalg.norm(np.linalg.inv(cell).T, axis=1)
    apart = np.broadcast_to(np.asarray(spacing, dtype=np.float64), 3)
    first, second, third = (
        max(1, int(np.ceil(length / d - 1e-9))) for length, d in zip(reciprocal, apart, strict=True)
    )
    return first, second, third
