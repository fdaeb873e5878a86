"""Judge all frames together: errors, repeats, conflicts, leaks, heads, and what is held out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.config.cleaning import CleaningStudy
from lamflow.data.arrays import read_arrays
from lamflow.data.cleaning import CheckRecord, CurvePoint, CurveRecord, Quarantine
from lamflow.data.layout import (
    CHECKED,
    CHECKED_RECORD,
    FRAMES,
    LEARNING_CURVE_RECORD,
    QUARANTINE,
    READ_RECORD,
    SHARD,
    VERDICTS,
)
from lamflow.data.opinions import Opinions
from lamflow.data.provenance import Provenance
from lamflow.data.shards import About, shards_below
from lamflow.data.spent import take
from lamflow.errors import InputError
from lamflow.ops.counting import counts, quarantined, unread_lines, unreadable_counts
from lamflow.ops.frames_table import frames_table
from lamflow.ops.operation import Context, op
from lamflow.policy.audits import audits
from lamflow.policy.cleaning import decide, elements_of
from lamflow.policy.curves import LINES, enough, words
from lamflow.policy.findings import Table
from lamflow.policy.verdicts import DROP, Verdicts


class Checked(NamedTuple):
    """checked: checked.json, verdicts.npz and quarantine.json; the numbers are what Argo's UI shows."""

    checked: Path
    kept: int
    quarantined: int


@op
def check_frames(
    context: Context, *, input: Path, shards: Path, predictions: Path | None, folds: Path | None, curves: Path | None
) -> Checked:
    """Decide what becomes of every frame that was read."""
    study, started = stored(input, CleaningStudy), time.monotonic()
    folders = shards_below(shards)
    records = sorted(shards.glob(f"*/{READ_RECORD}"))
    lost = unreadable_counts(records)
    if not folders:
        raise InputError(f"no labeled frame was read of any source: {_first(lost)}")
    abouts = [About.read(folder / SHARD) for folder in folders]
    table, methods, alike, numbers = frames_table(study, folders, abouts)
    context.say(f"{len(table)} frames of {len(abouts)} shards")
    decided = decide(study, table, [*_opinions(study, predictions, abouts), *_of_folds(folds)])
    verdicts = decided.verdicts
    points, notes = _chosen_by_curve(study, table, verdicts, curves) if curves is not None else ([], [])
    if not (verdicts.state == 0).any():
        raise InputError(f"no frame is left: {decided.eaten()}")
    folder = context.out / CHECKED
    folder.mkdir(parents=True)
    np.savez(
        folder / VERDICTS, state=verdicts.state, heldout=verdicts.heldout, head=table.head, heads=np.array(table.heads),
        methods=np.array(list(methods.values())), turned=table.turned, elements=np.array(elements_of(study, table)),
        trajectory=table.trajectory,
    )  # fmt: skip
    names = [str(path.relative_to(shards)) for path in folders]
    frames = quarantined(table, verdicts, [about.file for about in abouts], names, numbers)
    Quarantine(frames=frames).save(folder / QUARANTINE)
    kept = verdicts.state == 0
    CheckRecord(
        frames_read=len(table), kept=int(kept.sum()), train=int((kept & (verdicts.heldout == 0)).sum()),
        heldout=int((kept & (verdicts.heldout > 0)).sum()), quarantined=int((verdicts.state == 2).sum()),
        dropped=int((verdicts.state == 1).sum()), released=len(decided.released),
        counts=[*lost, *counts(table, verdicts)], audits=audits(table, decided.signs, alike),
        elements=elements_of(study, table), leaks=decided.leaks,
        notes=[*unread_lines(records), *decided.notes, *notes], curve=points, seconds=time.monotonic() - started,
        provenance=Provenance.of_this_job(), spent=take(),
    ).save(folder / CHECKED_RECORD)  # fmt: skip
    return Checked(folder, int(kept.sum()), int((verdicts.state == 2).sum()))


def _first(lost: Sequence[object]) -> str:
    return "; ".join(str(item) for item in lost[:3]) or "the files are empty"


def _opinions(study: CleaningStudy, predictions: Path | None, abouts: Sequence[About]) -> list[Opinions]:
    """What each model says of all frames."""
    if predictions is None or study.models is None:
        return []
    files = {file.stem: file for file in predictions.glob("*/*.npz")}
    return [
        Opinions.concatenate([
            Opinions.read(files[f"{index:05d}-{number}"]) if f"{index:05d}-{number}" in files
            else Opinions.nothing(about.frames) for index, about in enumerate(abouts)
        ])
        for number in range(len(study.models.engines))
    ]  # fmt: skip


def _of_folds(folds: Path | None) -> list[Opinions]:
    """What the models of all folds together say."""
    files = sorted(folds.glob("*/*.npz")) if folds is not None else []
    return [Opinions.merged([Opinions.read(file) for file in files])] if files else []


def _chosen_by_curve(
    study: CleaningStudy, table: Table, verdicts: Verdicts, curves: Path
) -> tuple[list[CurvePoint], list[str]]:
    """Drop the training frames that the learning curves do not need; their points, and what is to be said of them."""
    assert study.curve is not None  # noqa: S101  there are no curves then
    by_line = {line: CurveRecord.read(curves / line / LEARNING_CURVE_RECORD).points for line in LINES}
    points, notes, dropped = [point for own in by_line.values() for point in own], list[str](), [np.zeros(0, np.int64)]
    for number, head in enumerate(table.heads):
        mine = np.flatnonzero((verdicts.state == 0) & (verdicts.heldout == 0) & (table.head == number))
        chosen = enough(points, head, study.curve)
        notes.append(words(points, head, study.curve, chosen))
        if chosen is not None:
            frames = read_arrays(curves / chosen.line / FRAMES)
            dropped.append(np.setdiff1d(mine, frames[f"{head}-{by_line[chosen.line].index(chosen)}"]))
    gone = np.concatenate(dropped)
    verdicts.state[gone] = DROP
    verdicts.reasons.append(("learning_curve", "drop", gone))
    return points, notes
