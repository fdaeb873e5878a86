"""A potential as a function of frames, whatever role its engine plays: a study's own, or a model of this iteration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lamflow.config.engines import EngineSettings, LabelerSettings
from lamflow.config.learning import Config
from lamflow.config.properties import Potential, PropertiesStudy
from lamflow.config.schema import DataStudy
from lamflow.config.tracked import asked_of
from lamflow.data import Frame, Labels
from lamflow.data.cache import LabelCache
from lamflow.data.frames import Floats, Ints
from lamflow.data.layout import MODEL
from lamflow.data.results import ModelResult
from lamflow.data.trained import verify_model
from lamflow.engines import registry
from lamflow.engines.own_relaxation import RelaxesItself
from lamflow.engines.periodic import PeriodicSettings
from lamflow.engines.protocol import Evaluator, LabelFailure, Model, SessionModel
from lamflow.errors import EngineError
from lamflow.ops.native import NativeRelaxer
from lamflow.ops.operation import Context
from lamflow.ops.read import label_key, settings_hash
from lamflow.policy.models import chosen_variant
from lamflow.science.dynamics import Evaluate as EvaluateArrays
from lamflow.science.properties.simulated import OpenSession, by_frames
from lamflow.science.properties.table import Relax
from lamflow.science.relaxation import Evaluate, relax


@dataclass(frozen=True, eq=False)
class AskedPotential:
    """A potential that jobs ask.

    evaluate      labels of frames; it raises EngineError for a frame that has none
    open_session  the same for systems that move
    relax         how frames relax; see `relax` of lamflow.science
    """

    name: str
    engine: EngineSettings
    evaluate: Evaluate
    open_session: OpenSession
    relax: Relax


def asked_potential(study: DataStudy, index: int, models: Path | None, context: Context) -> AskedPotential:
    """Potential number `index` of a study; one of learning asks what its iteration has trained into `models`."""
    if isinstance(study, PropertiesStudy):
        own = study.potentials[index]
        if own.evaluate is not None:
            return _evaluator(own.name, own.engine, registry.evaluator(own.evaluate))
        return _labeler(own, study, context)
    assert isinstance(study, Config) and models is not None  # noqa: S101, PT018  the graph wires them
    name = asked_of(study).potential_names[index]
    return _evaluator(name, study.train, _trained(study, index, models))


def _evaluator(name: str, engine: EngineSettings, model: Evaluator) -> AskedPotential:
    """A potential that is asked by an evaluator, which may know a faster way for systems that move."""

    def open_session(starts: Sequence[Frame]) -> EvaluateArrays:
        session = model.open_session(starts, []) if isinstance(model, SessionModel) else None
        if session is None:
            return by_frames(model.evaluate)(starts)

        def evaluate(positions: Floats, cells: Floats, numbers: Ints) -> tuple[Floats, Floats, Floats]:
            energies, forces, virials = session.evaluate(positions, cells, numbers)
            return energies[0], forces[0], virials[0]

        return evaluate

    return AskedPotential(name, engine, model.evaluate, open_session, partial(relax, evaluate=model.evaluate))


def _trained(study: Config, index: int, folder: Path) -> Model:
    """Model number `index` of those that may be asked. Raises EngineError where there are not so many."""
    results = [ModelResult.read(folder / str(number) / MODEL) for number in range(study.train.n_models)]
    variant = chosen_variant(results, study.train.tolerance)
    good = [result for result in results if not result.failed and result.variant in (variant, "")]
    if index >= len(good):
        raise EngineError(f"{len(good)} models were trained well, and {index + 1} are to be asked for properties")
    chosen = folder / str(good[index].index)
    verify_model(chosen, good[index])
    head = (study.properties.head if study.properties is not None else None) or next(iter(study.explored_heads), "")
    return registry.trainer(study.train).load(chosen, head)


def _labeler(potential: Potential, study: PropertiesStudy, context: Context) -> AskedPotential:
    """A potential that is asked by a first-principles code."""
    assert potential.label is not None  # noqa: S101  a potential has one or the other
    settings = potential.label.pinned(study)
    known = _CachedLabels(settings, study, context)
    relaxing: Relax = partial(relax, evaluate=known.evaluate)
    native = study.relax.method == "native"
    if native and isinstance(known.labeler, RelaxesItself) and isinstance(settings, PeriodicSettings):
        relaxing = NativeRelaxer(known.labeler, known.evaluate, settings.relaxed_cells, context.scratch)
    return AskedPotential(potential.name, potential.engine, known.evaluate, by_frames(known.evaluate), relaxing)


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
