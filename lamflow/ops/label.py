"""Label one batch of frames."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from lamflow.config import stored
from lamflow.data import LabeledFrame, Labels
from lamflow.data.batch import Batch
from lamflow.data.dataset import Item, write_dataset
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
    labeler = registry.labeler(config.label)
    settings = settings_hash(config)
    outcomes, good = [], []
    for done, (frame, origin) in enumerate(zip(given.frames, given.origins, strict=True)):
        started = time.monotonic()
        [answer] = labeler.label([frame], context.scratch)
        if isinstance(answer, Labels) and (problem := answer.problem(frame)):
            answer = LabelFailure(problem)
        labeled_by = origin.model_copy(update={"settings": settings})
        failed = answer if isinstance(answer, LabelFailure) else None
        if isinstance(answer, Labels):
            good.append(Item(LabeledFrame(frame, answer), labeled_by))
        outcomes.append(
            LabelOutcome(
                hash=frame.content_hash(),
                origin=labeled_by,
                seconds=time.monotonic() - started,
                failed=failed.reason if failed else None,
                log=failed.log if failed else "",
            )
        )
        context.progress((done + 1) / len(given.frames))
    folder = context.out / "labeled" / str(context.pod)
    write_dataset(folder / "data", good, config.elements, "deepmd/npy")
    Labeled(outcomes=outcomes, role=given.role).save(folder / RESULT)
    return Labeling(context.out / "labeled")
