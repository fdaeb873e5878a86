"""The conformance suites on every engine that is installed; `lamflow.engines.pytest_plugin` brings engines and options.

`pytest --lamflow-engine NAME` runs them on one engine, from any folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from lamflow.config.engines import ExplorerSettings, LabelerSettings
from lamflow.config.installed import RoleName
from lamflow.data import Frame
from lamflow.engines import registry
from lamflow.engines.conformance.labels import EvaluatorConformance, LabelerConformance
from lamflow.engines.conformance.runs import (
    EvaluatedModel,
    ExplorerConformance,
    RelaxFolderConformance,
    SearcherConformance,
    TrainerConformance,
)
from lamflow.engines.conformance.trial import Trial, Trials, emt_evaluator
from lamflow.engines.example import Example
from lamflow.engines.protocol import Evaluator, Explorer, Labeler, Model, RelaxFolder, Searcher, Trainer

FAILS_AFTER = 8
"""Calls of a model after which it fails."""


@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("lamflow_folder")
class OnInstalled:
    """Fixtures of the engine that a test is about. Codes of others may leave files open when they fail."""

    role: ClassVar[RoleName]
    tried: Example

    @pytest.fixture
    def trial(self, lamflow_trial: Trial) -> Trial:
        """The engine in its role; skips with the reason where it cannot run here."""
        if lamflow_trial.unavailable:
            pytest.skip(lamflow_trial.unavailable)
        return lamflow_trial

    @pytest.fixture
    def example(self, trial: Trial) -> Example:
        """The engine's example."""
        return trial.example


class TestTrainer(OnInstalled, TrainerConformance):
    """Roles `train`."""

    role = "train"

    @pytest.fixture
    def engine(self, trial: Trial) -> Trainer:
        """The trainer."""
        return registry.trainer(trial.settings)


class TestTrainedModel(OnInstalled, EvaluatorConformance):
    """What roles `train` load."""

    role = "train"

    @pytest.fixture
    def engine(self, trial: Trial, lamflow_trials: Trials) -> Evaluator:
        """A model that was trained by the example, once for all tests."""
        self.tried, self.force_tolerance = trial.example, trial.example.force_tolerance
        self.virial_tolerance = trial.example.virial_tolerance
        return lamflow_trials.model(trial)

    def frames(self) -> list[Frame]:
        """Those of the example."""
        return list(self.tried.frames)


class TestEvaluator(OnInstalled, EvaluatorConformance):
    """Roles `evaluate`."""

    role = "evaluate"

    @pytest.fixture
    def engine(self, trial: Trial) -> Evaluator:
        """The evaluator."""
        self.tried, self.force_tolerance = trial.example, trial.example.force_tolerance
        self.virial_tolerance = trial.example.virial_tolerance
        self.has_virial = getattr(trial.settings, "gives_virial", True)
        return registry.evaluator(trial.settings)

    def frames(self) -> list[Frame]:
        """Those of the example."""
        return list(self.tried.frames)


class TestLabeler(OnInstalled, LabelerConformance):
    """Roles `label`."""

    role = "label"

    @pytest.fixture
    def engine(self, trial: Trial) -> Labeler:
        """The labeler."""
        assert isinstance(trial.settings, LabelerSettings)
        known = trial.settings.known_elements()
        self.tried, self.has_virial = trial.example, trial.settings.gives_virial
        self.knows_every_element = known is None or "Lr" in known
        return registry.labeler(trial.settings)

    def good_frames(self) -> list[Frame]:
        """Those of the example, two at most: labels may be expensive."""
        return list(self.tried.frames[:2])


class TestExplorer(OnInstalled, ExplorerConformance):
    """Roles `explore`."""

    role = "explore"

    @pytest.fixture
    def engine(self, trial: Trial) -> Explorer:
        """The explorer."""
        return registry.explorer(trial.settings)

    @pytest.fixture
    def condition(self, trial: Trial) -> dict[str, float]:
        """The first condition of its settings."""
        return _condition(trial.settings)

    @pytest.fixture
    def model(self, trial: Trial, lamflow_trials: Trials) -> Model:
        """EMT, or a model of an installed trainer that offers what the explorer needs."""
        assert isinstance(trial.settings, ExplorerSettings)
        if not trial.settings.needs:
            return EvaluatedModel(emt_evaluator())
        model = lamflow_trials.model_that_offers(trial.settings.needs)
        if isinstance(model, str):
            pytest.skip(model)
        return model

    @pytest.fixture
    def failing(self, trial: Trial, model: Model) -> tuple[Explorer, Model, dict[str, float]]:
        """The explorer with settings that end a simulation early, or with a model that fails after some calls."""
        if not trial.example.ends_early:
            failing = EvaluatedModel(model, FAILS_AFTER)
            return registry.explorer(trial.settings), failing, _condition(trial.settings)
        settings = trial.with_settings(trial.example.ends_early)
        return registry.explorer(settings), model, _condition(settings)


class TestSearcher(OnInstalled, SearcherConformance):
    """Roles `search`."""

    role = "search"

    @pytest.fixture
    def engine(self, trial: Trial) -> Searcher:
        """The searcher."""
        return registry.searcher(trial.settings)

    @pytest.fixture
    def condition(self, trial: Trial) -> dict[str, float]:
        """The first condition of its settings."""
        return _condition(trial.settings)

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        """EMT relaxes what is proposed."""
        return emt_evaluator()


class TestRelaxFolder(OnInstalled, RelaxFolderConformance):
    """Roles `relax`."""

    role = "relax"

    @pytest.fixture
    def folder(self, trial: Trial) -> Path:
        """The example's folder."""
        return Path(trial.example.settings["folder"])

    @pytest.fixture
    def engine(self, trial: Trial, folder: Path) -> RelaxFolder:
        """The folder as the engine sees it."""
        return registry.relax_folder(trial.engine.name, folder)

    @pytest.fixture
    def empty(self, trial: Trial, tmp_path: Path) -> RelaxFolder:
        """An empty folder as the engine sees it."""
        return registry.relax_folder(trial.engine.name, tmp_path)

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        """EMT labels what was relaxed."""
        return emt_evaluator()


def test_there_is_an_example(lamflow_engine_role: tuple[str, RoleName]) -> None:
    """Every role of every engine has an example, or it would be tried by nobody."""
    from lamflow.config.installed import engine_named

    name, role = lamflow_engine_role
    assert engine_named(name).roles[role].example is not None, (
        f"engine {name!r} plays {role!r} without an example; give Role(…, example=…)"
    )


def _condition(settings: Any) -> dict[str, float]:
    conditions: list[dict[str, float]] = settings.conditions()
    return conditions[0]
