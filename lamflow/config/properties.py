"""What a study of properties says: potentials, how structures are relaxed, which properties, their references."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from lamflow.config.dynamics import (
    DynamicProperty,
    Dynamics,
    Melting,
    MeltingPoint,
    ThermalElastic,
    Viscosity,
    refuse_thermal_conductivity,
)
from lamflow.config.engines import EngineSettings, LabelerSettings
from lamflow.config.installed import ChosenByEngine
from lamflow.config.magnets import CuriePoint, ExchangeConstants, MagneticOrders, SpinSpiral
from lamflow.config.schema import DataStudy, check_unique
from lamflow.config.section import Element, InputFile, Name, Section
from lamflow.units import Angstrom, Bar, Count, EvPerAngstrom, Kelvin, Length, Unit

Strain = Annotated[float, Field(gt=0, le=0.3)]
"""A fraction."""
Miller = Annotated[list[Annotated[int, Field(ge=-9, le=9)]], Field(min_length=3, max_length=3)]
Times = Annotated[list[Annotated[int, Field(ge=1, le=20)]], Field(min_length=3, max_length=3)]


class Potential(Section):
    """One engine whose properties are asked for, under a name of its own."""

    name: Name
    evaluate: Annotated[EngineSettings, ChosenByEngine("evaluate")] | None = None
    """A trained model, a calculator of ASE, or any other engine that evaluates frames in milliseconds; frames go
    through it in large batches."""
    label: Annotated[LabelerSettings, ChosenByEngine("label")] | None = None
    """A first-principles code instead, with the label cache and its remedies."""

    @model_validator(mode="after")
    def _one_engine(self) -> Self:
        if (self.evaluate is None) == (self.label is None):
            raise ValueError("give one of evaluate and label")
        return self

    @property
    def engine(self) -> EngineSettings:
        """Its settings, whatever the role."""
        engine = self.evaluate or self.label
        assert engine is not None  # noqa: S101  the validator has looked
        return engine

    @property
    def role(self) -> Literal["evaluate", "label"]:
        """What the engine plays."""
        return "evaluate" if self.evaluate is not None else "label"


class Relaxing(Section):
    """How structures are relaxed before their properties are asked for, and frames of properties later."""

    method: Literal["lbfgs", "fire", "native"] = "lbfgs"
    """`native` lets first-principles codes relax by themselves, in fewer cycles than an optimiser that asks for one
    label after the other; they go on until `fmax` holds for a label of where they have come to. Models, and frames that
    may only move in some directions, are relaxed by `lbfgs` then."""
    steps: Count = 500
    """Most steps of a relaxation; one that has not ended then is no result."""
    fmax: EvPerAngstrom = 1e-4
    """It ends when no force on an atom or, divided by the number of atoms, on the cell is larger."""
    cell: bool = True
    """Relax the cells of the structures too. Frames of properties have rules of their own."""
    cell_changes: Literal["all", "volume", "shape"] = "all"
    """What of these cells may change."""
    symmetry: bool = False
    """Structures keep their space group on the way, whatever forces that are not exact say; without it they may find a
    lower one. Frames of properties have rules of their own."""
    pressure: Bar = 0.0
    max_step: Length = 0.1
    """Longest move of an atom in one step."""


class Eos(Section):
    """Equation of state: E0, V0, B0 and B0' by Birch–Murnaghan and Vinet."""

    property: Literal["eos"]
    strain: Strain = 0.06
    """Largest change of the volume, as a fraction; both ends are points."""
    points: int = Field(13, ge=6, le=1000)


class Elastic(Section):
    """Elastic constants, moduli and mechanical stability."""

    property: Literal["elastic"]
    strain: Strain = 0.01
    """Largest strain in each direction that symmetry asks for."""


class Cohesive(Section):
    """Cohesive energy against free atoms, and the energy of the crystal as it is pulled apart evenly."""

    property: Literal["cohesive"]
    box: Length = 15.0
    """Edge of the cell that holds a free atom."""
    stretch: list[Annotated[float, Field(gt=0.3, le=10)]] = Field([0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.4, 1.7, 2.0])
    """Factors of the lattice constants for the line."""


class Decohesive(Section):
    """Energy of two halves of a crystal that are pulled apart rigidly."""

    property: Literal["decohesive"]
    miller: Miller
    """Plane of the cut, in the axes of the conventional cell."""
    cut: int = Field(1, ge=1, le=100)
    """Where: 1 between the planes of atoms that are farthest apart, 2 at the next narrower gap, and so on, as between
    the shuffle and the glide set of diamond."""
    thickness: Length = 15.0
    """Of the crystal between the cuts, at least."""
    gap: Length = 10.0
    """Widest gap."""
    points: int = Field(11, ge=4, le=1000)


