"""The grammar of cleaning: sources of labeled data, checks of every frame, and what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from ase.data import chemical_symbols
from pydantic import Field, ValidationError, ValidationInfo, model_validator

from lamflow.config.engines import EngineSettings, TrainerSettings
from lamflow.config.installed import ChosenByEngine
from lamflow.config.labeled import HeadName, LabelName
from lamflow.config.problems import problem_of
from lamflow.config.references import files_of
from lamflow.config.remote import SourceData
from lamflow.config.schema import DataStudy, TrainingStudy, check_unique
from lamflow.config.section import Element, Section, expand
from lamflow.units import Angstrom, Count, EvPerAngstrom, EvPerAtom, Fraction, Positive

EnergyUnit = Literal["eV", "meV", "Hartree", "Ry", "kcal/mol", "kJ/mol"]
LengthUnit = Literal["Å", "bohr", "nm"]
StressUnit = Literal["eV/Å³", "GPa", "kbar", "Hartree/bohr³", "Ry/bohr³"]


class SourceUnits(Section):
    """Units of a source whose files do not say them."""

    energy: EnergyUnit = "eV"
    per_atom: bool = False
    """Energies are those of an atom."""
    length: LengthUnit = "Å"
    force_energy: EnergyUnit | None = None
    """Forces are this energy over the length; `energy` if absent."""
    stress: StressUnit | None = None
    """The energy over the length cubed if absent."""
    stress_sign: Literal["tension", "compression"] = "tension"
    """What is positive: tension as in ASE, or compression as in VASP. Virials are always positive under compression."""


class Source(Section):
    """Labeled data of one origin."""

    name: HeadName
    """Of the source, in counts and in the data card."""
    data: Annotated[SourceData, Field(min_length=1)]
    """Files or folders, patterns, or addresses that begin with s3:// or hf://: extended XYZ, deepmd/npy and mixed,
    MPtrj's JSON, ColabFit's parquet, LMDB of ASE (OMat24's .aselmdb) and of DeePMD-kit, ASE databases, outputs of
    codes, any format of dpdata's."""
    format: str | None = None
    """Name of the format where the files' names do not tell: `mptrj`, `colabfit`, `lmdb`, ASE's or dpdata's."""
    keys: dict[LabelName, str] = Field(default_factory=dict)
    """Names under which files have their labels; names that public sets use are found without."""
    units: SourceUnits | None = None
    """Units of its numbers; without, those that the files name, and eV, Å and eV/Å³ where they name none."""
    energy: Literal["corrected", "uncorrected"] | None = None
    """Which of MPtrj's two energies."""
    trajectory: str | None = None
    """Name of what tells a frame's trajectory; the usual ones (`mptrj_traj_id`, `mp_id`, …) are found without."""
    method: str = ""
    """Level of theory of all frames; what the files say if empty."""
    pseudopotentials: str = ""
    head: HeadName | None = None
    """Head that all its frames belong to; without, frames of one method and pseudopotentials share one."""
    role: Literal["train", "heldout"] = "train"
    """A source that is held out is never trained on, and frames of others that are like one of its are dropped; then
    `split` holds out nothing more."""
    licence: str = ""
    doi: str = ""
    software: str = ""


Rule = Literal[
    "unreadable", "foreign_elements", "force_sum", "force_symmetry", "distance", "volume", "force_outlier",
    "energy_outlier", "energy_unit", "trajectory", "conflict", "model_energy", "model_forces", "model_stress",
    "swapped_elements",
]  # fmt: skip
Action = Literal["flag", "quarantine", "off"]


class Checks(Section):
    """What every frame is asked. `flag` counts a frame and keeps it, `quarantine` takes it out of the data."""

    force_sum: EvPerAngstrom = 1e-2
    """Norm of the sum of all forces; more than that is an error of keys or units, or atoms that were held."""
    force_symmetry: EvPerAngstrom = 0.05
    """Root mean square of the part of the forces that the space group of the structure forbids; more than that is an
    error of the order of the atoms, unless moments break the symmetry."""
    distance: float = Field(0.4, ge=0, le=2)
    """Smallest distance over the sum of the covalent radii."""
    volume: tuple[Positive, Positive] = (2.0, 1000.0)
    """Å³ an atom, of periodic frames."""
    max_force: EvPerAngstrom = 50.0
    energy_z: Positive = 8.0
    """Robust standard deviations of the energy from what composition and density of other frames of the head say."""
    trajectory: Fraction = 0.3
    """Share of the energy change along a trajectory that forces and stress may leave unexplained; frames that lie far
    apart may leave more, five times what their source leaves as a rule."""
    conflict: EvPerAtom = 0.01
    """Labels of one structure that differ by more are in conflict."""
    model_z: Positive = 6.0
    """Robust standard deviations of the energy from that of a pre-trained model, corrected by element and head;
    they are larger for frames whose forces or stress the model has wrong, too, and for elements that it knows less."""
    model_match: Fraction = 0.25
    """Cosine between the forces of labels and model below which they are different forces."""
    actions: dict[Rule, Action] = Field(default_factory=dict)
    """What a rule does where it is to be something else: outliers are flagged, what cannot be right is quarantined."""


class Duplicates(Section):
    """Frames that are alike."""

    tolerance: Angstrom = 0.002
    """Structures whose atoms have moved by less, about, are one; 0 finds only those that are equal. A frame is a
    duplicate of another if its labels are the same, too."""
    keep: bool = False
    """Count them and keep them."""


class Split(Section):
    """What is held out."""

    heldout: Fraction = 0.05
    whole: Literal["formula", "trajectory", "structure", "source"] = "formula"
    """What is never split: all frames of a composition, of a trajectory, of like structures, or of a source."""


class Models(Section):
    """Models that have not been trained on these labels, asked what they think of them."""

    engines: list[Annotated[EngineSettings, ChosenByEngine("evaluate")]] = Field(min_length=1)
    """Pre-trained models; where several are asked, a frame is bad when none of them agrees with it."""
    frames: Count | None = None
    """At most so many frames of each source, spread evenly; all if absent."""
    max_atoms: Count | None = None
    """Larger frames are not asked about."""


class Folds(Section):
    """Models trained on the labels themselves, each asked about the compositions that it has not seen. A label that
    they do not expect is bad or hard; one that is also far from what its neighbours' errors allow is quarantined."""

    train: Annotated[TrainerSettings, ChosenByEngine("train")]
    """Small models, one a fold and head; `models` is not used."""
    n: int = Field(5, ge=2, le=50)
    frames: Count | None = None
    """A model is trained on at most so many frames, drawn at random."""
    max_atoms: Count | None = None
    """Larger frames are neither trained on nor asked about."""


class Compress(Section):
    """Fewer frames that say nearly as much."""

    method: Literal["random", "farthest", "entropy", "direct", "every"] = "entropy"
    """`farthest` points of descriptors, most information entropy (MSC of QUESTS), the clusters of DIRECT, or the first
    three, the last three and every n-th frame of a trajectory, as OpenLAM's sets were thinned. The first three choose
    in blocks of neighbours from heads of more than 2000 frames."""
    fraction: float = Field(0.5, gt=0, le=1)
    """Of the training frames of each head that stay; `every` takes `n` instead."""
    n: int = Field(10, ge=1, le=100_000)


class LearningCurve(Section):
    """Models of growing parts of the training frames, the first part at random, then the frames that the model before
    knew worst, and random ones of the same number beside them. Of each head the fewest frames stay that are enough."""

    train: Annotated[TrainerSettings, ChosenByEngine("train")]
    """Small models; `models` is not used."""
    fractions: list[Annotated[float, Field(gt=0, lt=1)]] = Field([0.1, 0.2, 0.4, 0.7], min_length=1)
    """Parts of the frames, growing; a model of all of them is trained beside."""
    metric: Literal["force_rmse", "energy_rmse"] = "force_rmse"
    """Of the held-out frames of the head."""
    target: float = Field(1.1, ge=1, le=100)
    """Frames are enough when the error is at most so many times that of the model of all frames."""

    @model_validator(mode="after")
    def _grow(self) -> Self:
        if sorted(set(self.fractions)) != self.fractions:
            raise ValueError(f"fractions: {self.fractions} must grow")
        return self


class TrainingOutput(Section):
    """A training study on the cleaned data, whose heads are written: training.yaml beside the data card."""

    exponent: Fraction = 0.5
    """Training draws from a head by its frames to this power: 0 draws from all heads alike, 1 from all frames alike."""
    study: dict[str, Any]
    """The rest of the study: `train: {…}`, and whatever else it says. Paths are relative to this file, as all are."""


class Relabel(Section):
    """Frames in quarantine are labeled again by the engine in `label`."""

    head: HeadName | None = None
    """Head that they then belong to: the one whose level of theory the engine has. Without, a new one, `relabeled`."""
    rules: list[Rule] = ["force_sum", "energy_unit", "trajectory", "conflict", "model_energy", "model_forces"]
    """What frames must have been found by."""
    limit: Count = 1000
    """At most so many frames."""

    @property
    def into(self) -> str:
        """The head that they belong to with their new labels."""
        return self.head or "relabeled"


Extra = Literal["extxyz", "parquet", "deepmd/lmdb"]


class CleaningStudy(DataStudy):
    """Labeled data are read, checked, freed of what repeats or cannot be right, split and written."""

    workflow: str = "cleaning"
    elements: list[Element] = Field(default_factory=list)
    """The type map; all elements that occur, by atomic number, if absent. Frames with others are quarantined."""
    sources: list[Source] = Field(min_length=1)
    checks: Checks = Checks()
    duplicates: Duplicates = Duplicates()
    models: Models | None = None
    folds: Folds | None = None
    relabel: Relabel | None = None
    split: Split = Split()
    compress: Compress | None = None
    curve: LearningCurve | None = None
    release: list[str] = Field(default_factory=list)
    """Beginnings of ids of frames that are quarantined and shall not be; `lamflow quarantine release` adds to them."""
    data_format: Literal["deepmd/npy", "deepmd/npy/mixed"] = "deepmd/npy/mixed"
    formats: list[Extra] = Field(default_factory=list)
    """Further formats to write, beside the data sets in DeePMD-kit's."""
    training: TrainingOutput | None = None

    @property
    def engines(self) -> list[EngineSettings]:
        """See DataStudy."""
        trained = [part.train for part in (self.folds, self.curve) if part is not None]
        return [*(self.models.engines if self.models is not None else []), *trained]

    @property
    def source_files(self) -> list[Path]:
        """See DataStudy."""
        return [expand(file) for source in self.sources for file in files_of(source.data)]

    @property
    def source_settings(self) -> dict[str, Any]:
        """See DataStudy."""
        return {"sources": [source.model_dump(mode="json", exclude={"data"}) for source in self.sources]}

    @model_validator(mode="after")
    def _sources_fit(self) -> Self:
        check_unique("sources", [source.name for source in self.sources])
        for key in ("heads", "start", "heldout"):
            if getattr(self, key):
                raise ValueError(f"{key}: cleaning begins with `sources`; remove this key")
        if self.relabel is not None and (self.label is None or not self.elements):
            lacking = "a label engine: give a label section" if self.label is None else "the elements: list them"
            raise ValueError(f"relabel: new labels need {lacking}")
        if self.curve is not None and self.compress is not None:
            raise ValueError("curve: it chooses the frames that stay, as `compress` does; give one of both")
        if self.curve is not None and not self.split.heldout and all(s.role == "train" for s in self.sources):
            raise ValueError(
                "curve: its models are judged on held-out frames; give split.heldout, or a source of that role"
            )
        if self.checks.volume[0] >= self.checks.volume[1]:
            raise ValueError(f"checks: volume {list(self.checks.volume)} Å³/atom: the first must be below the second")
        return self

    @model_validator(mode="after")
    def _training_is_a_study(self, info: ValidationInfo) -> Self:
        """What is wrong with it is said before anything is cleaned; its data are not there yet.

        It is written into a folder of the run, so its paths are absolute from here on.
        """
        if self.training is None:
            return self
        if not self.split.heldout and not any(source.role == "heldout" for source in self.sources):
            raise ValueError(
                "training: nothing is held out for its heads to be judged by; give split.heldout above 0, or a source "
                "of role heldout"
            )
        context, data = dict(info.context or {}), {"data": ["."]}
        context["root"] = context.get("root") or Path.cwd()
        raw = {"name": "training", "elements": self.elements or chemical_symbols[1:], "start": data, "heldout": data}
        raw |= self.training.study
        try:
            found = TrainingStudy.model_validate(raw, context=context)
        except ValidationError as error:
            first = problem_of(dict(error.errors(include_url=False)[0]), raw, {(): 1}, TrainingStudy)
            raise ValueError(f"training.study: {first.where}: {first.message}") from error
        study = found.model_dump(mode="json", exclude_unset=True, include=set(self.training.study))
        object.__setattr__(self, "training", self.training.model_copy(update={"study": study}))
        return self
