"""What the labels of a source say of themselves: offsets, signs and units; and what each head is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols

from lamflow.data.cleaning import HeadCard, SourceAudit
from lamflow.data.features import Features
from lamflow.data.frames import Floats, Ints
from lamflow.data.opinions import Opinions
from lamflow.policy.findings import Table
from lamflow.science.cleaning.energies import MEMBERS, element_energies, robust_sigma
from lamflow.science.cleaning.trajectories import Slopes, slopes

PRESSURE_THAT_COUNTS = 1.0
"""GPa; a model's opinion of smaller ones says nothing of the sign of a set."""
SHIFT, WIDTHS = 0.1, 3.0
"""eV/atom, and standard errors: sources of one head whose energies lie further apart are of two methods."""
FORMULA_FRAMES, SPREAD = 3, 0.01
"""Frames of one composition, and the relative spread of their volumes, that tell the sign of a pressure."""
VOTES = 3


def stress_turned(table: Table, opinions: Sequence[Opinions]) -> dict[str, str]:
    """By source, what its stress's sign was decided by; the words begin with `turned` where it was the other one."""
    found = {}
    for number, name in enumerate(table.sources):
        frames = np.flatnonzero(table.source == number)
        if not np.isfinite(table.features.pressure[frames]).any():
            continue
        votes = [_by_trajectories(table, frames), _by_models(frames, opinions), _by_volumes(table, frames)]
        found[name] = next(filter(None, votes), "") or _undecided(table, frames)
    return found


def _undecided(table: Table, frames: Ints) -> str:
    slope = _slopes(table, frames)
    if slope.stress is None:
        return "nothing tells its sign: no trajectory, model or composition with several volumes"
    return (
        f"nothing tells its sign for certain: {slope.pairs} steps of trajectories say that it is to be multiplied by "
        f"{slope.stress:.3g} ± {slope.stress_error:.2g}"
    )


def _slopes(table: Table, frames: Ints) -> Slopes:
    features = table.features
    return slopes(features.change[frames], features.force_work[frames], features.stress_work[frames])


def _by_trajectories(table: Table, frames: Ints) -> str:
    slope = _slopes(table, frames)
    if slope.stress is None or slope.stress_error > 0.2 * abs(slope.stress):
        return ""
    if slope.problem("stress") == "sign":
        return (
            f"turned: along {slope.pairs} steps of trajectories the energy falls where this stress says that it rises"
        )
    return f"right: by {slope.pairs} steps of trajectories, slope {slope.stress:.3g}" if slope.stress > 0 else ""


def _by_models(frames: Ints, opinions: Sequence[Opinions]) -> str:
    for opinion in opinions:
        size = np.minimum(opinion.stress_label[frames], opinion.stress_model[frames])
        known = frames[size > PRESSURE_THAT_COUNTS]
        if len(known) < MEMBERS:
            continue
        slope = float(np.median(opinion.stress_slope[known]))
        if abs(slope + 1) < 0.3:
            return f"turned: of {len(known)} frames the stress is {slope:.3g} times that of a model"
        if abs(slope - 1) < 0.3:
            return f"right: of {len(known)} frames the stress is {slope:.3g} times that of a model"
    return ""


def _by_volumes(table: Table, frames: Ints) -> str:
    """The pressure of a composition falls with its volume: the majority of compositions decides."""
    votes = []
    formula, volume = table.features.formula[frames], table.features.volume[frames]
    pressure = table.features.pressure[frames]
    order = np.argsort(formula, kind="stable")
    for like in np.split(order, np.flatnonzero(np.diff(formula[order])) + 1):
        members = like[np.isfinite(pressure[like]) & np.isfinite(volume[like])]
        if len(members) < FORMULA_FRAMES or np.ptp(volume[members]) < SPREAD * volume[members].mean():
            continue
        votes.append(float(np.sign(np.polyfit(volume[members], pressure[members], 1)[0])))
    if len(votes) < VOTES:
        return ""
    rising = votes.count(1.0)
    if rising > 0.8 * len(votes):
        return f"turned: the pressure of {rising} of {len(votes)} compositions grows with their volume"
    falling = len(votes) - rising
    if falling <= 0.8 * len(votes):
        return ""
    return f"right: the pressure of {falling} of {len(votes)} compositions falls as their volume grows"


