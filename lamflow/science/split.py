"""Held-out data that do not leak, and that leave the models something of everything to learn."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from lamflow.data.frames import Ints

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
    names, members = list(groups), defaultdict[str, list[int]](list)
    for index, group in enumerate(groups):
        members[group].append(index)
    for group, items in members.items():
        if len(items) < LONG or len(items) <= wanted / 2 or fraction <= 0:
            continue
        pieces = max(2, len(items) // size)
        for piece, part in enumerate(np.array_split(sorted(items, key=lambda index: order[index]), pieces)):
            for index in part:
                names[int(index)] = f"{group}/block {piece:06d}"
    return names


def joined(*partitions: Sequence[int] | Ints) -> Ints:
    """(C,) number of the group of each item, the smallest groups that keep together what any partition (C,) does."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = len(partitions[0])
    labels = [np.unique(partition, return_inverse=True)[1].reshape(-1) for partition in partitions]
    columns = np.concatenate([size * (place + 1) + label for place, label in enumerate(labels)])
    rows, nodes = np.tile(np.arange(size), len(labels)), size * (len(labels) + 1)
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(nodes, nodes))
    found = connected_components(graph, directed=False)[1][:size]
    return np.asarray(np.unique(found, return_inverse=True)[1].reshape(-1), dtype=np.int64)


def heldout_groups(
    groups: Sequence[str],
    fraction: float,
    seed: int,
    kinds: Sequence[Sequence[Hashable]] | None = None,
    decided: Mapping[str, bool] = MappingProxyType({}),
) -> set[str]:
    """Groups to hold out so that about a fraction of the items are held out, at least one group and never all.

    groups   the group of each item; a group is held out whole or not at all
    kinds    for each item what must not vanish from the others: its elements, and its composition as the last one.
             Nothing is held out where an element would vanish; a composition may only where all of them would.
    decided  groups that are held out, or are not, whatever that does to the fraction
    """
    names = sorted(set(groups))
    given = {name for name in names if decided.get(name)}
    if fraction <= 0 or len(names) < 2:
        return given
    order = [names[int(index)] for index in np.random.default_rng(seed).permutation(len(names))]
    items = [tuple(item) for item in kinds] if kinds is not None else [()] * len(groups)
    for kept in (items, [item[:-1] for item in items]):
        chosen = _chosen(order, fraction * len(groups), groups, kept, decided)
        if chosen:
            return chosen
    return given


def _chosen(
    order: Sequence[str],
    wanted: float,
    groups: Sequence[str],
    kinds: Sequence[tuple[Hashable, ...]],
    decided: Mapping[str, bool],
) -> set[str]:
    """The first groups in `order` that come close to `wanted` items and leave some of every kind."""
    sizes, of_group = Counter(groups), dict[str, Counter[Hashable]]((name, Counter()) for name in order)
    for group, kind in zip(groups, kinds, strict=True):
        of_group[group].update(set(kind))
    left: Counter[Hashable] = sum(of_group.values(), Counter())
    chosen, held = set[str](), 0

    def hold(name: str) -> None:
        nonlocal held
        chosen.add(name)
        held += sizes[name]
        left.subtract(of_group[name])

    def may_go(name: str) -> bool:
        return len(chosen) < len(order) - 1 and all(left[kind] > count for kind, count in of_group[name].items())

    for name in order:
        if decided.get(name):
            hold(name)
    free = [name for name in order if name not in decided]
    fitting = [name for name in free if sizes[name] / 2 <= wanted - held]
    for name in fitting:
        if chosen and held + sizes[name] / 2 > wanted:
            continue
        if may_go(name):
            hold(name)
    if not chosen:  # none fits, or all that do are the last of their kind
        smallest = sorted(free, key=lambda name: sizes[name])  # stable: the first of those of one size
        for name in [name for name in smallest if may_go(name)][:1]:
            hold(name)
    return chosen
