"""The grammar: one YAML file is one `Config`."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from ase.data import atomic_numbers, reference_states
from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from lamflow.config.engines import ChosenByEngine, ExplorerSettings, LabelerSettings, TrainerSettings
from lamflow.config.pods import Cluster, Pods
from lamflow.config.section import Element, InputFile, Section
from lamflow.units import Angstrom, Degree, EvPerAngstrom, Length, Share

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$")]
"""Lower-case letters, digits and '-', at most 40: it becomes part of the names of files and of Kubernetes objects."""
Supercell = Annotated[list[Annotated[int, Field(ge=1, le=50)]], Field(min_length=3, max_length=3)]
Deviation = Literal["force_max", "force_mean", "force_min", "force_max_relative", "virial_max", "energy"]


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


class StructureSet(Section):
    """Start structures: read from files or built, then repeated, substituted, strained and rattled. Seeded."""

    name: Name
    files: list[InputFile] = Field(default_factory=list)
    """Structures in any format that ASE or dpdata reads (POSCAR, CIF, extxyz, …); every frame is used."""
    format: str | None = None
    """Name of the format, for files whose name does not tell; ASE's names first, then dpdata's."""
    crystal: Crystal | None = None
    supercell: Supercell = [1, 1, 1]
    composition: dict[Element, Share] = Field(default_factory=dict)
    """Random alloy: every site gets one of these elements with this share."""
    copies: int = Field(1, ge=1, le=100_000)
    """How many structures to make from each one read or built."""
    strain: Share = 0.0
    """Largest random strain of a copy's cell, as a share of its lengths; shear included."""
    rattle: Angstrom = 0.0
    """Standard deviation of the random displacement of each coordinate in a copy."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.files) == (self.crystal is not None):
            raise ValueError("give either files or a crystal, not both and not neither")
        if self.composition and abs(sum(self.composition.values()) - 1) > 1e-6:
            raise ValueError(f"the shares of composition add up to {sum(self.composition.values()):g}, not to 1")
        return self


class Start(Section):
    """The labeled data that the first models are trained on."""

    data: list[InputFile] = Field(default_factory=list)
    """Labeled data that exist: deepmd/npy folders, extxyz, OUTCAR, ASE databases, any format of dpdata."""
    format: str | None = None
    """dpdata's or ASE's name of the format, for files whose name does not tell."""
    label: list[Name] = Field(default_factory=list)
    """Structure sets that are labeled before the first iteration."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.data and not self.label:
            raise ValueError("empty: give labeled data (data:) or structure sets to label first (label:)")
        return self


class Heldout(Section):
    """Labeled data that are never trained on. Every model is judged on them before it may explore."""

    data: list[InputFile] = Field(default_factory=list)
    """Labeled data that exist, as in `start`."""
    format: str | None = None
    label: list[Name] = Field(default_factory=list)
    """Structure sets that are labeled for this purpose before the first iteration."""
    share: float = Field(0.0, ge=0, le=0.9)
    """Share of the start data that is held out: whole files, and single start structures, so that nothing leaks."""


class Stage(Section):
    """One step of the exploration. The next stage begins when this one has converged."""

    name: Name
    explore: list[Annotated[ExplorerSettings, ChosenByEngine("explore")]] = Field(min_length=1)
    max_iterations: int | None = Field(None, ge=1)
    """Go on to the next stage after so many iterations, converged or not."""


class FixedWindow(Section):
    """Frames whose deviation lies between two fixed levels are candidates."""

    rule: Literal["fixed"] = "fixed"
    low: EvPerAngstrom = 0.10
    """Frames below this deviation are already well described."""
    high: EvPerAngstrom = 0.50
    """Frames above this are likely unphysical and are dropped."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(
                f"low ({self.low:g} eV/Å) must be below high ({self.high:g} eV/Å); "
                "as written no frame can ever be selected"
            )
        return self


class AdaptiveWindow(Section):
    """The most uncertain frames below `high` are candidates, however small their deviation."""

    rule: Literal["adaptive"]
    high: EvPerAngstrom = 0.50
    """Frames above this are likely unphysical and are dropped."""
    candidates: int = Field(200, ge=1)
    """At least so many frames are candidates."""
    share: Share = 0.01
    """At least this share of all frames are candidates."""
    settled: Share = 0.05
    """A stage is done when the smallest deviation among the candidates has changed by less than this share in each of
    the last `over` iterations. With this window `converge.accurate` has no meaning and is not looked at."""
    over: int = Field(2, ge=1)


def _rule(value: object) -> str:
    """The rule of a window, `fixed` if none is given."""
    return str(value.get("rule", "fixed") if isinstance(value, dict) else getattr(value, "rule", "fixed"))


Window = Annotated[
    Annotated[FixedWindow, Tag("fixed")] | Annotated[AdaptiveWindow, Tag("adaptive")], Discriminator(_rule)
]


class Filters(Section):
    """Frames that no first-principles code should see. Each dropped frame is counted with its reason."""

    min_distance: Share = 0.55
    """Smallest distance allowed, as a share of the sum of the two covalent radii."""
    max_length_ratio: float = Field(5.0, ge=1)
    """Largest ratio of the longest to the shortest cell vector."""
    min_angle: Degree = 25.0
    """Smallest angle between two cell vectors."""
    volume_per_atom: tuple[float, float] = (2.0, 200.0)
    """Allowed volume of a periodic cell per atom, in Å³."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.volume_per_atom
        if not 0 <= low < high:
            raise ValueError(f"volume_per_atom: [{low:g}, {high:g}] Å³ must be a range from low to high")
        return self


