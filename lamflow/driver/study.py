"""lamflow from Python: a study is a configuration that can be checked, planned and run; a result is what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lamflow.config.heads import Head
from lamflow.config.installed import engine_named
from lamflow.config.kinds import kind_named
from lamflow.config.pretrained import RANDOM, PretrainedModel
from lamflow.config.read import load as load_config
from lamflow.config.read import stored
from lamflow.config.schema import DataStudy, EvaluationStudy, LabelBudget, TrainingStudy
from lamflow.data.dataset import Item, read_dataset
from lamflow.data.results import Iteration, Run
from lamflow.data.store import HELDOUT, INPUT, TRAIN, iteration_key
from lamflow.driver.listener import Listener
from lamflow.driver.loop import run
from lamflow.driver.plan import Plan, plan
from lamflow.driver.prepare import check_inputs
from lamflow.driver.rundir import RunDirectory
from lamflow.engines import registry
from lamflow.engines.protocol import Model
from lamflow.errors import InputError, StateError


@dataclass(frozen=True)
class RunResult:
    """A run in a folder: its record, its iterations, its models and its data."""

    path: Path

    @property
    def run(self) -> Run:
        """What the run is and how it stands."""
        return RunDirectory(self.path).run()

    @property
    def iterations(self) -> list[Iteration]:
        """Finished iterations, the start first."""
        return RunDirectory(self.path).iterations()

    @property
    def model_folders(self) -> list[Path]:
        """Folders of the newest committee's models."""
        trained = [iteration for iteration in self.iterations if iteration.models]
        if not trained:
            return []
        folder = self.path / iteration_key(trained[-1].number) / "models"
        return [folder / str(model.index) for model in trained[-1].models]

    @property
    def chosen_folders(self) -> list[Path]:
        """Folders of the newest models of the architecture that was chosen; all of them if only one was tried."""
        last = next((iteration for iteration in reversed(self.iterations) if iteration.models), None)
        if last is None or not last.variant:
            return self.model_folders
        return [
            folder
            for folder, model in zip(self.model_folders, last.models, strict=True)
            if model.variant == last.variant
        ]

    @property
    def models(self) -> Sequence[Model]:
        """The newest committee; each is an Evaluator, with the head of the first one that is explored."""
        return self.models_of("")

    def models_of(self, task: str) -> Sequence[Model]:
        """The newest committee with the head of a task; of the first that is explored if it is empty."""
        config = stored(self.path / INPUT, TrainingStudy)
        if config.heads and not task:
            task = next(iter(config.explored_heads), config.heads[0].name)
        trainer = registry.trainer(config.train)
        return [trainer.load(folder, task) for folder in self.model_folders]

    def data(self, heldout: bool = False) -> list[Item]:
        """Every frame that is trained on, or held out, with its labels and its origin."""
        folder = self.path / (HELDOUT if heldout else TRAIN)
        if not folder.is_dir():
            raise StateError(f"{self.path}: there are no data yet; the run is still at its start")
        return [item for part in sorted(folder.iterdir()) for item in read_dataset(part)]

    def report(self, folder: Path | None = None) -> Path:
        """Write report.html and report.json, beside the run if no folder is given, and return the first's path."""
        page: Path = kind_named(self.run.workflow).report(self.path, folder or self.path, True)
        return page


@dataclass(frozen=True)
class Study:
    """A configuration and what can be done with it."""

    config: DataStudy

    @property
    def folder(self) -> Path:
        """Where its run lies unless another folder is given."""
        return Path("runs") / self.config.name

    def check(self) -> None:
        """Read all data and structures. Raises InputError for what cannot be used."""
        check_inputs(self.config)

    def plan(self) -> Plan:
        """Tasks, pods, labels and time, without running anything."""
        directory = RunDirectory(self.folder)
        return plan(self.config, directory.iterations() if directory.exists() else [])

    def run(self, folder: Path | str | None = None, listener: Listener | None = None) -> RunResult:
        """Run on this machine, or go on with what is in `folder`, until converged or the budget is used up."""
        path = Path(folder) if folder is not None else self.folder
        run(self.config, path, listener)
        result = RunResult(path)
        result.report()
        return result


def as_training(study: DataStudy) -> TrainingStudy:
    """A study of learning as one that trains once on its data; others as they are."""
    kept = {name: getattr(study, name) for name in TrainingStudy.model_fields if name not in ("workflow", "budget")}
    budget = LabelBudget(labels=study.budget.labels, failed_labels=study.budget.failed_labels)
    return TrainingStudy.model_construct(workflow="training", budget=budget, **kept)


def as_evaluation(study: DataStudy, model: Path | None = None, head: str | None = None) -> EvaluationStudy:
    """A study as one that judges its pre-trained model, or the file `model`, on its labeled data.

    Structure sets are labeled for this by engines that take milliseconds, others are left out. Raises InputError when
    there is no model or no data.
    """
    if isinstance(study, EvaluationStudy) and model is None and head is None:
        return study
    if not isinstance(study, TrainingStudy):
        raise InputError("--model, --head: the file says itself what is judged; change its section `evaluate`")
    source = PretrainedModel(file=model.absolute()) if model is not None else study.train.pretrained_model
    if source is None:
        raise InputError("there is no model to judge: give train.pretrained in the file, or --model PATH")
    head = head or (None if study.heads or model is not None else source.head)
    if head == RANDOM:
        raise InputError("a RANDOM head predicts nothing before it is trained; name a head with --head")
    settings = study.train.evaluator_settings(source.model_copy(update={"head": head}))
    if settings is None:
        raise InputError(f"engine {study.train.engine!r} has no models that can be judged by themselves")
    parts = [_judged_data(part) for part in study.parts]
    kept = {name: getattr(study, name) for name in DataStudy.model_fields if name != "workflow"}
    if study.heads:
        kept["heads"] = parts
    else:
        kept |= {"start": parts[0].start, "heldout": parts[0].heldout}
    evaluation = EvaluationStudy.model_construct(workflow="evaluation", evaluate=settings, **kept)
    if not any(part.start.data or part.heldout.data or part.start.label or part.heldout.label for part in parts):
        raise InputError(
            "there are no labeled data to judge on: give start.data or heldout.data; structure sets "
            "are labeled for this by engines like deepmd, ase and emt only"
        )
    if study.heads and all(evaluation.evaluator(part.name) is None for part in parts):
        raise InputError(f"{settings.title}: the model has no head for any data of this file; name one with --head")
    return evaluation


def _judged_data(part: Head) -> Head:
    """A part of a study with what is cheap to label, nothing held out."""
    cheap = part.label is not None and "evaluate" in engine_named(part.label.engine).roles
    update: dict[str, object] = {}
    for role in ("start", "heldout"):
        data = getattr(part, role)
        update[role] = data.model_copy(update={"label": data.label if cheap else []})
    update["heldout"] = update["heldout"].model_copy(update={"fraction": 0.0})  # type: ignore[attr-defined]
    return part.model_copy(update=update)


def load(file: str | Path) -> Study:
    """The study that a YAML file describes. Raises InputError with every problem and its line."""
    return Study(load_config(file, DataStudy))


def opened(path: str | Path) -> RunResult:
    """The run in a folder. Raises StateError when there is none."""
    result = RunResult(Path(path))
    _ = result.run
    return result
