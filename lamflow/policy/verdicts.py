"""What becomes of every frame: kept, quarantined with its evidence, or dropped because it repeats another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lamflow.config.cleaning import Action, Checks, CleaningStudy, Rule
from lamflow.data.cleaning import Evidence
from lamflow.data.frames import Ints
from lamflow.policy.findings import Finding, Table
from lamflow.science.split import blocks, heldout_groups

FLAGGED: tuple[Rule, ...] = ("force_outlier", "energy_outlier")
"""Rules that only flag unless the study says otherwise: hard frames look like that, too."""
KEEP, DROP, QUARANTINE = 0, 1, 2


@dataclass(eq=False)
class Verdicts:
    """What is decided of C frames.

    state     (C,) KEEP, DROP or QUARANTINE
    heldout   (C,) of the frames that are kept
    evidence  by the number of the frame
    reasons   rule and what it did, with the frames
    """

    state: Ints
    heldout: Ints
    evidence: dict[int, list[Evidence]] = field(default_factory=dict)
    reasons: list[tuple[str, str, Ints]] = field(default_factory=list)


def action_of(rule: Rule, checks: Checks) -> Action:
    """What a rule does."""
    return checks.actions.get(rule, "flag" if rule in FLAGGED else "quarantine")


def judged(table: Table, checks: Checks, findings: Iterable[Finding], released: Ints) -> Verdicts:
    """Verdicts by findings; frames in `released` are kept whatever is found."""
    verdicts = Verdicts(np.full(len(table), KEEP), np.zeros(len(table), dtype=np.int64))
    for finding in findings:
        action = action_of(finding.rule, checks)
        if action == "off":
            continue
        frames = np.setdiff1d(finding.frames, released)
        verdicts.reasons.append((finding.rule, action, frames))
        if action == "flag":
            continue
        verdicts.state[frames] = QUARANTINE
        place = {int(frame): index for index, frame in enumerate(finding.frames)}
        for frame in frames:
            says = Evidence(rule=finding.rule, says=finding.words(place[int(frame)]))
            verdicts.evidence.setdefault(int(frame), []).append(says)
    return verdicts


def repeats(
    table: Table, study: CleaningStudy, verdicts: Verdicts, cluster: Ints, held_sources: Ints, released: Ints
) -> None:
    """Drop frames that repeat one of their head, and quarantine those with another label for the same structure.

    Of like ones the first of a source that is held out is kept, else the first of all; frames to train on that repeat
    one that is held out are left to `leaks`.
    """
    kept = np.flatnonzero(verdicts.state == KEEP)
    kept = kept[np.argsort(held_sources[kept] == 0, kind="stable")]
    keys = cluster[kept] * len(table.heads) + table.head[kept]
    _, first, places = np.unique(keys, return_index=True, return_inverse=True)
    leader = kept[first[places.reshape(-1)]]
    change = np.abs(table.features.energy[kept] - table.features.energy[leader])
    other = (leader != kept) & (change > study.checks.conflict)
    _conflicts(table, study, verdicts, kept, leader, np.setdiff1d(kept[other], released))
    leaking = (held_sources[leader] > 0) & (held_sources[kept] == 0)
    same = np.sort(kept[(leader != kept) & ~other & ~leaking])
    verdicts.reasons.append(("duplicate", "flag" if study.duplicates.keep else "drop", same))
    if not study.duplicates.keep:
        verdicts.state[same] = DROP


def _conflicts(table: Table, study: CleaningStudy, verdicts: Verdicts, kept: Ints, leader: Ints, frames: Ints) -> None:
    action = action_of("conflict", study.checks)
    if action == "off" or not len(frames):
        return
    of = dict(zip(kept.tolist(), leader.tolist(), strict=True))
    both = np.unique(np.concatenate([frames, [of[int(frame)] for frame in frames]]))
    verdicts.reasons.append(("conflict", action, both))
    if action == "flag":
        return
    verdicts.state[both] = QUARANTINE
    energy = table.features.energy
    for frame in frames:
        first = of[int(frame)]
        change = abs(float(energy[first] - energy[frame]))
        says = f"frames {first} and {frame} of all are one structure, and their energies differ by {change:.3g} eV/atom"
        for one in (first, int(frame)):
            verdicts.evidence.setdefault(one, []).append(Evidence(rule="conflict", says=says))


def leaks(verdicts: Verdicts, cluster: Ints, held_sources: Ints) -> int:
    """Drop frames to train on that are like one of a source that is held out, and return how many."""
    kept = verdicts.state == KEEP
    held = np.isin(cluster, cluster[kept & (held_sources > 0)]) & (held_sources == 0) & kept
    verdicts.state[held] = DROP
    verdicts.reasons.append(("leak", "drop", np.flatnonzero(held)))
    return int(held.sum())


def hold_out(table: Table, study: CleaningStudy, verdicts: Verdicts, cluster: Ints, seed: int) -> list[str]:
    """Mark what is held out of the frames that are kept: whole groups, of each head about the fraction asked for.

    A head that is one group has blocks of its trajectories held out instead. Returns what is to be said of it.
    """
    fraction, notes = study.split.heldout, list[str]()
    if not fraction:
        return notes
    groups = _split_groups(table, study.split.whole, cluster)
    for number, head in enumerate(table.heads):
        mine = np.flatnonzero((verdicts.state == KEEP) & (table.head == number))
        names = [str(group) for group in groups[mine]]
        held = heldout_groups(names, fraction, seed)
        if not held and len(mine) > 1:
            names = blocks([f"trajectory {place}" for place in table.trajectory[mine]], mine.tolist(), fraction)
            held = heldout_groups(names, fraction, seed)
            how = "blocks of its trajectories are" if held else "nothing is"
            notes.append(f"{head}: all its frames are of one {study.split.whole}, so {how} held out")
        verdicts.heldout[mine] = [name in held for name in names]
    _same_side(table.features.digest, verdicts)
    return notes


def _same_side(digest: NDArray[np.uint64], verdicts: Verdicts) -> None:
    """A structure that one head holds out is trained on by none: its frames of other heads are held out, too."""
    _, places = np.unique(digest, axis=0, return_inverse=True)
    held = np.unique(places.reshape(-1)[verdicts.heldout > 0])
    verdicts.heldout[np.isin(places.reshape(-1), held) & (verdicts.state == KEEP)] = 1


def _split_groups(table: Table, whole: str, cluster: Ints) -> Ints:
    """(C,) number of what must not be split: the groups asked for, joined where like structures are in several."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    size = len(table)
    chosen: dict[str, Ints] = {
        "formula": table.features.formula, "trajectory": table.trajectory, "structure": cluster, "source": table.source,
    }  # fmt: skip
    first = np.unique(chosen[whole], return_index=True, return_inverse=True)
    heads = first[1][first[2].reshape(-1)]
    frames = np.arange(size)
    rows, columns = np.concatenate([frames, frames]), np.concatenate([cluster, heads])
    graph = coo_matrix((np.ones(2 * size, dtype=np.int8), (rows, columns)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def released_frames(ids: Sequence[str], digests: Sequence[str]) -> Ints:
    """Frames whose id begins with one of `ids`."""
    return np.array([n for n, digest in enumerate(digests) if digest.startswith(tuple(ids))], dtype=np.int64)
