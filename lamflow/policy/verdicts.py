"""What becomes of every frame: kept, quarantined with its evidence, or dropped because it repeats another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lamflow.config.cleaning import Action, Checks, CleaningStudy, Rule
from lamflow.data.cleaning import Evidence
from lamflow.data.frames import Ints
from lamflow.policy.findings import Finding, Table
from lamflow.science.split import blocks, heldout_groups, joined

FLAGGED: tuple[Rule, ...] = ("force_outlier", "energy_outlier")
"""Rules that only flag unless the study says otherwise: hard frames look like that, too."""
KEEP, DROP, QUARANTINE = 0, 1, 2
LEAST_FORCE, LEAST_PRESSURE, SHARE = 0.005, 0.05, 0.02
"""eV/Å, GPa and share by which labels of one structure may differ and still be the same."""


@dataclass(eq=False)
class Verdicts:
    """What is decided of C frames.

    state     (C,) KEEP, DROP or QUARANTINE
    heldout   (C,) of the frames that are kept
    evidence  by the number of the frame
    reasons   rule and what it did, with the frames
    kept_out  by the number of a frame in quarantine, why new labels of it must not be trained on
    """

    state: Ints
    heldout: Ints
    evidence: dict[int, list[Evidence]] = field(default_factory=dict)
    reasons: list[tuple[str, str, Ints]] = field(default_factory=list)
    kept_out: dict[int, str] = field(default_factory=dict)


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

    A frame with other forces or another pressure than the one that it is like is no repetition: it has moved a little.
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
    _conflicts(table, study, verdicts, dict(zip(kept[other].tolist(), leader[other].tolist(), strict=True)), released)
    leaking = (held_sources[leader] > 0) & (held_sources[kept] == 0)
    same = np.sort(kept[(leader != kept) & ~other & ~leaking & _same_labels(table, kept, leader)])
    verdicts.reasons.append(("duplicate", "flag" if study.duplicates.keep else "drop", same))
    if not study.duplicates.keep:
        verdicts.state[same] = DROP


def _same_labels(table: Table, frames: Ints, others: Ints) -> NDArray[np.bool_]:
    """(K,) whether forces and pressures of `frames` (K,) are those of `others` (K,), as far as both have them."""
    made, same = table.features, np.ones(len(frames), dtype=bool)
    for values, least in (
        (made.force_max, LEAST_FORCE),
        (made.force_rms, LEAST_FORCE),
        (made.pressure, LEAST_PRESSURE),
    ):
        one, other = values[frames], values[others]
        same &= ~(np.abs(one - other) > np.maximum(least, SHARE * np.abs(other)))
    return same


def _conflicts(
    table: Table, study: CleaningStudy, verdicts: Verdicts, first_of: Mapping[int, int], released: Ints
) -> None:
    """Quarantine both frames of a pair that has two labels, but for those that are released."""
    action, energy = action_of("conflict", study.checks), table.features.energy
    says: dict[int, list[str]] = {}
    stay = set(released.tolist())
    for frame, first in first_of.items():
        change = abs(float(energy[first] - energy[frame]))
        words = (
            f"frames {first} and {frame} of all are one structure, and their energies differ by {change:.3g} eV/atom"
        )
        for one in {first, frame} - stay:
            says.setdefault(one, []).append(words)
    if action == "off" or not says:
        return
    both = np.array(sorted(says), dtype=np.int64)
    verdicts.reasons.append(("conflict", action, both))
    if action == "flag":
        return
    verdicts.state[both] = QUARANTINE
    for one, words_of in says.items():
        verdicts.evidence.setdefault(one, []).extend(Evidence(rule="conflict", says=words) for words in words_of)


def leaks(verdicts: Verdicts, cluster: Ints, held_sources: Ints) -> int:
    """Drop frames to train on that are like one of a source that is held out, and return how many."""
    kept = verdicts.state == KEEP
    held = np.isin(cluster, cluster[kept & (held_sources > 0)]) & (held_sources == 0) & kept
    verdicts.state[held] = DROP
    verdicts.reasons.append(("leak", "drop", np.flatnonzero(held)))
    return int(held.sum())


def hold_out(table: Table, study: CleaningStudy, verdicts: Verdicts, cluster: Ints, seed: int) -> list[str]:
    """Mark what is held out of the frames that are kept: whole groups, of each head about the fraction asked for.

    A group is on the same side in all heads. One that is all of a head is parted into blocks of its trajectories, with
    those of like structures as one, or into structures where that leaves a single one. Returns what is to be said.
    """
    fraction, notes, decided = study.split.heldout, list[str](), dict[str, bool]()
    if not fraction:
        return notes
    groups, kept = _split_groups(table, study.split.whole, cluster), verdicts.state == KEEP
    frames_of = [np.flatnonzero(kept & (table.head == number)) for number in range(len(table.heads))]
    whole = [head for head, mine in enumerate(frames_of) if len(mine) > 1 and len(np.unique(groups[mine])) == 1]
    for group in np.unique([groups[frames_of[head][0]] for head in whole]):
        parted = np.flatnonzero(kept & (groups == group))
        parts = _parts(table.trajectory[parted], cluster[parted], fraction)
        groups[parted] = groups.max() + 1 + parts
    for head in sorted(range(len(table.heads)), key=lambda head: len(np.unique(groups[frames_of[head]]))):
        mine = frames_of[head]
        names = [str(group) for group in groups[mine]]
        held = heldout_groups(names, fraction, seed, decided=decided)
        decided |= {name: name in held for name in names}
        verdicts.heldout[mine] = [name in held for name in names]
        if head in whole:
            how = "parts of it are" if held else "nothing is"
            notes.append(f"{table.heads[head]}: all its frames are of one {study.split.whole}, so {how} held out")
        if len(mine) and len(held) == len(set(names)):
            notes.append(f"{table.heads[head]}: all its frames are held out, for their like of other heads are")
    return notes


def _parts(trajectory: Ints, cluster: Ints, fraction: float) -> Ints:
    """(C,) number of the part that each frame of one group is in: blocks of trajectories, or else structures."""
    names = blocks([f"trajectory {place}" for place in trajectory], range(len(trajectory)), fraction)
    parts = joined(np.unique(names, return_inverse=True)[1], cluster)
    return parts if parts.any() else joined(cluster)


def keep_out(table: Table, study: CleaningStudy, verdicts: Verdicts, cluster: Ints) -> None:
    """Say of frames in quarantine why they must not be trained on, whatever their labels: repeats, and what is held
    out with others."""
    kept = verdicts.state == KEEP
    held, train = kept & (verdicts.heldout > 0), kept & (verdicts.heldout == 0)
    groups, bad = _split_groups(table, study.split.whole, cluster), verdicts.state == QUARANTINE
    first = np.zeros(len(table), dtype=bool)
    first[np.flatnonzero(bad)[np.unique(cluster[bad], return_index=True)[1]]] = True
    reasons = {
        "another frame in quarantine has its structure": ~first,
        "its structure is in the data": np.isin(cluster, cluster[train]),
        f"its {study.split.whole} is held out": np.isin(groups, np.setdiff1d(groups[held], groups[train])),
        "its structure is held out": np.isin(cluster, cluster[held]),
    }
    for why, frames in reasons.items():
        verdicts.kept_out |= {int(frame): why for frame in np.flatnonzero(bad & frames)}


def _split_groups(table: Table, whole: str, cluster: Ints) -> Ints:
    """(C,) number of what must not be split: the groups asked for, joined where like structures are in several."""
    chosen: dict[str, Ints] = {
        "formula": table.features.reduced, "trajectory": table.trajectory, "structure": cluster, "source": table.source,
    }  # fmt: skip
    return joined(chosen[whole], cluster)


def released_frames(ids: Sequence[str], digests: Sequence[str]) -> Ints:
    """Frames whose id begins with one of `ids`."""
    return np.array([n for n, digest in enumerate(digests) if digest.startswith(tuple(ids))], dtype=np.int64)