class Centre(NamedTuple):
    """Of energies beyond those of the elements, eV/atom: median, its standard error, and robust standard deviation."""

    median: float
    error: float
    scatter: float


def audits(table: Table, signs: Mapping[str, str], alike: Mapping[str, str]) -> list[SourceAudit]:
    """An audit of every source in every head, with what a person should know; `alike`: what is said of some heads."""
    rows = []
    for head in range(len(table.heads)):
        frames = np.flatnonzero(table.head == head)
        residual = element_energies(table.features.subset(frames)).residual
        sources = [int(number) for number in np.unique(table.source[frames])]
        centres = {number: _centre(residual[table.source[frames] == number]) for number in sources}
        rows += [_audit(table, number, head, signs, centres) for number in sources]
    return [row.model_copy(update={"notes": [*row.notes, *filter(None, [alike.get(row.head)])]}) for row in rows]


def _centre(values: Floats) -> Centre:
    scatter = robust_sigma(values)
    return Centre(float(np.median(values)), scatter / float(np.sqrt(len(values))) + 1e-3, scatter)


def _audit(
    table: Table, source: int, head: int, signs: Mapping[str, str], centres: Mapping[int, Centre]
) -> SourceAudit:
    frames = np.flatnonzero((table.head == head) & (table.source == source))
    name, slope, notes = table.sources[source], _slopes(table, frames), list[str]()
    for label in ("forces", "stress"):
        problem = slope.problem(label)
        if problem and not (label == "stress" and problem == "sign"):
            value = getattr(slope, label)
            notes.append(f"its {label} must be multiplied by {value:.4g} to fit its energies: another {problem}")
    own = centres[source]
    for other, centre in centres.items():
        if other != source and abs(own.median - centre.median) > max(SHIFT, WIDTHS * (own.error + centre.error)):
            notes.append(
                f"its energies lie {own.median - centre.median:+.3g} eV/atom from those of {table.sources[other]} in "
                "the same head: another functional, other pseudopotentials or another reference; give one a head"
            )
    decided = signs.get(name, "")
    if decided.startswith("turned"):
        notes.append(f"its stress had the other sign and was {decided}")
    return SourceAudit(
        source=name, head=table.heads[head], frames=len(frames), bias=own.median, scatter=own.scatter,
        pairs=slope.pairs, forces_slope=slope.forces, stress_slope=slope.stress, stress_decided=decided, notes=notes,
    )  # fmt: skip


def cards_of_heads(data: Features, head: Ints, heldout: Ints, methods: Mapping[str, str]) -> list[HeadCard]:
    """What each head has in the end.

    data           the frames that are written
    head, heldout  (C,) of each of them: the place of its head among `methods`, and 1 where it is held out
    """
    cards = []
    for number, (name, method) in enumerate(methods.items()):
        mine = np.flatnonzero(head == number)
        if not len(mine):
            cards.append(HeadCard(name=name, method=method))
            continue
        part = data.subset(mine)
        fitted = element_energies(part)
        present = np.flatnonzero(part.formulas[np.unique(part.formula)].sum(axis=0))
        held = heldout[mine] > 0
        cards.append(
            HeadCard(
                name=name, method=method, train=int((~held).sum()), heldout=int(held.sum()),
                elements=[chemical_symbols[z] for z in present], compositions=len(np.unique(part.formula)),
                rank=fitted.rank, scatter=fitted.scatter,
                element_energies={chemical_symbols[z]: float(fitted.energies[z]) for z in present},
            )
        )  # fmt: skip
    return cards
