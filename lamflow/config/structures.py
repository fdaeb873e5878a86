"""Where exploration starts, and what is labeled first: structures from files or built by name."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from ase.data import atomic_numbers, reference_states
from pydantic import Field, model_validator

from lamflow.config.engines import ExplorerSettings, SearcherSettings
from lamflow.config.installed import ChosenByEngine
from lamflow.config.moments import StartMoments
from lamflow.config.section import Element, InputFiles, Name, Section
from lamflow.units import Angstrom, ElectronKelvin, Fraction, Length

Supercell = Annotated[list[Annotated[int, Field(ge=1, le=50)]], Field(min_length=3, max_length=3)]
MillerIndex = Annotated[int, Field(ge=-50, le=50)]
ONE_ATOM_LATTICES = ("fcc", "bcc", "hcp", "sc", "diamond")


class Crystal(Section):
    """A crystal built by name, as `ase.build.bulk` knows it."""

    formula: str
    """Chemical formula of the cell's basis, for example `Cu` or `NaCl`."""
    lattice: Literal["fcc", "bcc", "hcp", "sc", "diamond", "zincblende", "rocksalt", "cesiumchloride", "wurtzite"]
    a: Length | None = None
    """Lattice constant; the experimental one of the element if absent."""
    c: Length | None = None
    cubic: bool = False
    """The conventional cubic cell instead of the primitive one."""

    @model_validator(mode="after")
    def _formula_fits(self) -> Self:
        symbols = re.findall(r"[A-Z][a-z]?", self.formula)
        sites = 1 if self.lattice in ONE_ATOM_LATTICES else 2
        if "".join(symbols) != self.formula or len(symbols) != sites:
            example = "Cu" if sites == 1 else "NaCl"
            raise ValueError(f"formula {self.formula!r} does not fit {self.lattice}: give it like {example!r}")
        reference = reference_states[atomic_numbers.get(symbols[0], 0)] or {}
        if self.a is None and (sites == 2 or reference.get("symmetry") != self.lattice):
            raise ValueError(f"the lattice constant a of {self.lattice} {self.formula} is needed")
        if self.cubic and self.lattice in ("hcp", "wurtzite"):
            raise ValueError(f"{self.lattice} has no cubic cell")
        return self

    @property
    def elements(self) -> list[str]:
        """Its chemical symbols."""
        return re.findall(r"[A-Z][a-z]?", self.formula)


class Slab(Section):
    """A surface cut out of a bulk crystal, with vacuum, periodic in all directions."""

    miller: tuple[MillerIndex, MillerIndex, MillerIndex]
    """Of the surface, in the axes of the cell that was read or built; give `cubic: true` for the usual ones."""
    layers: int = Field(ge=1, le=100)
    """How often the crystal's repeat unit is stacked."""
    vacuum: Length
    """Empty space between the surfaces of the slab and its next image."""

    @model_validator(mode="after")
    def _a_direction(self) -> Self:
        if not any(self.miller):
            raise ValueError("miller: [0, 0, 0] is no surface")
        return self


class StructureSet(Section):
    """Start structures: read from files or built, then cut, repeated, substituted, damaged, strained and rattled.

    In this order: `slab`, `supercell`, `scale`, and for each copy `composition`, `vacancies`, `interstitials`,
    `strain`, `rattle`, `spins`. Every copy has a seed of its own.
    """

    name: Name
    files: InputFiles = Field(default_factory=list)
    """Structures in any format that ASE, dpdata or pymatgen reads (POSCAR, CIF, extxyz, …); every frame is used."""
    format: str | None = None
    """Name of the format, for files whose name does not tell: ASE's names first, then dpdata's, or `pymatgen`."""
    crystal: Crystal | None = None
    generate: Annotated[ExplorerSettings, ChosenByEngine("explore", "search")] | None = None
    """Random structures: the first generation of a structure search, `population` of them."""
    slab: Slab | None = None
    supercell: Supercell = [1, 1, 1]
    scale: list[Annotated[float, Field(gt=0.1, lt=10)]] = Field([1.0], min_length=1)
    """Factors of the cell's lengths; `copies` are made at each."""
    composition: dict[Element, Fraction] = Field(default_factory=dict)
    """Random alloy: every site gets one of these elements with this fraction."""
    vacancies: int = Field(0, ge=0, le=1_000_000)
    """Atoms that are taken out of each copy, drawn at random."""
    interstitials: dict[Element, Annotated[int, Field(ge=1, le=1000)]] = Field(default_factory=dict)
    """Atoms that are put into each copy, one after the other into a wide gap."""
    electronic_temperature: ElectronKelvin | None = None
    """Of the electrons, for models that learn one."""
    spins: StartMoments | None = None
    """Magnetic moments, for models that learn them; those of the files if absent."""
    copies: int = Field(1, ge=1, le=100_000)
    """How many structures to make from each one read or built."""
    strain: Fraction = 0.0
    """Largest random strain of a copy's cell, as a fraction of its lengths; shear included."""
    rattle: Angstrom = 0.0
    """Standard deviation of the random displacement of each coordinate in a copy."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.files) + (self.crystal is not None) + (self.generate is not None) != 1:
            raise ValueError("give one of files, crystal and generate")
        if self.generate is not None and not isinstance(self.generate, SearcherSettings):
            raise ValueError(f"generate: {self.generate.engine} begins with structures and proposes none itself")
        if self.composition and abs(sum(self.composition.values()) - 1) > 1e-6:
            raise ValueError(f"the fractions of composition add up to {sum(self.composition.values()):g}, not to 1")
        return self
