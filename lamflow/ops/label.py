"""Label one batch of frames."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.batch import Batch
from lamflow.data.dataset import Item, write_dataset
from lamflow.data.frames import Floats
from lamflow.data.results import Labeled, LabelOutcome
from lamflow.engines import registry
from lamflow.engines.protocol import LabelFailure
from lamflow.ops._op import Context, op
from lamflow.ops._read import settings_hash

RESULT = "labeled.json"


class Labeling(NamedTuple):
    """labeled: one folder a pod, with the outcome of every frame and the good ones as a data set."""

    labeled: Path


@op
def label(context: Context, *, input: Path, batch: Path) -> Labeling:
    """Label the frames of `batch`; a frame that fails is recorded with its reason and does not stop the others."""
    config = stored(input)
    given = Batch.read(batch)
    settings = config.labeler(given.task)
    labeler, settings_id = registry.labeler(settings), settings_hash(config, given.task, input)
    outcomes, good = [], []
    count = len(given.frames)
    for first in range(0, count, settings.at_once):
        together = range(first, min(first + settings.at_once, count))
        started = time.monotonic()
        answers = labeler.label([given.frames[place] for place in together], context.scratch)
        seconds = (time.monotonic() - started) / len(together)
        for place, given_answer in zip(together, answers, strict=True):
            frame = given.frames[place]
            origin = given.origins[place].model_copy(update={"settings": settings_id})
            answer = _passed(frame, given_answer)
            outcome = LabelOutcome(hash=frame.content_hash(), origin=origin, seconds=seconds)
            if isinstance(answer, LabelFailure):
                outcome = outcome.model_copy(update={"failed": answer.reason, "log": answer.log})
            else:
                good.append(Item(LabeledFrame(frame, answer), origin))
                outcome = outcome.model_copy(update={"energy": answer.energy})
                if given.forces is not None:
                    outcome = outcome.model_copy(update={"error": _largest_error(given.forces[place], answer)})
            outcomes.append(outcome)
        context.progress(together.stop / count)
    folder = context.out / "labeled" / str(context.pod)
    write_dataset(folder / "data", good, config.elements, "deepmd/npy")
    Labeled(outcomes=outcomes, role=given.role).save(folder / RESULT)
    return Labeling(context.out / "labeled")


def _passed(frame: Frame, answer: Labels | LabelFailure) -> Labels | LabelFailure:
    """The gate that every label passes, whatever the code."""
    problem = answer.problem(frame) if isinstance(answer, Labels) else None
    return LabelFailure(problem) if problem else answer


def _largest_error(predicted: Floats, labels: Labels) -> float:
    """Largest error of the force on an atom, eV/Å."""
    return float(np.linalg.norm(predicted - labels.forces, axis=1).max())
