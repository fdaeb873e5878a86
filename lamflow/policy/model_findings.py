"""What models speak against: labels that none of those that were asked agrees with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from lamflow.config.cleaning import Checks, Rule
from lamflow.data.features import Features
from lamflow.data.frames import Floats, Ints
from lamflow.data.opinions import Opinions
from lamflow.policy.findings import Finding, Mask, Table
from lamflow.science.cleaning.doubt import expected_errors, expected_of
from lamflow.science.cleaning.energies import (
    MEMBERS,
    beyond_elements,
    explained_by_unit,
    rare_elements,
    systematic_elements,
)
from lamflow.units import EV_PER_A3_IN_GPA

MODEL_SCATTER = 0.015
"""eV/atom; models differ from any method by as much."""
FORCES_THAT_COUNT = 0.08
"""eV/Å; a model's opinion of smaller ones says nothing of signs and order."""
ALIKE = 0.7
"""Of each other's size are forces that another order or sign made of the right ones."""
KNOWN = 0.8
"""Cosine between forces of labels and of a model, in the median, from which on the model knows the forces of a head."""
OPPOSITE = 0.58
"""Difference of forces with the sign turned, over the difference as they are, below which they point the other way."""
EXPECTED = 1.3
"""Expected errors of a model by which forces must differ at least."""
TIMES = 5.0
"""Labels that are so many times what a model says are in another unit."""
SHIFT, OFFSETS = 10.0, 30.0
"""eV an atom of an element, and times the head's median difference from the model: no pseudopotential does more."""
UNIT_SCATTER, UNIT_Z = 0.1, 10.0
"""eV/atom; what a model may be off on an energy that is read in another unit, and of which the energy as it is differs
by so many."""
STRESS_Z, LIKELIER = 3.0, 7.4
"""Expected errors by which a stress must differ, and by how much likelier it must be with its sign turned."""
STRESS_THAT_COUNTS, AGAINST = 1.0, -0.5
"""GPa that label and model must have both, and the cosine between them, for their directions to be telling alone."""


def of_models(table: Table, checks: Checks, opinions: Sequence[Opinions]) -> Iterator[Finding]:
    """Frames that every model that was asked disagrees with."""
    signs = np.where(table.turned, -1.0, 1.0)
    signed = [replace(opinion, stress_match=signs * opinion.stress_match) for opinion in opinions]
    by_rule: dict[Rule, list[tuple[Mask, Mask, Floats]]] = {}
    for opinion in signed:
        asked = np.isfinite(opinion.energy)
        residual, odd = _model_residual(table, opinion, asked, checks.model_z)
        by_rule.setdefault("model_energy", []).append((asked, odd, residual))
        errors, trusted = _expected(table, opinion, asked), asked & _knows_forces(table, opinion, asked)
        forces = _wrong_forces(opinion, errors[:, 1], checks)
        by_rule.setdefault("model_forces", []).append((trusted, forces & trusted, opinion.force_slope))
        stress = _wrong_stress(opinion, errors[:, 2])
        by_rule.setdefault("model_stress", []).append((asked, stress, opinion.stress_slope))
    words = {
        "model_energy": "its energy is {value} eV/atom from the models', with energies of elements fitted to the head",
        "model_forces": "its forces are not those of the models, times {value}",
        "model_stress": "its stress is not that of the models, times {value}",
    }
    for rule, several in by_rule.items():
        frames = _agreed([known for known, _, _ in several], [against for _, against, _ in several])
        if len(frames):
            values = np.nanmean([np.where(known, value, np.nan)[frames] for known, _, value in several], axis=0)
            yield Finding(rule, frames, [float(value) for value in values], words[rule])
    yield from _exchanges(opinions)


def _agreed(asked: Sequence[Mask], against: Sequence[Mask]) -> Ints:
    """Frames that each model that was asked speaks against, and one was."""
    bad = np.any(asked, axis=0) & np.all([~known | no for known, no in zip(asked, against, strict=True)], axis=0)
    return np.flatnonzero(bad)


def _exchanges(opinions: Sequence[Opinions]) -> Iterator[Finding]:
    """Frames whose labels fit what models say when two atoms exchange their elements."""
    if not opinions:
        return
    asked = [np.isfinite(opinion.energy) for opinion in opinions]
    frames = _agreed(asked, [np.isfinite(opinion.first_atom) for opinion in opinions])
    first, second = (np.stack([getattr(o, name)[frames] for o in opinions]) for name in ("first_atom", "second_atom"))
    agreed = np.nanmax(first, axis=0, initial=-1) == np.nanmin(first, axis=0, initial=np.inf)
    agreed &= np.nanmax(second, axis=0, initial=-1) == np.nanmin(second, axis=0, initial=np.inf)
    frames, first, second = frames[agreed], first[:, agreed], second[:, agreed]
    if len(frames):
        model = np.argmax(np.isfinite(first), axis=0)
        pairs = zip(first[model, np.arange(len(frames))], second[model, np.arange(len(frames))], strict=True)
        says = "its energy, forces and stress fit the models' when atoms {value} exchange their elements"
        yield Finding("swapped_elements", frames, [f"{one:.0f} and {other:.0f}" for one, other in pairs], says)


