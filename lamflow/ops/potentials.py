"""A named potential as a function of frames, whatever role its engine plays."""

from __future__ import annotations

from collections.abc import Sequence

from lamflow.config.engines import LabelerSettings
from lamflow.config.properties import Potential, PropertiesStudy
from lamflow.data import Frame, Labels
from lamflow.data.cache import LabelCache
from lamflow.engines import registry
from lamflow.engines.protocol import LabelFailure
from lamflow.errors import EngineError
from lamflow.ops.operation import Context
from lamflow.ops.read import label_key, settings_hash
from lamflow.science.relaxation import Evaluate


def evaluate_of(potential: Potential, study: PropertiesStudy, context: Context) -> Evaluate:
    """Labels of frames by a potential; it raises EngineError for a frame that has none."""
    if potential.evaluate is not None:
        return registry.evaluator(potential.evaluate).evaluate
    assert potential.label is not None  # noqa: S101  a potential has one or the other
    settings = potential.label.pinned(study)
    return _CachedLabels(settings, study, context).evaluate


class _CachedLabels:
    """A first-principles code with its label cache; what it was asked in this job it says again at once."""

    def __init__(self, settings: LabelerSettings, study: PropertiesStudy, context: Context) -> None:
        self.settings, self.context = settings, context
        self.settings_id, self.labeler = settings_hash(settings), registry.labeler(settings)
        self.cache: LabelCache | None = context.labels if study.label_cache and settings.cached else None
        self.run, self.known = study.name, dict[str, Labels | LabelFailure]()

    def evaluate(self, frames: Sequence[Frame]) -> list[Labels]:
        """See Evaluator."""
        answers = [self._answer(frame) for frame in frames]
        for index, answer in enumerate(answers):
            if isinstance(answer, LabelFailure):
                raise EngineError(f"{self.settings.engine}: frame {index}: {answer.reason}")
        return [answer for answer in answers if isinstance(answer, Labels)]

    def _answer(self, frame: Frame) -> Labels | LabelFailure:
        own = frame.content_hash()
        if own not in self.known:
            key = label_key(self.settings_id, self.settings, self.labeler, frame)
            cached = self.cache.get(key, frame) if self.cache is not None and key else None
            self.known[own] = cached or self._asked(frame, key)
        return self.known[own]

    def _asked(self, frame: Frame, key: str | None) -> Labels | LabelFailure:
        [answer] = self.labeler.label([frame], self.context.scratch)
        problem = answer.problem(frame) if isinstance(answer, Labels) else None
        if problem is not None:
            return LabelFailure(problem, kind="invalid")
        if self.cache is not None and key and isinstance(answer, Labels):
            self.cache.put(key, frame, answer, {"engine": self.settings.engine, "run": self.run})
        return answer
