"""The grammar: what every study says, and what those do that train or judge models on given data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lamflow.config.batch import BatchSystem
from lamflow.config.engines import EngineSettings, LabelerSettings, TrainerSettings
from lamflow.config.heads import Head
from lamflow.config.installed import ChosenByEngine
from lamflow.config.labeled import Heldout, Start
from lamflow.config.pods import BATCH, HERE, Cluster, Pods
from lamflow.config.section import Element, Name, Section, check_distinct
from lamflow.config.select import EmbeddingScore, Filters
from lamflow.config.structures import StructureSet
from lamflow.units import Fraction


class LabelBudget(Section):
    """Where labels end."""

    labels: int | None = Field(None, ge=1, le=100_000_000)
    """Most labels of the run together, those before the first training included."""
    failed_labels: Fraction = 0.2
    """Stop when more than this fraction of a round's labels failed; below it they are counted and left out."""


class Study(Section):
    """What every kind of workflow has."""

    workflow: str = "learning"
    """Kind of workflow: what is done with the rest of the file."""
    name: Name
    """Name of the run: of its folder, its workflows and its report."""
    seed: int = Field(1, ge=0, lt=2**53)
    """Every random number of the run descends from this one."""
    elements: list[Element] = Field(min_length=1)
    """The models' type map, in this order."""
    pods: Pods = Pods()
    cluster: Cluster = Cluster()
    batch: BatchSystem | None = None
    """Where the run's jobs go with `lamflow submit`, and with `lamflow run --on`."""
    sites: dict[Name, BatchSystem] = Field(default_factory=dict)
    """Other batch systems by name; `site` under `pods:` sends the jobs of a kind of step to one."""

    @model_validator(mode="after")
    def _sites_exist(self) -> Self:
        known = [HERE, BATCH, *self.sites]
        for kind in type(self.pods).model_fields:
            site = self.pods.site_of(kind)
            if site is not None and site not in known:
                raise ValueError(f"pods.{kind}.site: there is no site {site!r}; there are {', '.join(known)}")
        for name in (HERE, BATCH):
            if name in self.sites:
                raise ValueError(f"sites: {name!r} means something else; give the site another name")
        return self


