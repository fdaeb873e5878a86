"""Settings of a structure search by CALYPSO or by lamflow's own engine in its place."""

from __future__ import annotations

import itertools
import math
import shutil
from typing import Annotated, Literal, Self

from ase.data import atomic_numbers, covalent_radii, reference_states
from pydantic import Field, StringConstraints, model_validator

from lamflow.config.engines import FolderSettings, SearcherSettings
from lamflow.config.section import Element, InputFile
from lamflow.units import Fraction, Length

Count = Annotated[int, Field(ge=1, le=200)]
Range = tuple[Annotated[int, Field(ge=0, le=200)], Annotated[int, Field(ge=0, le=200)]]
Volume = Annotated[float, Field(gt=0, le=1e4)]
Pair = Annotated[str, StringConstraints(pattern=r"^[A-Z][a-z]?-[A-Z][a-z]?$")]
DENSEST = math.pi / math.sqrt(18)
"""Fraction of space that equal spheres fill at most."""
MANY = 20_000
"""More compositions than this are not a search any more."""


class CalypsoSearch(SearcherSettings):
    """Structure search by particle swarm in CALYPSO's split mode: the user's `calypso.x`, or `pso`, lamflow's own."""

    engine: Literal["calypso"]
    search: Literal["pso", "binary"] = "pso"
    """`pso` needs nothing but PyXtal; `binary` runs `command`."""
    formula: dict[Element, Count] = Field(default_factory=dict)
    """Atoms of each element in a formula unit, for a search at one composition."""
    formula_units: tuple[Count, Count] = (1, 4)
    """Fewest and most formula units of a cell."""
    ranges: dict[Element, Range] = Field(default_factory=dict)
    """Fewest and most atoms of each element in a cell, for a search over compositions, in place of `formula`."""
    max_atoms: int = Field(20, ge=1, le=500)
    """Most atoms of a cell."""
    volumes: dict[Element, Volume] = Field(default_factory=dict)
    """Volume of an atom of each element in Å³; estimated for those that are absent."""
    min_distance: float = Field(0.7, gt=0, lt=2)
    """Smallest distance of two atoms as a fraction of the sum of their covalent radii."""
    distances: dict[Pair, Length] = Field(default_factory=dict)
    """Smallest distances in Å of pairs like `Al-Cu`, where `min_distance` will not do."""
    space_groups: tuple[Annotated[int, Field(ge=1, le=230)], Annotated[int, Field(ge=1, le=230)]] = (2, 230)
    """First and last space group of the random structures."""
    pso_ratio: Fraction = 0.6
    """Fraction of each generation that the swarm makes; the others are new random structures."""
    exchange: Fraction = 0.5
    """Fraction of the swarm's structures that are made by exchanging or replacing elements in a superlattice of one of
    the best, which no move of a swarm does; 0 is CALYPSO's own algorithm."""
    swarm: Literal["local", "global"] = "local"
    """`local`: each structure is drawn to the most alike of the `leaders`; `global`: all to the best one."""
    leaders: int = Field(4, ge=1, le=10_000)
    """Best structures that draw the others in a local swarm."""
    penalty: Fraction = 0.4
    """The worst fraction of a generation is not followed up but replaced."""
    command: list[str] = Field(["calypso.x"], min_length=1)
    """How CALYPSO is started, for `search: binary`."""
    input: InputFile | None = None
    """An `input.dat` or `input.toml` of your own, for `search: binary`: keys that lamflow does not set are kept, and
    its format decides which of the two is written."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if bool(self.formula) == bool(self.ranges):
            raise ValueError("give either formula or ranges, not both and not neither")
        for key, (low, high) in (("formula_units", self.formula_units), ("space_groups", self.space_groups)):
            if low > high:
                raise ValueError(f"{key}: [{low}, {high}] must be a range from low to high")
        for element, (low, high) in self.ranges.items():
            if low > high:
                raise ValueError(f"ranges.{element}: [{low}, {high}] must be a range from low to high")
        for pair in self.distances:
            foreign = sorted(set(pair.split("-")) - set(self.elements))
            if foreign:
                raise ValueError(f"distances.{pair}: {foreign[0]} is not in the composition {self.elements}")
        foreign = sorted(set(self.volumes) - set(self.elements))
        if foreign:
            raise ValueError(f"volumes.{foreign[0]}: {foreign[0]} is not in the composition {self.elements}")
        self._check_compositions()
        return self

    def _check_compositions(self) -> None:
        """Raise ValueError, naming the constraint, when no cell can hold what is asked for."""
        if self.formula:
            low, one = self.formula_units[0], sum(self.formula.values())
            if low * one > self.max_atoms:
                raise ValueError(
                    f"formula: {low} formula unit{'s' if low > 1 else ''} of {one} atoms are {low * one} atoms, more "
                    f"than max_atoms ({self.max_atoms})"
                )
        elif sum(low for low, _ in self.ranges.values()) > self.max_atoms:
            least = sum(low for low, _ in self.ranges.values())
            raise ValueError(f"ranges: the smallest cell has {least} atoms, more than max_atoms ({self.max_atoms})")
        elif math.prod(high - low + 1 for low, high in self.ranges.values()) > MANY:
            raise ValueError(f"ranges: more than {MANY} compositions; make the ranges narrower")
        if not self.compositions():
            raise ValueError("ranges: every range begins and ends with 0 atoms, so there is nothing to search")
        for counts in self.compositions():
            filled = sum(math.pi / 6 * self.distance(each, each) ** 3 * count for each, count in counts.items())
            volume = sum(self.volume(each) * count for each, count in counts.items())
            given = all(each in self.volumes for each in counts)
            if given and filled > DENSEST * volume:
                raise ValueError(
                    f"volumes: atoms that keep their smallest distances fill {filled / volume:.0%} of the volume "
                    f"{volume:.1f} Å³ of {formula(counts)}, and spheres cannot fill more than {DENSEST:.0%}; give "
                    "larger volumes or smaller distances"
                )

    @property
    def elements(self) -> list[str]:
        """See SearcherSettings."""
        return list(self.formula or self.ranges)

    @property
    def numbers(self) -> list[int]:
        """Their atomic numbers."""
        return [atomic_numbers[element] for element in self.elements]

    @property
    def natoms(self) -> int:
        """See SearcherSettings."""
        return max(sum(counts.values()) for counts in self.compositions())

    def compositions(self) -> list[dict[str, int]]:
        """Atoms of each element, for every cell that may be proposed."""
        if self.formula:
            low, high = self.formula_units
            made = [{each: count * units for each, count in self.formula.items()} for units in range(low, high + 1)]
        else:
            spans = [range(low, high + 1) for low, high in self.ranges.values()]
            made = [dict(zip(self.ranges, counts, strict=True)) for counts in itertools.product(*spans)]
        made = [{each: count for each, count in counts.items() if count} for counts in made]
        return [counts for counts in made if 0 < sum(counts.values()) <= self.max_atoms]

    def distance(self, first: str, second: str) -> float:
        """Smallest distance allowed between atoms of two elements, Å."""
        given = self.distances.get(f"{first}-{second}", self.distances.get(f"{second}-{first}"))
        if given is not None:
            return given
        return float(
            self.min_distance * (covalent_radii[atomic_numbers[first]] + covalent_radii[atomic_numbers[second]])
        )

    def volume(self, element: str) -> float:
        """Volume of an atom, Å³: the one given, that of the element's crystal, or 1.3 times its covalent sphere."""
        if element in self.volumes:
            return self.volumes[element]
        number = atomic_numbers[element]
        sphere = 1.3 * 4 / 3 * math.pi * float(covalent_radii[number]) ** 3
        return max(sphere, _crystal_volume(number) or 0.0)

    def missing(self) -> str | None:
        """PyXtal for the search of lamflow itself, CALYPSO's binary otherwise."""
        import importlib.util

        if self.search == "binary":
            program = self.command[0]
            return None if shutil.which(program) else (
                f"calypso: the program {program!r} is not found; give its path in `command` (CALYPSO needs a licence: "
                "www.calypso.cn), or leave it out with `search: pso`, lamflow's own search"
            )  # fmt: skip
        return None if importlib.util.find_spec("pyxtal") else 'calypso: pip install "lamflow[calypso]" (PyXtal)'

    def pressure_gpa(self, condition: dict[str, float]) -> float:
        """The pressure of a condition in GPa."""
        return condition.get("pressure", 0.0) / 10_000.0


def _crystal_volume(number: int) -> float | None:
    """Å³ an atom of an element's metallic crystal, where ASE knows it."""
    state = reference_states[number] if number < len(reference_states) else None
    a = (state or {}).get("a")
    if not state or a is None:
        return None
    symmetry = state["symmetry"]
    if symmetry == "hcp":
        return float(math.sqrt(3) / 4 * a**3 * (state.get("c/a") or state.get("covera") or math.sqrt(8 / 3)))
    per_cell = {"fcc": 4, "bcc": 2, "sc": 1, "diamond": 8}.get(symmetry)
    return float(a**3 / per_cell) if per_cell else None


def formula(counts: dict[str, int]) -> str:
    """Chemical formula of a cell, like `Al2Cu`."""
    return "".join(f"{element}{count if count > 1 else ''}" for element, count in counts.items())


class CalypsoFolderSettings(FolderSettings):
    """A folder that CALYPSO has left structures in."""

    engine: Literal["calypso"]