def _expected(table: Table, opinion: Opinions, asked: Mask) -> Floats:
    """(C, 3) see `expected_of`, for each head; NaN in those of which too few frames were asked about."""
    errors = np.full((len(table), 3), np.nan)
    for number in range(len(table.heads)):
        frames = np.flatnonzero(asked & (table.head == number))
        if len(frames) >= MEMBERS:
            errors[frames] = expected_of(table.features.subset(frames), opinion.subset(frames))
    return errors


def _knows_forces(table: Table, opinion: Opinions, asked: Mask) -> Mask:
    """(C,) frames of heads most of whose forces the model has right; of others its opinion of forces says nothing."""
    known = np.zeros(len(table), dtype=bool)
    for number in range(len(table.heads)):
        mine = table.head == number
        telling = mine & asked & (opinion.force_label > FORCES_THAT_COUNT)
        known |= mine & (not telling.any() or float(np.median(opinion.force_match[telling])) > KNOWN)
    return known


def _model_residual(table: Table, opinion: Opinions, asked: Mask, z: float) -> tuple[Floats, Mask]:
    """(C,) energy of the labels beyond the model's, energies of elements fitted by head, and where it is an outlier.

    Where most frames of an element are outliers in one direction, the element is: another pseudopotential, perhaps; of
    an element of very few frames nobody can tell, but for what `_is_no_shift` says. Less is expected of a model where
    it has forces or stress wrong, too.
    """
    residual, odd = np.full(len(table), np.nan), np.zeros(len(table), dtype=bool)
    for number in range(len(table.heads)):
        frames = np.flatnonzero(asked & (table.head == number))
        if len(frames) < MEMBERS:
            continue
        part = table.features.subset(frames)
        difference = part.energy - opinion.energy[frames]
        residual[frames], sigma = beyond_elements(part, difference)
        elements = systematic_elements(part, np.abs(residual[frames]) > z * max(sigma, MODEL_SCATTER), residual[frames])
        elements += rare_elements(part)
        sigmas = expected_errors(part, residual[frames], _doubts(part, opinion, frames))
        bad = np.abs(residual[frames]) > z * np.maximum(sigmas, MODEL_SCATTER)
        share = part.fractions[:, elements].sum(axis=1)[part.formula]
        odd[frames] = bad & ((share == 0) | _is_no_shift(part, difference, residual[frames], share))
    return residual, odd


def _is_no_shift(part: Features, difference: Floats, residual: Floats, share: Floats) -> Mask:
    """(C,) energies that no other pseudopotential of a `share` of their atoms makes.

    It moves energies by up to 5.8 eV an atom of the element (Yb of MPtrj), and none of 950 frames of MPtrj and
    Alexandria, each taken for the only one of an element, fits a model by another unit or sign. Where energies of a
    head are counted from elsewhere than the model's, shifts may be as large as that `difference`, and units say
    nothing.
    """
    offset = float(np.median(np.abs(difference)))
    written = explained_by_unit(part.energy, part.energy - residual, UNIT_SCATTER, UNIT_Z) != ""
    alike = offset < 3 * UNIT_SCATTER
    return np.asarray((np.abs(residual) > max(SHIFT, OFFSETS * offset) * share) | (written & alike))


def _doubts(part: Features, opinion: Opinions, frames: Ints) -> Floats:
    """(C, 2) difference of the forces, eV/Å, and of the stress times the volume, eV/atom; 0 where there is none."""
    stress = opinion.stress_error[frames] / EV_PER_A3_IN_GPA * part.volume
    return np.nan_to_num(np.stack([opinion.force_error[frames], stress], axis=1))


def _wrong_forces(opinion: Opinions, error: Floats, checks: Checks) -> Mask:
    """Forces whose order, sign or unit is another one; error (C,) is expected of the model, NaN where nobody knows.

    Another order and sign keep their size, so forces of about the model's size that point elsewhere are wrong, and
    those that fit with their sign turned; forces many times the model's have another unit.
    """
    label, model, match = opinion.force_label, opinion.force_model, opinion.force_match
    alike = (label > ALIKE * model) & (label * ALIKE < model)
    expected = opinion.force_error < EXPECTED * error
    elsewhere = (match < checks.model_match) & (label > FORCES_THAT_COUNT) & alike & ~expected
    opposite = replace(opinion, force_match=-match).force_error < OPPOSITE * opinion.force_error
    opposite &= np.minimum(label, model) > FORCES_THAT_COUNT / 2
    return np.asarray(elsewhere | opposite | (label > TIMES * np.maximum(model, 2 * FORCES_THAT_COUNT)))


def _wrong_stress(opinion: Opinions, error: Floats) -> Mask:
    """Stresses that point the other way, or differ by more than the expected `error` (C,) and fit with the sign turned.

    Errors of a model have the tails of Cauchy's distribution, so the likelihoods are to each other as 1/(1 + z²).
    """
    label, model, match = opinion.stress_label, opinion.stress_model, opinion.stress_match
    as_is, turned = opinion.stress_error, replace(opinion, stress_match=-match).stress_error
    opposite = (np.minimum(label, model) > STRESS_THAT_COUNTS) & (match < AGAINST)
    likelier = error**2 + as_is**2 > LIKELIER * (error**2 + turned**2)
    return np.asarray(opposite | ((as_is > STRESS_Z * error) & likelier))