class DataStudy(Study):
    """A study that begins with labeled data, or with structures that are labeled first."""

    structures: list[StructureSet] = Field(default_factory=list)
    start: Start | None = None
    heldout: Heldout | None = None
    data_format: Literal["deepmd/npy", "deepmd/npy/mixed"] = "deepmd/npy"
    """How training sets lie on disk."""
    heads: list[Head] = Field(default_factory=list)
    """Several data sets that one model learns together, each with a head of its own; then `start`, `heldout` and
    `label` belong to the heads."""
    label: Annotated[LabelerSettings, ChosenByEngine("label")] | None = None
    label_cache: bool = True
    """Labels are kept for every run that shares the place, and never paid twice: on a laptop below `~/.cache/lamflow`
    (or LAMFLOW_CACHE), on a cluster beside the runs. Settings that give other labels have other sites."""
    budget: LabelBudget = LabelBudget()
    filters: Filters | None = None
    """What structures must be to be labeled; learning has `select.filters` instead, for explored frames too."""

    @property
    def frame_filters(self) -> Filters:
        """What structures must be to be explored or labeled."""
        return self.filters or Filters()

    @property
    def all_heads(self) -> Sequence[Head]:
        """The heads; a study without any has one whose name is empty."""
        if self.heads:
            return self.heads
        own: dict[str, Any] = {
            "start": self.start or Start(),
            "heldout": self.heldout or Heldout(),
            "label": self.label,
            "pretrained_head": None,
            "weight": 1.0,
        }
        return [Head.model_construct(name="", **own)]

    def head(self, name: str) -> Head:
        """The head called `name`."""
        return next(head for head in self.all_heads if head.name == name)

    def labeler(self, head: str = "") -> LabelerSettings:
        """The engine that labels the frames of a head. Raises ValueError for one that has none."""
        labeler = self.head(head).label
        if labeler is None:
            raise ValueError(f"label: there is no label engine for {f'head {head}' if head else 'this run'}")
        return labeler

    @property
    def labeled_first(self) -> dict[tuple[str, Literal["train", "heldout"]], list[str]]:
        """Structure sets that are labeled before the first iteration, by the head and what they are for."""
        wanted: dict[tuple[str, Literal["train", "heldout"]], list[str]] = {}
        for head in self.all_heads:
            wanted[head.name, "train"], wanted[head.name, "heldout"] = head.start.label, head.heldout.label
        return {key: names for key, names in wanted.items() if names}

    @property
    def explored_heads(self) -> list[str]:
        """The heads that are explored, in the order of the file."""
        return []

    @property
    def needed_abilities(self) -> frozenset[str]:
        """What explorers need of the models; see `TrainerSettings.offers`."""
        return frozenset()

    @property
    def bounds_errors(self) -> EmbeddingScore | None:
        """How the errors of single models are bounded; None where nobody asks for bounds."""
        return None

    @property
    def trains(self) -> bool:
        """Models are trained, so that every head needs data to train on and others to be judged by."""
        return False

    @property
    def engines(self) -> list[EngineSettings]:
        """Settings of every engine beside those that label."""
        return []

    @property
    def source_files(self) -> list[Path]:
        """Files and folders that the first round reads itself; they are linked or copied into the run."""
        return []

    @property
    def source_settings(self) -> dict[str, Any]:
        """How they are read, which cannot change once a run has begun."""
        return {}

    def explored_structures(self, head: str) -> list[str]:
        """Structure sets that are explored for a head."""
        del head
        return []

    @property
    def has_committee(self) -> bool:
        """The disagreement of several models decides what is labeled."""
        return False

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for what, named in (("structures", self.structures), ("heads", self.heads)):
            check_unique(what, [item.name for item in named])
        check_unique("elements", self.elements)
        return self

    @model_validator(mode="after")
    def _data_fit(self) -> Self:
        self._heads_fit()
        known = {structures.name for structures in self.structures}
        for where, name in self._used_structures():
            if name not in known:
                raise ValueError(f"{where}: there is no structure set {name!r}; defined are {sorted(known)}")
        for head in self.all_heads:
            self._labeler_fits(head)
        for structures in self.structures:
            built = structures.crystal.elements if structures.crystal and not structures.composition else []
            for element in (*structures.composition, *structures.interstitials, *built):
                if element not in self.elements:
                    raise ValueError(f"structures.{structures.name}: {element} is not in elements {self.elements}")
        return self

    def _heads_fit(self) -> None:
        """The data belong to the study or to its heads, not to both."""
        if self.heads:
            both = [key for key in ("start", "heldout", "label") if getattr(self, key) is not None]
            if both:
                raise ValueError(f"{both[0]}: with heads this belongs into a head")

    def _used_structures(self) -> Iterator[tuple[str, str]]:
        """Where a structure set is named, and its name."""
        for head in self.all_heads:
            where = f"heads.{head.name}." if head.name else ""
            yield from ((f"{where}start.label", name) for name in head.start.label)
            yield from ((f"{where}heldout.label", name) for name in head.heldout.label)

    def _labeler_fits(self, head: Head) -> None:
        where = f"heads.{head.name}: " if head.name else ""
        if head.label is None:
            if head.start.label or head.heldout.label:
                raise ValueError(
                    f"{where or 'label: '}structures are to be labeled, and no engine does; give a label section"
                )
            return
        known = head.label.known_elements()
        if known is not None and set(self.elements) - known and not self.heads:
            unknown, listed = ", ".join(sorted(set(self.elements) - known)), ", ".join(sorted(known))
            raise ValueError(f"label: {head.label.engine} cannot treat {unknown}; as set up here it knows {listed}")
        if not head.label.uses_electronic_temperature:
            self._electrons_are_cold(head, where)

    def _electrons_are_cold(self, head: Head, where: str) -> None:
        """No frame that is labeled for `head` has an electronic temperature, as far as the file tells."""
        for structures in self.structures:
            first = structures.name in (*head.start.label, *head.heldout.label)
            if first and structures.electronic_temperature is not None:
                raise ValueError(f"{no_electronic_temperature(head, where)}, and structures.{structures.name} has one")


