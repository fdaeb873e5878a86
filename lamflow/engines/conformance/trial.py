"""Engines as the suites try them: settings of their examples, and models that are trained for the trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lamflow.config.engines import EngineSettings, TrainerSettings
from lamflow.config.installed import InstalledEngine, RoleName, engine_named, engines
from lamflow.engines import registry
from lamflow.engines.example import Example, trained
from lamflow.engines.protocol import Evaluator, Model


def emt_evaluator() -> Evaluator:
    """Effective medium theory, which stands for a model or for the truth."""
    emt = engine_named("emt").roles["evaluate"]
    return registry.evaluator(emt.settings.model_validate({"engine": "emt"}))


@dataclass(frozen=True)
class Trial:
    """One engine in one role, with the files of its example below `folder`."""

    engine: InstalledEngine
    role: RoleName
    folder: Path

    @cached_property
    def example(self) -> Example:
        """The example. Raises LookupError where the role has none."""
        make = self.engine.roles[self.role].example
        if make is None:
            raise LookupError(f"engine {self.engine.name!r} plays {self.role!r} without an example")
        self.folder.mkdir(parents=True, exist_ok=True)
        example = make(self.folder)
        assert isinstance(example, Example), f"an example is an Example of lamflow.engines.example, not {example!r}"
        return example

    @cached_property
    def settings(self) -> EngineSettings:
        """The settings of the example."""
        return self.with_settings({})

    def with_settings(self, changes: Mapping[str, Any]) -> EngineSettings:
        """The settings of the example with some changed."""
        values = {**self.example.settings, **changes, "engine": self.engine.name}
        return self.engine.roles[self.role].settings.model_validate(values)

    @cached_property
    def unavailable(self) -> str | None:
        """Why the engine cannot run its example here; None if it can."""
        return self.settings.missing() or self.example.unavailable


@dataclass
class Trials:
    """The trials of a session: examples are made once, and models are trained once."""

    folder: Path
    trials: dict[tuple[str, RoleName], Trial] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)

    def of(self, name: str, role: RoleName) -> Trial:
        """The trial of an engine in a role."""
        if (name, role) not in self.trials:
            self.trials[name, role] = Trial(engine_named(name), role, self.folder / f"{name}-{role}")
        return self.trials[name, role]

    def model(self, trial: Trial) -> Model:
        """A model that the trainer of a trial has made of its example."""
        name = trial.engine.name
        if name not in self.models:
            trainer = registry.trainer(trial.settings)
            self.models[name] = trainer.load(trained(trainer, trial.example.frames, trial.folder / "trained"))
        return self.models[name]

    def model_that_offers(self, abilities: frozenset[str]) -> Model | str:
        """A model with some abilities, or why there is none here."""
        reasons = []
        for name, engine in engines().items():
            settings = engine.roles["train"].settings if "train" in engine.roles else None
            if settings is not None and issubclass(settings, TrainerSettings) and abilities <= settings.offers:
                trial = self.of(name, "train")
                if trial.unavailable is None:
                    return self.model(trial)
                reasons.append(f"{name}: {trial.unavailable}")
        wanted = ", ".join(sorted(abilities))
        return f"no trainer is installed here that offers {wanted}" + "".join(f"; {reason}" for reason in reasons)
