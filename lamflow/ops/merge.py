"""Add an iteration's labels to the data."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.config.schema import DataStudy
from lamflow.config.seeds import child_seed
from lamflow.data.dataset import MANIFEST, Item, read_dataset, write_dataset
from lamflow.data.results import Labeled, LabelOutcome, Merged
from lamflow.errors import EngineError, InputError
from lamflow.ops._read import DESCRIPTORS, descriptors, read_index
from lamflow.ops.operation import Context, op
from lamflow.science.plausibility import GIVEN, GivenData
from lamflow.science.split import blocks, heldout_groups

RESULT = "merged.json"


class Merging(NamedTuple):
    """train, heldout: data sets of the new frames; known: their hashes and descriptors; merged: merged.json."""

    train: Path
    heldout: Path
    known: Path
    merged: Path
    labels: int


@op
def merge(
    context: Context,
    *,
    input: Path,
    labeled: Path | None,
    given: Path | None,
    index: Path | None,
    iteration: int,
) -> Merging:
    """Check, deduplicate, split and write what this iteration labeled, and the data that were given at the start."""
    config = stored(input, DataStudy)
    parts = sorted(path for path in labeled.iterdir() if path.is_dir()) if labeled is not None else []
    outcomes = [outcome for folder in parts for outcome in Labeled.read(folder / "labeled.json").outcomes]
    failed = _judge(config, outcomes)
    items: dict[str, list[Item]] = {"train": [], "heldout": []}
    for folder in parts:
        items[Labeled.read(folder / "labeled.json").role] += read_dataset(folder / "data")
    for labeled_here in items.values():
        labeled_here.sort(key=lambda item: item.labeled.frame.content_hash())  # whatever pod labeled them
    if given is not None:
        for role in items:
            if (given / role).is_dir():
                items[role] += read_dataset(given / role)
    repeated = GivenData.read(given / GIVEN).repeated if given is not None and (given / GIVEN).is_file() else 0
    train, heldout = _split(config, items["train"], items["heldout"], iteration)
    known = read_index(index, iteration).hashes
    heldout, twice = _new(heldout, known)
    train, again = _new(train, known)
    if iteration == 0:
        _require_data(config, train, heldout)
    out = context.out
    added, held = _write(out, config, train, heldout)
    seconds = sum(outcome.seconds for outcome in outcomes)
    result = Merged(
        added=added, heldout=held, duplicates=twice + again + repeated, failed=failed, seconds=seconds,
        labels=len(outcomes) - len(failed), cached=sum(outcome.cached for outcome in outcomes),
        remedied=[outcome for outcome in outcomes if outcome.failed is None and len(outcome.attempts) > 1],
    )  # fmt: skip
    result.save(out / "merged" / RESULT)
    return Merging(out / "train", out / "heldout", out / "known", out / "merged", len(outcomes) - len(failed))


def _require_data(config: DataStudy, train: list[Item], heldout: list[Item]) -> None:
    """Raise InputError for a task that has nothing to train on, or nothing to be judged by."""
    if not config.trains and (train or heldout):
        return
    for part in config.parts:
        for what, there in (("training", train), ("held-out", heldout)):
            if not any(item.origin.task == part.name for item in there):
                where = f" of task {part.name}" if part.name else ""
                raise InputError(
                    f"the {what} set{where} is empty after reading, labeling and removing duplicates; see start and "
                    "heldout"
                )


def _write(out: Path, config: DataStudy, train: list[Item], heldout: list[Item]) -> tuple[int, int]:
    """Write both data sets and what later iterations ask of them; returns how many frames they have."""
    manifest = write_dataset(out / "train", train, config.elements, config.data_format)
    held = write_dataset(out / "heldout", heldout, config.elements, config.data_format)
    (out / "known").mkdir(parents=True)
    (out / "known" / MANIFEST).write_text(manifest.model_dump_json())
    (out / "known" / f"heldout-{MANIFEST}").write_text(held.model_dump_json())
    for part in config.parts:
        own = [item.labeled.frame for item in train if item.origin.task == part.name]
        np.save(out / "known" / f"{part.name}{DESCRIPTORS}", descriptors(own, config), allow_pickle=False)
    return len(manifest.frames), len(held.frames)


def _judge(config: DataStudy, outcomes: list[LabelOutcome]) -> list[LabelOutcome]:
    """The failed labels. Raises EngineError when they are too many."""
    failed = [outcome for outcome in outcomes if outcome.failed]
    allowed = config.budget.failed_labels
    if failed and len(failed) > allowed * len(outcomes):
        shown = "\n".join(f"  {o.origin.source} step {o.origin.step}: {o.failed}\n{o.log}" for o in failed[:3])
        raise EngineError(
            f"{len(failed)} of {len(outcomes)} labels failed, more than budget.failed_labels ({allowed:g}) allows; "
            f"the first ones:\n{shown}"
        )
    return failed


def _split(config: DataStudy, train: list[Item], heldout: list[Item], iteration: int) -> tuple[list[Item], list[Item]]:
    """Hold out whole origins of the start data of each task as its `heldout.fraction` says."""
    for part in config.parts if iteration == 0 else []:
        if not part.heldout.fraction:
            continue
        own = [item for item in train if item.origin.task == part.name]
        fraction = part.heldout.fraction
        groups = blocks([item.origin.group for item in own], [item.origin.place for item in own], fraction)
        kinds = [_kinds(item) for item in own]
        held = heldout_groups(groups, fraction, child_seed(config.seed, "heldout", part.name), kinds)
        if not held:
            raise InputError(
                "heldout.fraction: all start data have one origin, or hold out all frames of an element, so none of it "
                "can be held out; give heldout.data or heldout.label"
            )
        out = {item.origin.source for item, group in zip(own, groups, strict=True) if group in held}
        is_out = [item.origin.task == part.name and item.origin.source in out for item in train]
        heldout = heldout + [item for item, held_out in zip(train, is_out, strict=True) if held_out]
        train = [item for item, held_out in zip(train, is_out, strict=True) if not held_out]
    return train, heldout


def _kinds(item: Item) -> list[str]:
    """What must not vanish from the training data: the elements of a frame, and its composition."""
    symbols = sorted(item.labeled.frame.symbols)
    return [*dict.fromkeys(symbols), f"composition {' '.join(symbols)}"]


def _new(items: list[Item], known: set[str]) -> tuple[list[Item], int]:
    """Items whose frame is not in `known`, which grows by them, and how many were left out."""
    fresh = []
    for item in items:
        if item.key not in known:
            known.add(item.key)
            fresh.append(item)
    return fresh, len(items) - len(fresh)