class Select(Section):
    """Which explored frames are sent to be labeled: filters, then window, then diversity, then limits."""

    window: Window = FixedWindow()
    by: Deviation = "force_max"
    """Deviation that the window looks at: of the forces (largest, mean or smallest over the atoms; relative to the
    force's size plus 1 eV/Å), of the virial per atom in eV, or of the energy per atom in eV."""
    limit: int = Field(50, ge=1)
    """Most frames labeled in one iteration."""
    per_group: int | None = Field(None, ge=1)
    """Most frames from one explore group of the stage."""
    pick: Literal["diverse", "uncertain", "random"] = "diverse"
    """`diverse`: farthest from the training set and from each other; `uncertain`: largest deviation first."""
    pool: int = Field(1000, ge=1)
    """Most candidates that one pod sends on, drawn at random from all of its candidates."""
    filters: Filters = Filters()
    max_failed: Share = 0.5
    """Stop with the reasons when more than this share of the explore tasks failed outright."""

    @property
    def unit(self) -> str:
        """Of the deviation and of the window's levels."""
        return {"force_max_relative": "", "virial_max": "eV/atom", "energy": "eV/atom"}.get(self.by, "eV/Å")


class Converge(Section):
    """When a stage is done. Decided before labels are paid for; all conditions that are given must hold."""

    accurate: Share = 0.95
    """Share of the explored frames whose deviation is below the window."""
    heldout_force_rmse: EvPerAngstrom | None = None
    """Mean of the models' force RMSE on the held-out data must be at most this before the last stage, and the run, is
    done."""
    plateau: int | None = Field(None, ge=2)
    """Also done when the held-out force RMSE has not improved by 2 % over this many iterations."""


class Budget(Section):
    """Where a run ends even if it has not converged."""

    iterations: int = Field(10, ge=1)
    """The last iteration trains and explores and labels nothing, so every label paid for is trained on."""
    labels: int | None = Field(None, ge=1)
    """Most labels of all iterations together, those before the first included."""
    failed_labels: Share = 0.2
    """Stop when more than this share of an iteration's labels failed; below it they are counted and left out."""


class Config(Section):
    """A whole run of concurrent learning."""

    name: Name
    """Name of the run: of its folder, its workflows and its report."""
    seed: int = Field(1, ge=0)
    """Every random number of the run descends from this one."""
    elements: list[Element] = Field(min_length=1)
    """The models' type map, in this order."""
    structures: list[StructureSet] = Field(default_factory=list)
    start: Start
    heldout: Heldout
    data_format: Literal["deepmd/npy", "deepmd/npy/mixed"] = "deepmd/npy"
    """How training sets lie on disk."""
    train: Annotated[TrainerSettings, ChosenByEngine("train")]
    stages: list[Stage] = Field(min_length=1)
    select: Select = Select()
    label: Annotated[LabelerSettings, ChosenByEngine("label")]
    converge: Converge = Converge()
    budget: Budget = Budget()
    pods: Pods = Pods()
    cluster: Cluster = Cluster()

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        _unique("structures", [structures.name for structures in self.structures])
        _unique("stages", [stage.name for stage in self.stages])
        _unique("elements", self.elements)
        known = {structures.name for structures in self.structures}
        used = [("start.label", name) for name in self.start.label]
        used += [("heldout.label", name) for name in self.heldout.label]
        for stage in self.stages:
            for group in stage.explore:
                used += [(f"stages.{stage.name}.explore", name) for name in group.structures]
        for where, name in used:
            if name not in known:
                raise ValueError(f"{where}: there is no structure set {name!r}; defined are {sorted(known)}")
        if not (self.heldout.data or self.heldout.label or self.heldout.share):
            raise ValueError("heldout is empty: give data, label or share; models are judged on it before they explore")
        known_to_labeler = self.label.known_elements()
        if known_to_labeler is not None and set(self.elements) - known_to_labeler:
            unknown = ", ".join(sorted(set(self.elements) - known_to_labeler))
            known_ones = ", ".join(sorted(known_to_labeler))
            raise ValueError(f"label: {self.label.engine} cannot treat {unknown}; as set up here it knows {known_ones}")
        for structures in self.structures:
            built = structures.crystal.elements if structures.crystal and not structures.composition else []
            for element in (*structures.composition, *built):
                if element not in self.elements:
                    raise ValueError(f"structures.{structures.name}: {element} is not in elements {self.elements}")
        return self


def _unique(what: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{what}: {', '.join(repeated)} appears more than once")