class Surface(Section):
    """Surface energies of all low-index faces with all their terminations, relaxed and as cut."""

    property: Literal["surface"]
    max_miller: int = Field(1, ge=1, le=4)
    """Largest index, in the axes of the conventional cell."""
    millers: list[Miller] = Field(default_factory=list)
    """These faces instead."""
    thickness: Length = 15.0
    """Of the slab, at least."""
    vacuum: Length = 15.0


class Vacancy(Section):
    """Formation energies of vacancies, one for each inequivalent site."""

    property: Literal["vacancy"]
    sizes: list[Length] = Field([10.0], min_length=1)
    """Least distance between opposite faces of the supercell. With several, the error of an energy in the largest is
    what it has changed since the next smaller one."""
    cell: bool = False
    """The supercell relaxes, too."""
    chemical_potentials: dict[Element, Annotated[float, Field(ge=-1e6, le=1e6)]] = Field(default_factory=dict)
    """Of the elements, eV per atom, for compounds; without them the limits come from the other structures of the
    study."""


class Interstitial(Section):
    """Formation energies of interstitial atoms."""

    property: Literal["interstitial"]
    elements: list[Element] = Field(default_factory=list)
    """What is inserted; the crystal's own elements if empty."""
    sizes: list[Length] = Field([10.0], min_length=1)
    """See vacancy."""
    cell: bool = False
    min_distance: Angstrom = 1.0
    """A place that is nearer to an atom is none."""
    chemical_potentials: dict[Element, Annotated[float, Field(ge=-1e6, le=1e6)]] = Field(default_factory=dict)
    """See vacancy."""


class Substitution(Section):
    """Formation energies of foreign atoms and antisites on each inequivalent site."""

    property: Literal["substitution"]
    elements: list[Element] = Field(default_factory=list)
    """What is put in; the crystal's own elements, as antisites, if empty."""
    sizes: list[Length] = Field([10.0], min_length=1)
    """See vacancy."""
    cell: bool = False
    chemical_potentials: dict[Element, Annotated[float, Field(ge=-1e6, le=1e6)]] = Field(default_factory=dict)
    """See vacancy."""


class Gamma(Section):
    """Generalised stacking fault energy along a line: one half of the crystal slips over the other."""

    property: Literal["gamma"]
    miller: Miller
    """Slip plane, in the axes of the conventional cell."""
    direction: Miller
    """Slip direction in this plane, in the same axes."""
    cut: int = Field(1, ge=1, le=100)
    """Where: 1 between the planes of atoms that are farthest apart, 2 at the next narrower gap, and so on, as between
    the shuffle and the glide set of diamond."""
    thickness: Length = 20.0
    """Of the crystal between two faults, at least."""
    points: int = Field(11, ge=4, le=201)
    """From nothing to `length`, both included."""
    length: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Of the slip, in shortest lattice vectors along the direction."""


class GammaSurface(Section):
    """Generalised stacking fault energy over the whole cell of a plane."""

    property: Literal["gamma-surface"]
    miller: Miller
    cut: int = Field(1, ge=1, le=100)
    """Where: 1 between the planes of atoms that are farthest apart, 2 at the next narrower gap, and so on, as between
    the shuffle and the glide set of diamond."""
    thickness: Length = 20.0
    points: int = Field(6, ge=2, le=50)
    """Along each of the two vectors of the plane's cell."""


class Phonon(Section):
    """Phonons by finite displacements: bands, density of states, imaginary modes, thermal properties."""

    property: Literal["phonon"]
    size: Length = 10.0
    """Least distance between opposite faces of the supercell."""
    supercell: Times | None = None
    """Of the primitive cell, instead of `size`."""
    displacement: Annotated[float, Field(gt=0, le=0.5)] = 0.01
    """Å"""
    mesh: int = Field(21, ge=1, le=200)
    """q points along each axis."""
    temperatures: list[Kelvin] = [300.0]


class Quasiharmonic(Section):
    """Thermal expansion, isothermal bulk modulus and Grüneisen parameters from phonons at several volumes."""

    property: Literal["quasiharmonic"]
    strain: Strain = 0.06
    """Largest change of the volume, as a fraction; both ends are points."""
    points: int = Field(7, ge=5, le=101)
    size: Length = 10.0
    """See phonon."""
    supercell: Times | None = None
    """See phonon."""
    displacement: Annotated[float, Field(gt=0, le=0.5)] = 0.01
    """Å"""
    mesh: int = Field(15, ge=1, le=200)
    """q points along each axis."""
    temperatures: list[Annotated[float, Field(gt=0, le=5000), Unit("K")]] = Field([300.0], min_length=1)


class Formation(Section):
    """Formation energies and the convex hull of all structures of the study."""

    property: Literal["formation"]


class Dimer(Section):
    """Energy of two free atoms against their distance, and how smooth it is."""

    property: Literal["dimer"]
    shortest: Length = 0.8
    longest: Length = 6.0
    points: int = Field(60, ge=10, le=10_000)


