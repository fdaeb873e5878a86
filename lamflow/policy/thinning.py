"""Compression: fewer training frames that say nearly as much."""

from __future__ import annotations

import numpy as np

from lamflow.config.cleaning import CleaningStudy, Compress
from lamflow.config.seeds import child_seed
from lamflow.data.frames import Ints
from lamflow.policy.findings import Table
from lamflow.policy.verdicts import DROP, KEEP, Verdicts
from lamflow.science.cleaning.compression import bandwidth, by_clusters, by_distance, by_entropy, entropy, every_nth

ENDS = 3
"""Frames at the beginning and at the end of a trajectory that stay."""
ENTROPY_FRAMES = 3000
"""Frames of which the entropy before and after is said; of more, a sample."""


def thin(study: CleaningStudy, table: Table, verdicts: Verdicts) -> list[str]:
    """Drop training frames of each head as `compress` says, and return what is to be said of it."""
    settings, notes = study.compress, list[str]()
    assert settings is not None  # noqa: S101  its caller knows
    dropped = []
    for number, head in enumerate(table.heads):
        mine = np.flatnonzero((verdicts.state == KEEP) & (verdicts.heldout == 0) & (table.head == number))
        seed = child_seed(study.seed, "compress", head)
        kept = mine[_chosen(settings, table, mine, seed)]
        if len(kept) == len(mine):
            continue
        dropped.append(np.setdiff1d(mine, kept))
        random = np.random.default_rng(seed).permutation(mine)[: len(kept)]
        width = bandwidth(table.features.fingerprint[mine].astype(np.float64))
        whole, ours, drawn = (_entropy(table, frames, seed, width) for frames in (mine, kept, random))
        notes.append(
            f"{head}: {len(kept)} of {len(mine)} training frames stay ({settings.method}); entropy of their "
            f"fingerprints {ours:.3f}, of as many random ones {drawn:.3f}, of all {whole:.3f} nats"
        )
    gone = np.concatenate([np.zeros(0, dtype=np.int64), *dropped])
    verdicts.state[gone] = DROP
    verdicts.reasons.append(("compress", "drop", gone))
    return notes


def _chosen(settings: Compress, table: Table, frames: Ints, seed: int) -> Ints:
    """Places in `frames` of those that stay."""
    count = max(1, round(settings.fraction * len(frames)))
    if settings.method == "every":
        return every_nth(table.trajectory[frames], settings.n, ENDS)
    if count >= len(frames):
        return np.arange(len(frames))
    points = table.features.fingerprint[frames].astype(np.float64)
    match settings.method:
        case "farthest":
            return by_distance(points, count)
        case "entropy":
            return by_entropy(points, count, seed)
        case "direct":
            return by_clusters(points, count)
        case _:
            return np.sort(np.random.default_rng(seed).permutation(len(frames))[:count])


def _entropy(table: Table, frames: Ints, seed: int, width: float) -> float:
    sample = np.random.default_rng(seed).permutation(frames)[:ENTROPY_FRAMES]
    return entropy(table.features.fingerprint[sample].astype(np.float64), width)
