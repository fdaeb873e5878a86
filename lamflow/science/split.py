"""Held-out data that do not leak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np


def heldout_groups(groups: Sequence[str], fraction: float, seed: int) -> set[str]:
    """Groups to hold out so that about `fraction` of the items are held out, at least one group and never all.

    groups  the group of each item (its origin); a group is held out whole or not at all
    """
    names = sorted(set(groups))
    if fraction <= 0 or len(names) < 2:
        return set()
    sizes = Counter(groups)
    wanted, chosen, held = fraction * len(groups), set[str](), 0
    for index in np.random.default_rng(seed).permutation(len(names)):
        name = names[int(index)]
        if len(chosen) == len(names) - 1 or (chosen and held + sizes[name] / 2 > wanted):
            break
        chosen.add(name)
        held += sizes[name]
    return chosen
