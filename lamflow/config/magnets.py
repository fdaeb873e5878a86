"""Properties of magnets: orders, exchange constants, spirals, and magnetisation against temperature."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lamflow.config.section import Element, Section
from lamflow.units import Count, Degree, Kelvin, Length, Picosecond, Unit

Component = Annotated[float, Field(ge=-100, le=100)]
WaveVector = tuple[Component, Component, Component]
"""In reciprocal vectors of the conventional cell."""
Lengths = dict[Element, Annotated[float, Field(gt=0, le=20), Unit("μB")]]


class Magnet(Section):
    """What all of them ask."""

    moments: Lengths = Field(default_factory=dict)
    """Lengths of the moments of the magnetic elements; the mean lengths that the structure has if absent."""


class MagneticOrders(Magnet):
    """Energies of antiferromagnets above the ferromagnet, and the lengths that moments then take."""

    property: Literal["magnetic-order"]
    wave_vectors: list[WaveVector] = Field([(0, 0, 1)], min_length=1)
    """Of the antiferromagnets: moments point up where the wave is not negative, and down elsewhere. [0, 0, 1] makes
    both atoms of a bcc cell opposite, [0, 0, 0.5] two double layers."""
    relax: bool = True
    """Moments relax in length and direction. Without, moments in disorder are looked at, too."""


class ExchangeConstants(Magnet):
    """Exchange constants of the shells of neighbours, by a fit to the energies of moments at random."""

    property: Literal["exchange"]
    cutoff: Length
    """The farthest shell."""
    size: Length = 10.0
    """Least distance between opposite faces of the supercell."""
    frames: int = Field(40, ge=2, le=10_000)
    """Supercells with moments at random."""
    tilt: Degree | None = None
    """By which moments leave the ferromagnet at most; any direction if absent."""


class SpinSpiral(Magnet):
    """Energy of flat spirals along a wave vector, the magnon stiffness that follows."""

    property: Literal["spin-spiral"]
    wave_vector: WaveVector = (0, 0, 1)
    """At the end of the line, which begins at 0."""
    points: int = Field(8, ge=4, le=200)
    """Steps of the line; the supercell is long enough for the shortest."""


class CuriePoint(Magnet):
    """Magnetisation against temperature, and the temperature where Binder's cumulants of two sizes cross.

    Atoms stand still and moments move by Langevin dynamics, which takes their lengths along.
    """

    property: Literal["curie"]
    temperatures: list[Kelvin] = Field(min_length=3)
    sizes: tuple[Annotated[int, Field(ge=1, le=50)], Annotated[int, Field(ge=2, le=50)]] = (2, 4)
    """How often the conventional cell is repeated along each axis, in the small and in the large supercell."""
    wave_vector: WaveVector = (0, 0, 0)
    """Of the order: [0, 0, 0] for a ferromagnet, and its Curie point; that of an antiferromagnet for its Néel point."""
    steps: Count = 4000
    equilibration: Count = 1000
    """Steps before these, thrown away."""
    repeats: int = Field(4, ge=2, le=1000)
    """Independent runs at each temperature; the spread of their results is the error."""
    timestep: Picosecond = 0.002
    mobility: Annotated[float, Field(gt=0, le=1e6), Unit("μB²/(eV ps)")] = 100.0
    """How fast moments follow their forces. Times the timestep and the stiffness of a moment's length (about 2 eV/μB²
    in iron) it must stay well below 1."""
    fixed_length: bool = False
    """Moments turn and keep their lengths."""

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.sizes[1] <= self.sizes[0]:
            raise ValueError(f"sizes: the second ({self.sizes[1]}) must be larger than the first ({self.sizes[0]})")
        if sorted(set(self.temperatures)) != self.temperatures:
            raise ValueError("temperatures: each once, from low to high")
        if not self.temperatures[0]:
            raise ValueError("temperatures: nothing moves at 0 K")
        return self
