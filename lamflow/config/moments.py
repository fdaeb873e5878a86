"""Magnetic moments: how start structures get theirs, and how they move in explorations."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lamflow.config.section import Element, Section
from lamflow.units import Degree, Fraction, Kelvin, Unit

MagneticOrder = Literal["ferromagnetic", "antiferromagnetic", "spiral", "disordered", "given"]
Component = Annotated[float, Field(ge=-1e3, le=1e3)]
Vector = tuple[Component, Component, Component]


class StartMoments(Section):
    """Magnetic moments of start structures: an order, then lengths, tilts and random lengths of each copy."""

    moments: dict[Element, Annotated[float, Field(gt=0, le=20), Unit("μB")]] = Field(min_length=1)
    """Length of the moment of each magnetic element; the others have none."""
    orders: list[MagneticOrder] = Field(["ferromagnetic"], min_length=1)
    """Every copy is made with each of these. `antiferromagnetic` and `spiral` follow `wave_vector`; `disordered` points
    anywhere; `given` keeps the directions that the files have."""
    axis: Vector = (0, 0, 1)
    """Along which ordered moments point, and which spirals turn about."""
    wave_vector: Vector = (0, 0, 1)
    """Of antiferromagnets and spirals, in reciprocal vectors of the cell as it was read or built, before `supercell`;
    [0, 0, 1] makes the two atoms of a cubic bcc cell opposite."""
    tilt: Degree = 0.0
    """Standard deviation of the random angle by which each moment leaves its direction, about each of two axes."""
    spread: Fraction = 0.0
    """Standard deviation of the random change of each moment's length, as a fraction of it."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not any(self.axis):
            raise ValueError("axis: [0, 0, 0] is no direction")
        if len(set(self.orders)) < len(self.orders):
            raise ValueError(f"orders: every order once; given are {', '.join(self.orders)}")
        return self


class MovingMoments(Section):
    """Moments that move with the atoms, by overdamped Langevin dynamics: moments of the right temperature, not the real
    time that they take for it."""

    temperatures: list[Kelvin] = Field(default_factory=list)
    """Of the moments, where they are not as hot as the atoms; combined with every other condition."""
    mobility: Annotated[float, Field(gt=0, le=1e6), Unit("μB²/(eV ps)")] = 50.0
    """How fast moments follow their forces. Times the timestep and the stiffness of a moment's length (about 2 eV/μB²
    in iron) it must stay well below 1."""
    fixed_length: bool = False
    """Moments turn and keep their lengths."""
    magnetic_field: Vector = (0.0, 0.0, 0.0)
    """In T."""
    max_moment: Annotated[float, Field(gt=0, le=20), Unit("μB")] = 8.0
    """A system with a larger moment has left what any model knows: it ends, and the others go on."""
