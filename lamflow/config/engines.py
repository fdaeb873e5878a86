"""What the engines of each role are told: base classes of their settings."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

from pydantic import Field, model_validator

from lamflow.config.labeled import LabeledHead
from lamflow.config.pretrained import PretrainedModel
from lamflow.config.ramp import Ramp
from lamflow.config.section import Distinct, Section
from lamflow.config.select import Channel, FixedWindow
from lamflow.units import Bar, Count, ElectronKelvin, EvPerAngstrom, Kelvin, Length, Picosecond, Steps, Timestep


class ExaminedStudy(Protocol):
    """What engines see of the study that they are a part of."""

    @property
    def elements(self) -> list[str]:
        """The models' type map."""

    @property
    def heads(self) -> Sequence[LabeledHead]:
        """The heads; none in a study without any."""

    @property
    def all_heads(self) -> Sequence[LabeledHead]:
        """The heads; one whose name is empty in a study without any."""

    @property
    def engines(self) -> Sequence[EngineSettings]:
        """Settings of every engine beside those that label."""

    @property
    def has_committee(self) -> bool:
        """The disagreement of several models decides what is labeled."""


class EngineSettings(Section):
    """Base of every engine's settings; `engine` is the name that chooses it."""

    engine: str

    def missing(self) -> str | None:
        """What is not installed here that these settings need, and how to get it; None if nothing."""
        return None

    @property
    def title(self) -> str:
        """What is judged in words, where the engine is: its name, or its model's."""
        return self.engine

    @property
    def model_file(self) -> Path | None:
        """File of the model that these settings name; None for engines without one."""
        return None

    @property
    def moments_seen(self) -> Sequence[str] | None:
        """Chemical symbols of the atoms whose magnetic moments it sees when it evaluates; None where only a run can
        tell."""
        return None

    def for_heads(self, names: Sequence[str]) -> Self | None:
        """These settings with the first of the heads called `names` that their model has.

        None for a model that has heads and none of these; an engine without heads knows all data.
        """
        del names
        return self

    def known_elements(self) -> set[str] | None:
        """Chemical symbols that the engine can treat with these settings; None for all."""
        return None

    def pinned(self, study: ExaminedStudy) -> Self:
        """These settings with what must stay the same during a run written down; asked once, when it is prepared."""
        del study
        return self

    def examine(self, study: ExaminedStudy) -> list[str]:
        """Warnings about the model files that these settings name, once they are opened.

        Raises ValueError for what can never work with `study`. Does nothing where the code to open them is missing.
        """
        del study
        return []


class TrainerSettings(EngineSettings):
    """What every trainer is told."""

    model_file_name: ClassVar[str | None] = None
    """Name of the file in a trained model's folder that other trainings can start from; None if there is none."""
    multitask: ClassVar[bool] = False
    """The engine trains models with several heads."""
    offers: ClassVar[frozenset[str]] = frozenset()
    """Abilities of the models beside evaluating frames, which explorers may need: `lammps` for those that LAMMPS
    knows, `batched` for those that open sessions."""
    models: int = Field(4, ge=1, le=64)
    """How many models are trained with different seeds. Their disagreement is the measure of what they do not know."""
    bootstrap: bool = False
    """Train every model on a sample of its own of the frames, drawn with repetition. Models that start from the same
    pre-trained one agree more than they should; this keeps them apart."""

    @property
    def n_models(self) -> int:
        """How many models are trained in all."""
        return self.models

    @property
    def uses_electronic_temperature(self) -> bool:
        """Models depend on the electronic temperature of a frame."""
        return False

    @property
    def magnetic_elements(self) -> Sequence[str]:
        """Chemical symbols of the atoms whose magnetic moments the models see; none for models without spins."""
        return ()

    @property
    def tolerance(self) -> float:
        """Of several architectures the fastest is chosen whose error is at most so many times the best one's."""
        return 1.0

    @property
    def pretrained_model(self) -> PretrainedModel | None:
        """The model that every training starts from; None for random weights."""
        return None

    def evaluator_settings(self, model: PretrainedModel) -> EngineSettings | None:
        """Settings that play `evaluate` with a model file of this engine; None for an engine without such files."""
        del model
        return None

    def starts_from_a_model(self, index: int) -> bool:
        """Model `index` begins its first iteration as a pre-trained model that can predict something."""
        del index
        return False

    def examine_data(self, study: ExaminedStudy, frames: Sequence[Any]) -> list[str]:
        """Warnings about the frames that models of these settings are trained on, as far as these are there."""
        del study, frames
        return []

    def input_text(self, iteration: int, index: int) -> str:
        """What an iteration does with model `index` that neither its data nor these settings say."""
        del iteration, index
        return ""

    def variant(self, index: int) -> str:
        """Name of the architecture of model `index`; empty where there is only one."""
        del index
        return ""

    def seconds(self) -> float:
        """A guess, for planning only, of the time that the first training of one model takes, in s."""
        return 600.0