PropertySettings = Annotated[
    Eos | Elastic | Cohesive | Decohesive | Surface | Vacancy | Interstitial | Substitution | Gamma | GammaSurface
    | Phonon | Quasiharmonic | Formation | Dynamics | ThermalElastic | Melting | MeltingPoint | Viscosity | Dimer
    | MagneticOrders | ExchangeConstants | SpinSpiral | CuriePoint,
    Field(discriminator="property"), BeforeValidator(refuse_thermal_conductivity),
]  # fmt: skip


class ReferenceValue(Section):
    """What a value should be."""

    structure: str
    property: str
    value: float = Field(ge=-1e12, le=1e12)
    name: str
    """Of the value, for example `B0`."""
    unit: str
    """Converted where the property has another one."""
    where: str = ""
    uncertainty: float | None = Field(None, ge=0, le=1e12)
    source: str = ""


class References(Section):
    """What values are compared with; several kinds of reference complete each other, the first that knows one wins."""

    values: list[ReferenceValue] = Field(default_factory=list)
    file: InputFile | None = None
    """`properties.json` or `properties.csv` of another run, a table with the same columns as `values`, APEX's
    `all_result.json`, or matcalc's `…-Element-Refs.json.gz`: lattices and cohesive energies of the elements by DFT, for
    structures of one element with the same space group."""
    table: Literal["pymatgen"] | None = None
    """`pymatgen`: its table of the elements, for structures of one element: bulk, Young's and shear modulus, Poisson's
    ratio, volume, expansion and melting point as measured, of the phase that is stable at room temperature."""
    potential: Name | None = None
    """One of the study's own potentials."""


class Gate(Section):
    """What a value must be for the study to be passed; every structure and potential that has it is looked at."""

    property: str
    """Name of the results: the kind of property, numbered where the study has it more than once."""
    name: str
    """Of the value, for example `B0`."""
    where: str | None = None
    """Which of several; if absent all, and of these only the ones with a reference where errors are asked for."""
    structure: str | None = None
    potential: Name | None = None
    error: Annotated[float, Field(gt=0, le=1e12)] | None = None
    """Largest difference from the reference, in the unit of the value."""
    relative_error: Annotated[float, Field(gt=0, le=10)] | None = None
    """Largest difference from the reference, as a fraction of it."""
    most: Annotated[float, Field(ge=-1e12, le=1e12)] | None = None
    least: Annotated[float, Field(ge=-1e12, le=1e12)] | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if all(limit is None for limit in (self.error, self.relative_error, self.most, self.least)):
            raise ValueError("give at least one of error, relative_error, most and least")
        return self


class PropertiesStudy(DataStudy):
    """Structures are relaxed by each potential, and properties computed and compared."""

    workflow: str = "properties"
    potentials: list[Potential] = Field(min_length=1)
    relax: Relaxing = Relaxing()
    properties: list[PropertySettings] = Field(default_factory=list)
    """Each for every structure; none is a study of relaxed structures alone."""
    reference: References | None = None
    gates: list[Gate] = Field(default_factory=list)
    """The study converges when all of them hold; a value that is missing holds none."""

    @property
    def engines(self) -> list[EngineSettings]:
        """See DataStudy."""
        return [potential.engine for potential in self.potentials]

    def _heads_fit(self) -> None:
        super()._heads_fit()
        for key in ("heads", "start", "heldout", "label"):
            if getattr(self, key):
                raise ValueError(f"{key}: a study of properties has no labeled data; engines stand in `potentials`")
        if not self.structures:
            raise ValueError("structures: give the crystals whose properties are asked for")
        check_unique("potentials", self.potential_names)
        moved = next((settings.property for settings in self.properties if isinstance(settings, DynamicProperty)), None)
        for potential in self.potentials if moved else ():
            if potential.evaluate is None:
                raise ValueError(f"potentials.{potential.name}: {moved} needs an engine that plays `evaluate`")
        if self.reference is not None and self.reference.potential is not None:
            known = self.potential_names
            if self.reference.potential not in known:
                raise ValueError(f"reference.potential: there is no potential {self.reference.potential!r} in {known}")

    @property
    def set_names(self) -> list[str]:
        """Structure sets whose properties are asked for: all of them."""
        return [structures.name for structures in self.structures]

    @property
    def potential_names(self) -> list[str]:
        """In the order of their numbers."""
        return [potential.name for potential in self.potentials]

    def named_properties(self) -> Iterator[tuple[str, PropertySettings]]:
        """See named_properties."""
        return named_properties(self.properties)


def named_properties(properties: Sequence[PropertySettings]) -> Iterator[tuple[str, PropertySettings]]:
    """Each property with the name of its results: its kind, numbered where the file has it more than once."""
    kinds = [settings.property for settings in properties]
    for index, settings in enumerate(properties):
        number = kinds[:index].count(settings.property)
        several = kinds.count(settings.property) > 1
        yield f"{settings.property}-{number + 1}" if several else settings.property, settings
