"""Choose frames in quarantine that are to be labeled again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from lamflow.config import stored
from lamflow.config.cleaning import CleaningStudy, Rule
from lamflow.data.batch import Batch
from lamflow.data.cleaning import Quarantine, Quarantined
from lamflow.data.dataset import Origin
from lamflow.data.job_record import JobRecord
from lamflow.data.layout import BATCHES, CHECKED_RECORD, QUARANTINE, RELABEL_RECORD, SELECTED
from lamflow.data.provenance import Provenance
from lamflow.data.shards import Shard
from lamflow.data.spent import take
from lamflow.errors import StateError
from lamflow.ops.operation import Context, op
from lamflow.policy.jobs import indices_of_job, jobs_needed

OF_STRUCTURES: tuple[Rule, ...] = ("distance", "volume", "foreign_elements", "swapped_elements")
"""Rules that find structures which nobody should label."""


class RelabelRecord(JobRecord):
    """How many frames are labeled again, by how many jobs."""

    decision: Literal["label", "nothing"]
    batches: int
    frames: int


class Chosen(NamedTuple):
    """selected: batches/0, 1, … and relabel.json; the other fields are what Argo's UI shows."""

    selected: Path
    decision: str
    batches: int


@op
def choose_relabel(context: Context, *, input: Path, shards: Path, checked: Path, jobs_at_once: int) -> Chosen:
    """Frames that one of `relabel.rules` has found, at most `limit`.

    Those whose structure is wrong stay where they are, and those whose structure is in the data or must not be.
    """
    study = stored(input, CleaningStudy)
    relabel = study.relabel
    if relabel is None or not (checked / CHECKED_RECORD).is_file():
        raise StateError("the study asks for no new labels, or nothing was checked")
    found = [item for item in Quarantine.read(checked / QUARANTINE).frames if _has_wrong_labels(item, relabel.rules)]
    frames = [item for item in found if not item.kept_out][: relabel.limit]
    for why, count in Counter(item.kept_out for item in found if item.kept_out).items():
        context.say(f"{count} frames get no new labels: {why}")
    chosen = []
    for folder in dict.fromkeys(item.shard for item in frames):
        wanted = {item.index: item for item in frames if item.shard == folder}
        for index, labeled in enumerate(Shard.read(shards / folder)):
            if index in wanted and set(labeled.frame.symbols) <= set(study.elements):
                item = wanted[index]
                chosen.append((labeled.frame, Origin(iteration=0, source=f"{item.file}#{item.number}")))
    output = context.out / SELECTED
    output.mkdir(parents=True)
    count = jobs_needed(len(chosen), jobs_at_once, study.pods.label.work_per_job) if chosen else 0
    for job in range(count):
        part = [chosen[place] for place in indices_of_job(len(chosen), count, job)]
        Batch([frame for frame, _ in part], [origin for _, origin in part]).save(output / BATCHES / str(job))
    record = RelabelRecord(
        decision="label" if count else "nothing",
        batches=count,
        frames=len(chosen),
        provenance=Provenance.of_this_job(),
        spent=take(),
    )
    record.save(output / RELABEL_RECORD)
    return Chosen(output, record.decision, record.batches)


def _has_wrong_labels(item: Quarantined, rules: Sequence[Rule]) -> bool:
    """Its labels are wrong, and as far as anybody knows not its structure, too."""
    found = {part.rule for part in item.evidence}
    return bool(found.intersection(rules)) and not found.intersection(set(OF_STRUCTURES).difference(rules))