class ExplorerSettings(EngineSettings):
    """What every explorer is told."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """Abilities of models that the engine cannot do without; see `TrainerSettings.offers`."""

    head: str | None = None
    """Of several heads the one that explores and gets the labels; the first that has a label engine if absent."""
    window: FixedWindow | None = None
    channels: list[Channel] | None = None
    """Levels of this group's frames instead of those of `select`."""

    def conditions(self) -> list[dict[str, float]]:
        """Every condition (temperature in K, pressure in bar, …) that is explored."""
        return [{}]

    def seconds(self, natoms: int) -> float:
        """A guess, for planning only, of the time that one simulation of `natoms` atoms takes, in s."""
        del natoms
        return 60.0


class WalkerSettings(ExplorerSettings):
    """What explorers are told that begin with structures: dynamics, relaxation."""

    structures: Annotated[list[str], Distinct] = Field(min_length=1)
    """Names of the structure sets to start from."""
    starts: int = Field(1, ge=1, le=10_000)
    """How many start structures each condition gets in an iteration, drawn without repetition while there are any."""

    ramp: Ramp | None = None
    """Explore the first of `temperatures` only, and go on to the next by itself when enough of its frames are accurate.
    A stage is not done before it has reached the last."""

    @model_validator(mode="after")
    def _has_a_ramp(self) -> Self:
        if self.ramp is not None and len(self.ramp_temperatures) < 2:
            raise ValueError("ramp: a temperature ramp needs at least two temperatures")
        return self

    @property
    def ramp_temperatures(self) -> list[float]:
        """The temperatures in their order, K."""
        return list(dict.fromkeys(c["temperature"] for c in self.conditions() if "temperature" in c))

    def conditions_at(self, level: int) -> list[dict[str, float]]:
        """The conditions that are explored at a level of the temperature ramp; all of them without a ramp."""
        if self.ramp is None:
            return self.conditions()
        return [
            condition for condition in self.conditions() if condition["temperature"] == self.ramp_temperatures[level]
        ]

    def unsupported_start(self, start: Any) -> str | None:
        """Why runs cannot begin with such a structure; None if they can."""
        del start
        return None

    @property
    def final_structures(self) -> str | None:
        """Name of the structure set whose structures runs go to, for engines that follow paths."""
        return None


def one_atom(start: Any) -> str | None:
    """What is said of a single atom: without the motion of its centre of mass it has no temperature."""
    return "dynamics needs at least two atoms; give the structure set a supercell" if start.natoms < 2 else None


class DynamicsSettings(WalkerSettings):
    """What explorers are told that move atoms step by step."""

    regime: ClassVar[str] = "ensemble"
    """Name of the setting that says how atoms move."""
    temperatures: Annotated[list[Kelvin], Distinct] = Field(default_factory=list)
    """Needed by dynamics."""
    pressures: Annotated[list[Bar], Distinct] = Field(default_factory=list)
    """Needed by `npt`, every temperature with every pressure; `relax` takes them and uses 0 bar otherwise."""
    electronic_temperatures: Annotated[list[ElectronKelvin], Distinct] = Field(default_factory=list)
    """Of the electrons, for models that know one; combined with every temperature and pressure."""
    steps: Steps
    timestep: Timestep = 0.001
    every: Steps = 10
    """Steps between the frames that are kept."""
    thermostat_time: Picosecond = 0.1
    barostat_time: Picosecond = 1.0

    @model_validator(mode="after")
    def _conditions_fit(self) -> Self:
        how = str(getattr(self, self.regime))
        if how not in ("relax", "neb") and not self.temperatures:
            raise ValueError(f"temperatures are needed by {self.regime} {how}")
        if how.startswith("npt") and not self.pressures:
            raise ValueError(f"pressures are needed by {self.regime} {how}")
        if self.pressures and not self.takes_pressures:
            raise ValueError(f"pressures have no meaning in {self.regime} {how}; did you mean 'npt'?")
        if self.every > self.steps:
            raise ValueError(f"every ({self.every}) is more than steps ({self.steps}): no frame would be kept")
        return self

    @property
    def takes_pressures(self) -> bool:
        """Pressures have a meaning."""
        how = str(getattr(self, self.regime))
        return how.startswith("npt") or how == "relax"

    def axes(self) -> dict[str, list[float]]:
        """The values of each condition."""
        return {
            "temperature": self.temperatures,
            "pressure": self.pressures,
            "electronic_temperature": self.electronic_temperatures,
        }

    def conditions(self) -> list[dict[str, float]]:
        """Every combination of the axes' values; an axis without values is left out."""
        given = {name: values for name, values in self.axes().items() if values}
        return [dict(zip(given, values, strict=True)) for values in itertools.product(*given.values())]