class TrainingStudy(DataStudy):
    """Models are trained once on the data and judged."""

    workflow: str = "training"
    train: Annotated[TrainerSettings, ChosenByEngine("train")]

    @property
    def trains(self) -> bool:
        """See DataStudy."""
        return True

    @property
    def measures_speed(self) -> bool:
        """How fast models are is of interest, and measured."""
        return True

    @property
    def engines(self) -> list[EngineSettings]:
        """See DataStudy."""
        return [self.train]

    @model_validator(mode="after")
    def _moments_fit(self) -> Self:
        magnetic = self.train.magnetic_elements
        used = {name for _, name in self._used_structures()}
        for structures in self.structures:
            if structures.spins is not None and structures.name in used and not magnetic:
                raise ValueError(
                    f"structures.{structures.name}: it has spins, and models of {self.train.engine} learn none as they "
                    "are set up; see train.spin"
                )
            for element in structures.spins.moments if structures.spins is not None else ():
                if magnetic and element not in magnetic:
                    raise ValueError(
                        f"structures.{structures.name}.spins: {element} is not among the magnetic elements "
                        f"{', '.join(magnetic)} of train.spin"
                    )
        unknown = [element for element in magnetic if element not in self.elements]
        if unknown:
            raise ValueError(f"train.spin.elements: {', '.join(unknown)} is not in elements {self.elements}")
        for head in self.all_heads:
            if magnetic and head.label is not None and not head.label.uses_spins:
                raise ValueError(
                    f"label: {head.label.engine} gives no magnetic forces as it is set up here, and train.spin needs "
                    "them"
                )
            held = head.label.held_elements if head.label is not None else None
            free = [element for element in magnetic if held is not None and element not in held]
            if free:
                raise ValueError(
                    f"label: {', '.join(free)} is among the magnetic elements of train.spin, and its moments are not "
                    f"held; those of {', '.join(held or ())} are"
                )
        return self

    def _heads_fit(self) -> None:
        super()._heads_fit()
        if self.heads and not self.train.multitask:
            raise ValueError(f"heads: engine {self.train.engine!r} trains one head only")
        for head in self.all_heads:
            where = f"heads.{head.name}." if head.name else ""
            if head.start.is_empty:
                raise ValueError(f"{where}start: give labeled data (data:) or structure sets to label first (label:)")
            if head.heldout.is_empty:
                raise ValueError(
                    f"{where}heldout: give data, label or fraction; models are judged on it before they explore"
                )


class EvaluationStudy(DataStudy):
    """An engine is judged on the labeled data."""

    workflow: str = "evaluation"
    evaluate: Annotated[EngineSettings, ChosenByEngine("evaluate")]
    """What is judged: a trained model, or any other engine that evaluates frames in milliseconds."""

    @property
    def engines(self) -> list[EngineSettings]:
        """See DataStudy."""
        return [self.evaluate]

    def evaluator(self, name: str) -> EngineSettings | None:
        """Settings that judge the data of a head; None where the model has no head for it."""
        head = self.head(name)
        names = [name, *filter(None, [head.pretrained_head])] if name else []
        return self.evaluate.for_heads(names) if names else self.evaluate

    def _heads_fit(self) -> None:
        super()._heads_fit()
        if all(head.start.is_empty and head.heldout.is_empty for head in self.all_heads):
            raise ValueError("heldout: give the labeled data to judge on, as heldout or start")


def no_electronic_temperature(head: Head, where: str) -> str:
    """What is said of a labeler whose frames would have an electronic temperature that it does not know."""
    return f"{where}label: {head.label.engine if head.label else ''} knows no electronic temperature"


def check_unique(what: str, names: list[str]) -> None:
    """Raise ValueError for a name that appears twice."""
    try:
        check_distinct(names)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
