"""The grammar: one YAML file is one `Config`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lamflow.config.engines import (
    DynamicsSettings,
    EngineSettings,
    ExplorerSettings,
    LabelerSettings,
    SearcherSettings,
    TrainerSettings,
    WalkerSettings,
    missing_ability,
)
from lamflow.config.heads import Head, Heldout, Start
from lamflow.config.installed import ChosenByEngine, engine_named
from lamflow.config.pods import Cluster, Pods
from lamflow.config.section import Element, Name, Section
from lamflow.config.select import AdaptiveWindow, Filters, Select
from lamflow.config.structures import StructureSet
from lamflow.units import EvPerAngstrom, EvPerAtom, Fraction


class Stage(Section):
    """One step of the exploration. The next stage begins when this one has converged."""

    name: Name
    explore: list[Annotated[ExplorerSettings, ChosenByEngine("explore", "search")]] = Field(min_length=1)
    max_iterations: int | None = Field(None, ge=1)
    """Go on to the next stage after so many iterations, converged or not."""


class Converge(Section):
    """When a stage is done. Decided before labels are paid for; all conditions that are given must hold."""

    accurate: Fraction = 0.95
    """Fraction of the explored frames whose deviation is below the window."""
    heldout_force_rmse: EvPerAngstrom | None = None
    """Mean of the models' force RMSE on the held-out data must be at most this before the last stage, and the run, is
    done."""
    trajectory_force_rmse: EvPerAngstrom | None = None
    """Force RMSE against the teacher on the frames that the models explored themselves must be at most this; needs
    `select.score: teacher`."""
    hull_shift: EvPerAtom | None = None
    """For structure searches: since the iteration before the convex hull must have changed by at most this."""
    ground_state_error: EvPerAtom | None = None
    """For structure searches: by their labels, the ground states that the models found an iteration ago must lie at
    most this far above the hull of all labeled structures."""
    plateau: int | None = Field(None, ge=2)
    """Also done when the held-out force RMSE has not improved by 2 % over this many iterations."""


class LabelBudget(Section):
    """Where labels end."""

    labels: int | None = Field(None, ge=1)
    """Most labels of the run together, those before the first training included."""
    failed_labels: Fraction = 0.2
    """Stop when more than this fraction of a round's labels failed; below it they are counted and left out."""


class Budget(LabelBudget):
    """Where a run ends even if it has not converged."""

    iterations: int = Field(10, ge=1)
    """The last iteration trains and explores and labels nothing, so every label paid for is trained on."""
    forgetting: float | None = Field(None, ge=1)
    """Stop when the held-out force RMSE of a head that replays a head of the pre-trained model has grown to more than
    so many times what it was before fine-tuning."""