class Relaxation(Section):
    """How structures are relaxed, all of a generation at once."""

    method: Literal["lbfgs", "fire"] = "lbfgs"
    model: Literal["first", "mean"] = "first"
    """Relax with the committee's first model, or with the mean of all at so many times the cost."""
    steps: Count = 150
    """Most steps of a relaxation."""
    fmax: EvPerAngstrom = 0.03
    """It ends when no force on an atom or, divided by the number of atoms, on the cell is larger."""
    cell: bool = True
    """Relax the cell too."""
    max_step: Length = 0.15
    """Longest move of an atom in one step."""


class SearcherSettings(ExplorerSettings):
    """What engines are told that propose structures themselves, generation after generation."""

    population: int = Field(20, ge=2, le=10_000)
    """Structures of a generation."""
    generations: int = Field(5, ge=1, le=1000)
    """Generations of one search; every iteration of a stage begins a new one."""
    pressures: Annotated[list[Bar], Distinct] = Field([0.0], min_length=1)
    """One search for each; 10 000 bar are 1 GPa."""
    repeats: int = Field(1, ge=1, le=10_000)
    """Independent searches at each pressure."""
    relax: Relaxation = Relaxation()
    mode: Literal["merge", "split"] = "merge"
    """`merge`: one pod does a whole search, all generations one after the other. `split`: each generation's
    relaxations are dealt out to the explore pods, for models so expensive that this pays."""
    path_frames: Count = 6
    """Most frames of each relaxation's path that are judged and may be labeled, evenly spaced, with start and end."""
    label_best: int = Field(5, ge=0, le=10_000)
    """So many of the structures nearest to the convex hull are labeled whatever the models' deviation, so that the hull
    becomes one of labels."""
    similarity: float = Field(0.02, ge=0, le=10)
    """Structures whose bond characterisation matrices are closer are the same one."""

    @property
    def elements(self) -> list[str]:
        """Chemical symbols of what is searched."""
        raise NotImplementedError

    @property
    def natoms(self) -> int:
        """Atoms of the largest structure that may be proposed."""
        raise NotImplementedError

    def conditions(self) -> list[dict[str, float]]:
        """One for each pressure."""
        return [{"pressure": pressure} for pressure in self.pressures]

    def seconds(self, natoms: int) -> float:
        """As small models take on one core, for a whole search."""
        return 2e-4 * natoms * self.population * self.generations * self.relax.steps


class LabelerSettings(EngineSettings):
    """What every labeler is told."""

    nonphysical_keys: ClassVar[frozenset[str]] = frozenset()
    """Settings that change how a label is computed and not what it is."""
    cached: ClassVar[bool] = True
    """Labels are worth keeping for other runs; engines that are as fast as a disk say no."""

    @property
    def gives_virial(self) -> bool:
        """Labels of periodic frames have a virial."""
        return True

    @property
    def uses_electronic_temperature(self) -> bool:
        """Labels depend on the electronic temperature of a frame; frames that have one are refused otherwise."""
        return False

    @property
    def uses_spins(self) -> bool:
        """Labels are for the moments of a frame, with magnetic forces; otherwise frames with moments are refused."""
        return False

    @property
    def held_elements(self) -> Sequence[str] | None:
        """Chemical symbols of the atoms whose moments are where the frame says; None for all."""
        return None

    def implementation_hash(self) -> str:
        """Hash of what a label depends on beside these settings and the files that they name; empty for nothing."""
        return ""

    @classmethod
    def replaced_file(cls, begun: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
        """Why a run cannot go on, where a file is another one than it `begun` with although its name is the same.

        Both are these settings as a run keeps them. None where all files are the same, or have other names.
        """
        del begun, now
        return None

    @property
    def at_once(self) -> int:
        """How many frames the engine takes in one call."""
        return 1

    def seconds(self, natoms: int) -> float:
        """A guess, for planning only, of the time that one label of `natoms` atoms takes, in s."""
        del natoms
        return 1.0


class FolderSettings(EngineSettings):
    """What engines are told that leave structures in a folder, to be relaxed by others."""

    folder: Path
    """Where the structures lie."""
