"""The grammar of concurrent learning: one YAML file is one `Config`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from lamflow.config.engines import (
    DynamicsSettings,
    EngineSettings,
    ExplorerSettings,
    SearcherSettings,
    TrainerSettings,
    WalkerSettings,
)
from lamflow.config.heads import Head
from lamflow.config.installed import ChosenByEngine, engine_named
from lamflow.config.schema import LabelBudget, TrainingStudy, check_unique, no_electronic_temperature
from lamflow.config.section import Name, Section
from lamflow.config.select import AdaptiveWindow, CalibratedWindow, EmbeddingScore, Filters, FixedWindow, Select
from lamflow.config.tracked import FAILED_PROPERTIES, TrackedProperties
from lamflow.units import EvPerAngstrom, EvPerAtom, EvPerMagneton, Fraction, Hours


class Stage(Section):
    """One step of the exploration. The next stage begins when this one has converged."""

    name: Name
    explore: list[Annotated[ExplorerSettings, ChosenByEngine("explore", "search")]] = Field(min_length=1)
    max_iterations: int | None = Field(None, ge=1, le=10_000)
    """Go on to the next stage after so many iterations, converged or not."""

    @model_validator(mode="after")
    def _groups_differ(self) -> Self:
        for index, group in enumerate(self.explore):
            if group in self.explore[:index]:
                first = self.explore.index(group)
                raise ValueError(f"explore: groups {first} and {index} are the same; give one of them more `starts`")
        return self


class Converge(Section):
    """When a stage is done. Decided before labels are paid for; all conditions that are given must hold."""

    accurate: Fraction = 0.95
    """Fraction of the explored frames, refused ones among them, whose deviation is below the window."""
    heldout_force_rmse: EvPerAngstrom | None = None
    """Mean of the models' force RMSE on the held-out data must be at most this before the last stage, and the run, is
    done."""
    heldout_magnetic_force_rmse: EvPerMagneton | None = None
    """The same of the models' magnetic forces."""
    trajectory_force_rmse: EvPerAngstrom | None = None
    """Force RMSE against the teacher on the frames that the models explored themselves must be at most this; needs
    `select.score: teacher`."""
    hull_shift: EvPerAtom | None = None
    """For structure searches: since the iteration before the convex hull must have changed by at most this."""
    ground_state_error: EvPerAtom | None = None
    """For structure searches: by their labels, the ground states that the models found an iteration ago must lie at
    most this far above the hull of all labeled structures."""
    gain: EvPerAngstrom | None = None
    """Also done when the labels of the next batch are predicted to lower the held-out force RMSE by less than this, by
    a power law through the errors so far, its uncertainty of two standard errors included."""
    plateau: int | None = Field(None, ge=2, le=10_000)
    """Also done when the held-out force RMSE has not improved by 2 % over this many iterations."""


class Budget(LabelBudget):
    """Where a run ends even if it has not converged."""

    iterations: int = Field(10, ge=1, le=10_000)
    """The last iteration trains and explores and labels nothing, so every label paid for is trained on."""
    core_hours: Hours | None = None
    """Most hours of CPU cores that trainings, explorations and labels take together: seconds of the codes times the
    `threads` of their pods. Labels are bought as far as they, and the iteration that learns from them, can be paid."""
    gpu_hours: Hours | None = None
    """The same of GPUs: seconds times the `gpus` of the pods."""
    wall: Hours | None = None
    """Most hours that the iterations take together, by the clock."""
    forgetting: float | None = Field(None, ge=1, le=1e6)
    """Stop when the held-out force RMSE of a head that replays a head of the pre-trained model has grown to more than
    so many times what it was before fine-tuning."""