class Study(Section):
    """What every kind of workflow has."""

    workflow: str = "learning"
    """Kind of workflow: what is done with the rest of the file."""
    name: Name
    """Name of the run: of its folder, its workflows and its report."""
    seed: int = Field(1, ge=0)
    """Every random number of the run descends from this one."""
    elements: list[Element] = Field(min_length=1)
    """The models' type map, in this order."""
    pods: Pods = Pods()
    cluster: Cluster = Cluster()


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
    (or LAMFLOW_CACHE), on a cluster beside the runs. Settings that give other labels have other places."""
    budget: LabelBudget = LabelBudget()

    @property
    def filters(self) -> Filters:
        """What structures must be to be explored or labeled."""
        return Filters()

    @property
    def parts(self) -> Sequence[Head]:
        """The heads; a study without any has one part, whose name is empty."""
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

    def part(self, name: str) -> Head:
        """The part called `name`."""
        return next(part for part in self.parts if part.name == name)

    def labeler(self, head: str = "") -> LabelerSettings:
        """The engine that labels the frames of a head. Raises ValueError for one that has none."""
        found = self.part(head).label
        if found is None:
            raise ValueError(f"label: there is no label engine for {f'head {head}' if head else 'this run'}")
        return found

    @property
    def labeled_first(self) -> dict[tuple[str, Literal["train", "heldout"]], list[str]]:
        """Structure sets that are labeled before the first iteration, by the head and what they are for."""
        wanted: dict[tuple[str, Literal["train", "heldout"]], list[str]] = {}
        for part in self.parts:
            wanted[part.name, "train"], wanted[part.name, "heldout"] = part.start.label, part.heldout.label
        return {key: names for key, names in wanted.items() if names}

    @property
    def explored_heads(self) -> list[str]:
        """The heads that are explored, in the order of the file."""
        return []

    @property
    def trains(self) -> bool:
        """Models are trained, so that every head needs data to train on and others to be judged by."""
        return False

    @property
    def engines(self) -> list[EngineSettings]:
        """Settings of every engine beside those that label."""
        return []

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
            _unique(what, [item.name for item in named])
        _unique("elements", self.elements)
        return self

    @model_validator(mode="after")
    def _data_fit(self) -> Self:
        self._heads_fit()
        known = {structures.name for structures in self.structures}
        for where, name in self._used_structures():
            if name not in known:
                raise ValueError(f"{where}: there is no structure set {name!r}; defined are {sorted(known)}")
        for part in self.parts:
            self._labeler_fits(part)
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
        for part in self.parts:
            where = f"heads.{part.name}." if part.name else ""
            yield from ((f"{where}start.label", name) for name in part.start.label)
            yield from ((f"{where}heldout.label", name) for name in part.heldout.label)

    def _labeler_fits(self, part: Head) -> None:
        where = f"heads.{part.name}: " if part.name else ""
        if part.label is None:
            if part.start.label or part.heldout.label:
                raise ValueError(
                    f"{where or 'label: '}structures are to be labeled, and no engine does; give a label section"
                )
            return
        known = part.label.known_elements()
        if known is not None and set(self.elements) - known and not self.heads:
            unknown, listed = ", ".join(sorted(set(self.elements) - known)), ", ".join(sorted(known))
            raise ValueError(f"label: {part.label.engine} cannot treat {unknown}; as set up here it knows {listed}")
        if not part.label.uses_electronic_temperature:
            self._electrons_are_cold(part, where)

    def _electrons_are_cold(self, part: Head, where: str) -> None:
        """No frame that is labeled for `part` has an electronic temperature, as far as the file tells."""
        for structures in self.structures:
            first = structures.name in (*part.start.label, *part.heldout.label)
            if first and structures.electronic_temperature is not None:
                raise ValueError(f"{_cold(part, where)}, and structures.{structures.name} has one")


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

    def _heads_fit(self) -> None:
        super()._heads_fit()
        if self.heads and not self.train.multitask:
            raise ValueError(f"heads: engine {self.train.engine!r} trains one head only")
        for part in self.parts:
            where = f"heads.{part.name}." if part.name else ""
            if part.start.is_empty:
                raise ValueError(f"{where}start: give labeled data (data:) or structure sets to label first (label:)")
            if part.heldout.is_empty:
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
        part = self.part(name)
        names = [name, *filter(None, [part.pretrained_head])] if name else []
        return self.evaluate.for_heads(names) if names else self.evaluate

    def _heads_fit(self) -> None:
        super()._heads_fit()
        if all(part.start.is_empty and part.heldout.is_empty for part in self.parts):
            raise ValueError("heldout: give the labeled data to judge on, as heldout or start")


class Config(TrainingStudy):
    """A whole run of concurrent learning."""

    workflow: str = "learning"
    stages: list[Stage] = Field(min_length=1)
    select: Select = Select()
    converge: Converge = Converge()
    budget: Budget = Budget()

    @property
    def filters(self) -> Filters:
        """See DataStudy."""
        return self.select.filters

    def explored(self, group: ExplorerSettings) -> str:
        """The head that explores in a group, and whose data get the labels; empty in a study without heads."""
        return group.head or next((part.name for part in self.parts if part.label is not None), "")

    @property
    def explored_heads(self) -> list[str]:
        """The heads that any stage explores, in the order of the file."""
        names = {self.explored(group) for stage in self.stages for group in stage.explore}
        return [part.name for part in self.parts if part.name in names]

    @property
    def engines(self) -> list[EngineSettings]:
        """See DataStudy."""
        return [self.train, *(group for stage in self.stages for group in stage.explore)]

    def explored_structures(self, head: str) -> list[str]:
        """See DataStudy."""
        groups = [group for stage in self.stages for group in stage.explore if self.explored(group) == head]
        return [name for group in groups if isinstance(group, WalkerSettings) for name in group.structures]

    @property
    def has_committee(self) -> bool:
        """See DataStudy."""
        return self.select.score == "committee"

    @property
    def measures_speed(self) -> bool:
        """See TrainingStudy."""
        return self.select.score == "teacher" or self.train.n_models > self.train.models

    @model_validator(mode="after")
    def _learning_fits(self) -> Self:
        _unique("stages", [stage.name for stage in self.stages])
        if self.converge.trajectory_force_rmse is not None and self.select.score != "teacher":
            raise ValueError(
                "converge.trajectory_force_rmse: only a teacher knows this error; set select.score: teacher"
            )
        self._searches_fit()
        self._abilities_fit()
        self._ramps_fit()
        for stage in self.stages if not self.train.uses_electronic_temperature else ():
            if any(isinstance(group, DynamicsSettings) and group.electronic_temperatures for group in stage.explore):
                raise ValueError(
                    f"stages.{stage.name}: electronic_temperatures mean nothing to models that do not learn one; see "
                    "train.electronic_temperature"
                )
        if self.budget.forgetting is not None and not any(head.pretrained_head is None for head in self.heads):
            raise ValueError(
                "budget.forgetting: there are no replay data: no head goes on as one of the pre-trained model; "
                "add one that is called like it, without `pretrained_head`"
            )
        if self.has_committee and self.train.n_models < 2:
            raise ValueError(
                "train.models: a committee needs two models at least; one is enough with select.score: teacher"
            )
        return self

    def _searches_fit(self) -> None:
        """Searches stay within the elements, and convergence of a hull needs one."""
        made = [(f"structures.{each.name}.generate", each.generate) for each in self.structures if each.generate]
        made += [(f"stages.{stage.name}.explore", group) for stage in self.stages for group in stage.explore]
        searches = [(where, group) for where, group in made if isinstance(group, SearcherSettings)]
        for where, group in searches:
            foreign = sorted(set(group.elements) - set(self.elements))
            if foreign:
                raise ValueError(f"{where}: {foreign[0]} is not in elements {self.elements}")
        for key in ("hull_shift", "ground_state_error"):
            if getattr(self.converge, key) is not None and not any(where.startswith("stages") for where, _ in searches):
                raise ValueError(f"converge.{key}: no stage searches structures, so there is no convex hull")

    def _heads_fit(self) -> None:
        super()._heads_fit()
        names = [part.name for part in self.parts]
        for stage in self.stages:
            for group in stage.explore:
                where = f"stages.{stage.name}.explore"
                if group.head and group.head not in names:
                    raise ValueError(f"{where}: there is no head {group.head!r}; defined are {names}")
                if self.part(self.explored(group) or names[0]).label is None:
                    raise ValueError(f"label: {where} finds frames that no engine labels; give a label section")

    def _used_structures(self) -> Iterator[tuple[str, str]]:
        yield from super()._used_structures()
        for stage in self.stages:
            for group in stage.explore:
                names = (
                    [*group.structures, *filter(None, [group.final_structures])]
                    if isinstance(group, WalkerSettings)
                    else []
                )
                yield from ((f"stages.{stage.name}.explore", name) for name in names)

    def _labeler_fits(self, part: Head) -> None:
        super()._labeler_fits(part)
        explored = part.name in self.explored_heads and self.select.score == "teacher"
        if part.label is not None and explored and "evaluate" not in engine_named(part.label.engine).roles:
            raise ValueError(
                f"select.score: {part.label.engine} labels frames one by one and cannot judge every explored frame; "
                "a teacher is an engine like deepmd, ase or emt"
            )

    def _electrons_are_cold(self, part: Head, where: str) -> None:
        super()._electrons_are_cold(part, where)
        for stage in self.stages:
            for group in stage.explore:
                hot = isinstance(group, DynamicsSettings) and group.electronic_temperatures
                if hot and part.name in self.explored_heads and self.explored(group) == part.name:
                    raise ValueError(f"{_cold(part, where)}, and stages.{stage.name} explores at some")

    def _abilities_fit(self) -> None:
        """Explorers find in the models what they need."""
        for stage in self.stages:
            for group in stage.explore:
                problem = missing_ability(self.train, group)
                if problem:
                    raise ValueError(f"stages.{stage.name}.explore: {problem}")

    def _ramps_fit(self) -> None:
        """Ramps advance by a fraction of accurate frames that means something."""
        for stage in self.stages if isinstance(self.select.window, AdaptiveWindow) else ():
            if any(isinstance(group, WalkerSettings) and group.ramp for group in stage.explore):
                raise ValueError(
                    f"stages.{stage.name}: ramp goes by the fraction of accurate frames, which means nothing with an "
                    "adaptive window; set select.window.rule: fixed"
                )


def _cold(part: Head, where: str) -> str:
    return f"{where}label: {part.label.engine if part.label else ''} knows no electronic temperature"


def _unique(what: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{what}: {', '.join(repeated)} appears more than once")
