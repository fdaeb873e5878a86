"""What is held out, and which frames are new."""

from __future__ import annotations

from collections.abc import Sequence

from lamflow.config.schema import DataStudy
from lamflow.config.seeds import child_seed
from lamflow.data.dataset import Item
from lamflow.errors import InputError
from lamflow.science.split import blocks, heldout_groups


def hold_out(study: DataStudy, train: list[Item], heldout: list[Item]) -> tuple[list[Item], list[Item]]:
    """Both sets, with a fraction of the start data of each head held out as its `heldout.fraction` says.

    Whole origins and blocks of long trajectories are held out, never all frames of an element. What has a frame that
    another head holds out is held out, too; what has one that another trains on is not where there is anything else.
    Raises InputError where nothing can be held out so.
    """
    open_heads = {head.name for head in study.all_heads if head.heldout.fraction}
    for head in study.all_heads:
        if not head.heldout.fraction:
            continue
        fraction, items = head.heldout.fraction, [item for item in train if item.origin.head == head.name]
        groups = blocks([item.origin.group for item in items], [item.origin.index for item in items], fraction)
        kinds, seed = [_kinds(item) for item in items], child_seed(study.seed, "heldout", head.name)
        with_held = _groups_with(items, groups, heldout)
        with_trained = _groups_with(items, groups, [item for item in train if item.origin.head not in open_heads])
        held = set[str]()
        for decided in (dict.fromkeys(with_trained, False) | with_held, with_held):
            held = held or heldout_groups(groups, fraction, seed, kinds, decided)
        open_heads.discard(head.name)
        if not held:
            raise InputError(
                "heldout.fraction: all start data have one origin, or hold out all frames of an element, so none of it "
                "can be held out; give heldout.data or heldout.label"
            )
        sources = {item.origin.source for item, group in zip(items, groups, strict=True) if group in held}
        is_held = [item.origin.head == head.name and item.origin.source in sources for item in train]
        heldout = heldout + [item for item, held_out in zip(train, is_held, strict=True) if held_out]
        train = [item for item, held_out in zip(train, is_held, strict=True) if not held_out]
    return train, heldout


def _groups_with(items: Sequence[Item], groups: Sequence[str], others: Sequence[Item]) -> dict[str, bool]:
    """True for the groups of items that have a frame of `others`."""
    hashes = {item.hash for item in others}
    return {group: True for item, group in zip(items, groups, strict=True) if hashes and item.hash in hashes}


def _kinds(item: Item) -> list[str]:
    """What must not vanish from the training data: the elements of a frame, and its composition."""
    symbols = sorted(item.labeled.frame.symbols)
    return [*dict.fromkeys(symbols), f"composition {' '.join(symbols)}"]


def new_items(items: Sequence[Item], known: set[str]) -> tuple[list[Item], int]:
    """Items whose frame is not in `known`, which grows by them, and how many were left out."""
    fresh = []
    for item in items:
        if item.key not in known:
            known.add(item.key)
            fresh.append(item)
    return fresh, len(items) - len(fresh)


def require_data(study: DataStudy, train: Sequence[Item], heldout: Sequence[Item]) -> None:
    """Raise InputError for a head that has nothing to train on, or nothing to be judged by."""
    if not study.trains and (train or heldout):
        return
    for head in study.all_heads:
        for name, items in (("training", train), ("held-out", heldout)):
            if not any(item.origin.head == head.name for item in items):
                where = f" of head {head.name}" if head.name else ""
                raise InputError(
                    f"the {name} set{where} is empty after reading, labeling and removing duplicates; see start and "
                    "heldout"
                )
