"""The models of a run with the head that a simulation needs, and its teacher, loaded once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lamflow.config.engines import ExplorerSettings
from lamflow.config.learning import Config
from lamflow.data import Frame, Labels, Trajectory
from lamflow.data.layout import MODEL
from lamflow.data.results import ModelResult
from lamflow.data.trained import verify_model
from lamflow.engines import registry
from lamflow.engines.protocol import Labeler, Model
from lamflow.errors import EngineError
from lamflow.ops.bounds import bounded
from lamflow.policy.calibration import Calibration
from lamflow.policy.committee import ScoredFrames, score
from lamflow.policy.models import bad_models


class Committees:
    """The committee and the teacher of each head. Raises EngineError that names the bad models.

    moments  that all models were trained on, where they see any
    calibration  that puts the channels of a calibrated window on its scale
    """

    def __init__(self, study: Config, folder: Path, calibration: Calibration | None = None) -> None:
        self.study, self.folder, self.calibration = study, folder, calibration
        results = [ModelResult.read(folder / str(index) / MODEL) for index in range(study.train.n_models)]
        problems = bad_models(results)
        if problems:
            raise EngineError("a model went bad, so nothing was explored:\n  " + "\n  ".join(problems))
        for index, result in enumerate(results):
            verify_model(folder / str(index), result)
        self.moments = results[0].moments
        self._committees: dict[str, list[Model]] = {}
        self._teachers: dict[str, Labeler] = {}

    def committee(self, head: str) -> list[Model]:
        """Every model with the head called `head`."""
        if head not in self._committees:
            trainer = registry.trainer(self.study.train)
            indices = range(self.study.train.n_models)
            self._committees[head] = [trainer.load(self.folder / str(index), head) for index in indices]
        return self._committees[head]

    def teach(self, head: str, work: Path, frames: Sequence[Frame]) -> list[Labels]:
        """What is true for `head`; a frame that its teacher cannot label has labels that are no numbers."""
        if head not in self._teachers:
            self._teachers[head] = registry.labeler(self.study.labeler(head))
        answers = self._teachers[head].label(frames, work)
        return [
            answer if isinstance(answer, Labels) else Labels(np.nan, np.full((frame.natoms, 3), np.nan))
            for frame, answer in zip(frames, answers, strict=True)
        ]

    def score(
        self, head: str, number: int, trajectories: Sequence[Trajectory], work: Path, *, group: ExplorerSettings | None
    ) -> list[ScoredFrames]:
        """Scores of what simulation `number` has visited with `head`; `work` is a folder that nobody keeps.

        group  whose levels hold, if it is one of a stage
        """
        bounds, scale = self.study.bounds_errors, self.study.select.window
        teacher = partial(self.teach, head, work)
        if bounds is not None:
            index = number % self.study.train.n_models
            teacher = partial(bounded, self.folder / str(index), head, self.committee(head)[index], bounds)
        settings = self.study.select if group is None else self.study.select_of(group)
        models = self.committee(head)
        return score(settings, number, trajectories, models, teacher, scale, calibration=self.calibration)