class Config(TrainingStudy):
    """A whole run of concurrent learning."""

    workflow: str = "learning"
    stages: list[Stage] = Field(min_length=1)
    select: Select = Select()
    converge: Converge = Converge()
    budget: Budget = Budget()
    properties: TrackedProperties | None = None
    """What the models of every iteration say of crystals, and what they must say before the run ends."""

    @property
    def frame_filters(self) -> Filters:
        """See DataStudy."""
        return self.select.filters

    def explored(self, group: ExplorerSettings) -> str:
        """The head that explores in a group, and whose data get the labels; empty in a study without heads."""
        return group.head or next((head.name for head in self.all_heads if head.label is not None), "")

    def select_of(self, group: ExplorerSettings) -> Select:
        """`select` with the levels of an explore group."""
        return self.select.with_levels(group.window, group.channels)

    @property
    def explored_heads(self) -> list[str]:
        """The heads that any stage explores, in the order of the file."""
        names = {self.explored(group) for stage in self.stages for group in stage.explore}
        return [head.name for head in self.all_heads if head.name in names]

    @property
    def engines(self) -> list[EngineSettings]:
        """See DataStudy."""
        return [self.train, *(group for stage in self.stages for group in stage.explore)]

    @property
    def needed_abilities(self) -> frozenset[str]:
        """See DataStudy."""
        return frozenset().union(*(group.needs for stage in self.stages for group in stage.explore))

    @property
    def bounds_errors(self) -> EmbeddingScore | None:
        """See DataStudy."""
        return self.select.embedding if self.select.score == "embedding" else None

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
        check_unique("stages", [stage.name for stage in self.stages])
        if self.filters is not None:
            raise ValueError("filters: in a study of learning this belongs into select")
        if self.converge.trajectory_force_rmse is not None and self.select.score != "teacher":
            raise ValueError(
                "converge.trajectory_force_rmse: only a teacher knows this error; set select.score: teacher"
            )
        self._searches_fit()
        self._properties_fit()
        self._abilities_fit()
        self._ramps_fit()
        self._risk_can_be_shown()
        for stage in self.stages if not self.train.uses_electronic_temperature else ():
            if any(isinstance(group, DynamicsSettings) and group.electronic_temperatures for group in stage.explore):
                raise ValueError(
                    f"stages.{stage.name}: electronic_temperatures mean nothing to models that do not learn one; see "
                    "train.electronic_temperature"
                )
        self._levels_fit()
        if not self.train.magnetic_elements and self.converge.heldout_magnetic_force_rmse is not None:
            raise ValueError("converge.heldout_magnetic_force_rmse: the models have no magnetic forces; see train.spin")
        if self.budget.forgetting is not None and not any(head.pretrained_head is None for head in self.heads):
            raise ValueError(
                "budget.forgetting: there are no replay data: no head goes on as one of the pre-trained model; "
                "add one that is called like it, without `pretrained_head`"
            )
        if self.has_committee and self.train.n_models < 2:
            raise ValueError(
                "train.models: a committee needs two models at least; one is enough with select.score: teacher or "
                "embedding"
            )
        return self

    def _levels_fit(self) -> None:
        """Levels can be put on one scale, and are of quantities that labels have."""
        for structures in self.structures:
            if structures.generate is not None and self._has_levels(structures.generate):
                raise ValueError(
                    f"structures.{structures.name}.generate: nothing is selected from these structures, so window and "
                    "channels have no meaning here"
                )
        for stage in self.stages:
            for index, group in enumerate(stage.explore):
                where = f"stages.{stage.name}.explore[{index}]" if self._has_levels(group) else "select"
                self._group_levels_fit(group, where)

    @staticmethod
    def _has_levels(group: ExplorerSettings) -> bool:
        return group.window is not None or group.channels is not None

    def _group_levels_fit(self, group: ExplorerSettings, where: str) -> None:
        if group.window is not None and self.select.window.rule != "fixed":
            raise ValueError(
                f"{where}.window: its levels are put on the scale of a fixed window; select.window.rule is "
                f"{self.select.window.rule}"
            )
        if group.window is not None and isinstance(self.select.window, FixedWindow) and not self.select.window.low:
            raise ValueError(
                f"{where}.window: select.window.low must be above 0, so that these can be put on its scale"
            )
        if group.channels is not None and isinstance(self.select.window, CalibratedWindow):
            raise ValueError(f"{where}.channels: those of a calibrated window hold for all groups; give them in select")
        try:
            metrics = self.select_of(group).metrics
        except ValidationError as error:
            raise ValueError(f"{where}.{error.errors()[0]['ctx']['error']}") from error
        label = self.head(self.explored(group) or self.all_heads[0].name).label
        for metric in metrics:
            if metric.startswith("magnetic") and not self.train.magnetic_elements:
                raise ValueError(f"{where}: {metric}: the models have no magnetic forces; see train.spin")
            if metric.startswith("virial") and label is not None and not label.gives_virial:
                raise ValueError(
                    f"{where}: {metric}: labels of {label.engine} have no virial as it is set up here, so no model "
                    "learns one; leave this channel out"
                )

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

    def _properties_fit(self) -> None:
        """The models that are asked for properties are there, and their frames have a name of their own."""
        if self.properties is None:
            return
        if self.properties.models > self.train.models:
            raise ValueError(
                f"properties.models: {self.properties.models} models are asked, and train.models is {self.train.models}"
            )
        if self.properties.head is not None and self.properties.head not in [head.name for head in self.all_heads]:
            raise ValueError(f"properties.head: there is no head {self.properties.head!r}")
        if any(structures.name == FAILED_PROPERTIES for structures in self.structures):
            raise ValueError(f"structures: {FAILED_PROPERTIES} means frames of properties; choose another name")

    def _heads_fit(self) -> None:
        super()._heads_fit()
        names = [head.name for head in self.all_heads]
        for stage in self.stages:
            for group in stage.explore:
                where = f"stages.{stage.name}.explore"
                if group.head and group.head not in names:
                    raise ValueError(f"{where}: there is no head {group.head!r}; defined are {names}")
                if self.head(self.explored(group) or names[0]).label is None:
                    raise ValueError(f"label: {where} finds frames that no engine labels; give a label section")

    def _used_structures(self) -> Iterator[tuple[str, str]]:
        yield from super()._used_structures()
        if self.properties is not None:
            yield from (("properties.structures", name) for name in self.properties.structures)
        for stage in self.stages:
            for group in stage.explore:
                names = (
                    [*group.structures, *filter(None, [group.final_structures])]
                    if isinstance(group, WalkerSettings)
                    else []
                )
                yield from ((f"stages.{stage.name}.explore", name) for name in names)

    def _labeler_fits(self, head: Head) -> None:
        super()._labeler_fits(head)
        explored = head.name in self.explored_heads and self.select.score == "teacher"
        if head.label is not None and explored and "evaluate" not in engine_named(head.label.engine).roles:
            raise ValueError(
                f"select.score: {head.label.engine} labels frames one by one and cannot judge every explored frame; "
                "a teacher is an engine like deepmd, ase or emt"
            )

    def _electrons_are_cold(self, head: Head, where: str) -> None:
        super()._electrons_are_cold(head, where)
        for stage in self.stages:
            for group in stage.explore:
                hot = isinstance(group, DynamicsSettings) and group.electronic_temperatures
                if hot and head.name in self.explored_heads and self.explored(group) == head.name:
                    raise ValueError(
                        f"{no_electronic_temperature(head, where)}, and stages.{stage.name} explores at some"
                    )

    def _abilities_fit(self) -> None:
        """Explorers find in the models what they need, and so does the score."""
        if self.select.score == "embedding" and "embedding" not in self.train.offers:
            raise ValueError(
                f"select.score: embedding needs models that say their features of atoms; those of train.engine "
                f"{self.train.engine!r} do not"
            )
        for stage in self.stages:
            for group in stage.explore:
                problem = _missing_ability(self.train, group)
                if problem:
                    raise ValueError(f"stages.{stage.name}.explore: {problem}")

    def _risk_can_be_shown(self) -> None:
        """There are labels enough to say how large the risk is."""
        window = self.select.window
        needed = math.ceil(1 / window.risk - 1e-9) - 1 if isinstance(window, CalibratedWindow) else 0
        if self.budget.labels is not None and self.budget.labels < needed:
            raise ValueError(
                f"budget.labels: {self.budget.labels} labels can never show that the risk is as small as "
                f"select.window.risk ({window.model_dump()['risk']:g}); that takes {needed} of explored frames at least"
            )

    def _ramps_fit(self) -> None:
        """Ramps advance by a fraction of accurate frames that means something."""
        for stage in self.stages if isinstance(self.select.window, AdaptiveWindow) else ():
            if any(isinstance(group, WalkerSettings) and group.ramp for group in stage.explore):
                raise ValueError(
                    f"stages.{stage.name}: ramp goes by the fraction of accurate frames, which means nothing with an "
                    "adaptive window; set select.window.rule: fixed"
                )


def _missing_ability(train: TrainerSettings, explore: ExplorerSettings) -> str | None:
    """Why models of `train` cannot be explored with `explore`; None if they can."""
    lacking = sorted(explore.needs - train.offers)
    if not lacking:
        return None
    offered = ", ".join(sorted(train.offers)) or "nothing more than energies, forces and virials"
    return (
        f"engine {explore.engine!r} needs models with the ability {', '.join(lacking)}, and those of train.engine "
        f"{train.engine!r} offer {offered}"
    )
