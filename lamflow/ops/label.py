"""Label one batch of frames."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.config.engines import LabelerSettings
from lamflow.config.schema import DataStudy
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.batch import Batch
from lamflow.data.dataset import Item, write_dataset
from lamflow.data.frames import Floats
from lamflow.data.gate import SeenLabels
from lamflow.data.results import Labeled, LabelOutcome
from lamflow.engines import registry
from lamflow.engines.protocol import HashesInput, Labeler, LabelFailure
from lamflow.ops._read import settings_hash
from lamflow.ops.operation import Context, op

RESULT = "labeled.json"


class Labeling(NamedTuple):
    """labeled: one folder a pod, with the outcome of every frame and the good ones as a data set."""

    labeled: Path


@op
def label(context: Context, *, input: Path, batch: Path) -> Labeling:
    """Label the frames of `batch`; a frame that fails is recorded with its reason and does not stop the others.

    What somebody has paid for already comes from the label cache, and every new label goes there at once.
    """
    config = stored(input, DataStudy)
    given = Batch.read(batch)
    settings = config.labeler(given.task).pinned(config)
    labeler, settings_id = registry.labeler(settings), settings_hash(settings)
    cache = context.labels if config.label_cache and settings.cached else None
    answers: dict[int, _Answer] = {}
    seen = SeenLabels()
    for place, frame in enumerate(given.frames):
        key = _cache_key(settings, settings_id, labeler, frame)
        known = cache.get(key, frame) if cache is not None and key else None
        if known is not None:
            answers[place] = _Answer(known, 0.0, cached=True)
        elif frame.electronic_temperature is not None and not settings.uses_electronic_temperature:
            reason = f"{settings.engine} knows no electronic temperature, and the frame has one"
            answers[place] = _Answer(LabelFailure(reason, kind="refused"), 0.0)
    wanted = [place for place in range(len(given.frames)) if place not in answers]
    for first in range(0, len(wanted), settings.at_once):
        together = wanted[first : first + settings.at_once]
        started = time.monotonic()
        found = labeler.label([given.frames[place] for place in together], context.scratch)
        seconds = (time.monotonic() - started) / len(together)
        for place, answer in zip(together, found, strict=True):
            passed = _passed(given.frames[place], answer, seen)
            answers[place] = _Answer(passed, seconds)
            key = _cache_key(settings, settings_id, labeler, given.frames[place])
            if cache is not None and key and isinstance(passed, Labels):
                about = {
                    "engine": settings.engine,
                    "run": config.name,
                    "seconds": seconds,
                    "lamflow": version("lamflow"),
                }
                cache.put(key, given.frames[place], passed, about)
        context.progress(len(answers) / len(given.frames))
    outcomes, good = [], []
    for place, frame in enumerate(given.frames):
        outcome, labels = _outcome(given, place, settings_id, answers[place]), answers[place].answer
        outcomes.append(outcome)
        if isinstance(labels, Labels):
            good.append(Item(LabeledFrame(frame, labels), outcome.origin))
    folder = context.out / "labeled" / str(context.pod)
    write_dataset(folder / "data", good, config.elements, "deepmd/npy")
    Labeled(outcomes=outcomes, role=given.role).save(folder / RESULT)
    return Labeling(context.out / "labeled")


def _cache_key(settings: LabelerSettings, settings_id: str, labeler: Labeler, frame: Frame) -> str | None:
    """Labels of a frame with the same key are the same; None for a frame that will be refused."""
    if isinstance(labeler, HashesInput):
        try:
            own = labeler.input_hash(frame)
        except ValueError:
            return None
    else:
        own = settings.implementation_hash()
    return f"{settings_id}-{own[:16]}"


class _Answer(NamedTuple):
    """What the engine said of a frame, and what it cost, in s."""

    answer: Labels | LabelFailure
    seconds: float
    cached: bool = False


def _outcome(given: Batch, place: int, settings: str, found: _Answer) -> LabelOutcome:
    """The record of one label."""
    origin = given.origins[place].model_copy(update={"settings": settings})
    answer = found.answer
    about: dict[str, Any] = {"seconds": found.seconds, "cached": found.cached}
    if len(answer.attempts) > 1:
        about["attempts"] = list(answer.attempts)
    if isinstance(answer, LabelFailure):
        about.update(failed=answer.reason, kind=answer.kind, log=answer.log)
    else:
        about["energy"] = answer.energy
        if given.forces is not None:
            about["error"] = _largest_error(given.forces[place], answer)
    return LabelOutcome(hash=given.frames[place].content_hash(), origin=origin, **about)


def _passed(frame: Frame, answer: Labels | LabelFailure, seen: SeenLabels) -> Labels | LabelFailure:
    """The gate that every label passes, whatever the code."""
    problem = (answer.problem(frame) or seen.problem(frame, answer)) if isinstance(answer, Labels) else None
    return LabelFailure(problem, kind="invalid") if problem else answer


def _largest_error(predicted: Floats, labels: Labels) -> float:
    """Largest error of the force on an atom, eV/Å."""
    return float(np.linalg.norm(predicted - labels.forces, axis=1).max())
