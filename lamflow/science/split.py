"""Held-out data that do not leak, and that leave the models something of everything to learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

MIN_BLOCK = 3
"""Frames of a trajectory that are held out together at least."""
LONG = 20
"""Frames from which on a trajectory is cut into blocks."""
BLOCKS = 4
"""Blocks that a long trajectory's held-out frames would be made of, if it were alone."""


def blocks(groups: Sequence[str], order: Sequence[int], fraction: float) -> list[str]:
    """The groups (C,) with the long ones cut into blocks of consecutive frames, so that a fraction can be held out.

    groups  the group of each item (its origin)
    order   place of each item in its group

    A group of less than 20 items, and one that is at most half of what is to be held out, stays whole.
    """
    wanted = fraction * len(groups)
    size = max(MIN_BLOCK, int(np.ceil(wanted / BLOCKS)))
    names = list(groups)
    for group, count in Counter(groups).items():
        if count < LONG or count <= wanted / 2 or fraction <= 0:
            continue
        members = sorted((index for index, name in enumerate(groups) if name == group), key=lambda index: order[index])
        pieces = max(2, count // size)
        for piece, part in enumerate(np.array_split(np.array(members), pieces)):
            for index in part:
                names[int(index)] = f"{group}/block {piece:06d}"
    return names


def heldout_groups(
    groups: Sequence[str], fraction: float, seed: int, kinds: Sequence[Sequence[Hashable]] | None = None
) -> set[str]:
    """Groups to hold out so that about a fraction of the items are held out, at least one group and never all.

    groups  the group of each item; a group is held out whole or not at all
    kinds   for each item what must not vanish from the others: its elements, and its composition as the last one.
            Nothing is held out where an element would vanish; a composition may only where all of them would.
    """
    names = sorted(set(groups))
    if fraction <= 0 or len(names) < 2:
        return set()
    sizes = Counter(groups)
    order = [names[int(index)] for index in np.random.default_rng(seed).permutation(len(names))]
    items = [tuple(item) for item in kinds] if kinds is not None else [()] * len(groups)
    for kept in (items, [item[:-1] for item in items]):
        chosen = _chosen(order, sizes, fraction * len(groups), groups, kept)
        if chosen:
            return chosen
    return set()


def _chosen(
    order: Sequence[str],
    sizes: Counter[str],
    wanted: float,
    groups: Sequence[str],
    kinds: Sequence[tuple[Hashable, ...]],
) -> set[str]:
    """The first groups in `order` that come close to `wanted` items and leave some of every kind."""
    of_group: dict[str, Counter[Hashable]] = {name: Counter() for name in order}
    for group, kind in zip(groups, kinds, strict=True):
        of_group[group].update(set(kind))
    left: Counter[Hashable] = sum(of_group.values(), Counter())
    chosen, held = set[str](), 0

    def may_go(name: str) -> bool:
        return len(chosen) < len(order) - 1 and all(left[kind] > count for kind, count in of_group[name].items())

    smallest = sorted(order, key=lambda name: sizes[name])  # stable: the first of those of one size
    fitting = [name for name in order if sizes[name] / 2 <= wanted]
    for name in fitting or smallest:
        if chosen and held + sizes[name] / 2 > wanted:
            continue
        if may_go(name):
            chosen.add(name)
            held += sizes[name]
            left.subtract(of_group[name])
            if not fitting:
                break
    if not chosen and fitting:  # all that fit are the last of their kind
        chosen = set(next(([name] for name in smallest if may_go(name)), []))
    return chosen
