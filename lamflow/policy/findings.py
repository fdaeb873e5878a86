"""What speaks against labeled frames: rules on arrays, each with its words. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamflow.config.cleaning import Checks, Rule
from lamflow.data.features import Features
from lamflow.data.frames import Floats, Ints
from lamflow.data.opinions import Opinions
from lamflow.science.cleaning.doubt import expected_errors
from lamflow.science.cleaning.energies import (
    LEAST_SCATTER,
    MEMBERS,
    beyond_elements,
    expected_energies,
    explained_by_unit,
    robust_sigma,
    systematic_elements,
)
from lamflow.science.cleaning.mixtures import mixture
from lamflow.science.cleaning.trajectories import unexplained
from lamflow.units import EV_PER_A3_IN_GPA

MODEL_SCATTER = 0.015
"""eV/atom; models differ from any method by as much."""
FORCES_THAT_COUNT, PRESSURE_THAT_COUNTS = 0.08, 1.0
"""eV/Å and GPa; a model's opinion of smaller ones says nothing of signs and units."""
ALIKE = 0.7
"""Of each other's size are forces that another order or sign made of the right ones."""
KNOWN = 0.8
"""Cosine between forces of labels and of a model, in the median, from which on the model knows the forces of a head."""
OPPOSITE = -0.5
"""Cosine between labels and a model below which they point the other way."""
TIMES = 5.0
"""Labels that are so many times what a model says are in another unit."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Table:
    """C frames of all sources.

    source, head, trajectory  (C,) numbers of what each belongs to; `sources` and `heads` have the names
    turned                    (C,) sources whose stress has the other sign
    """

    features: Features
    source: Ints
    head: Ints
    trajectory: Ints
    sources: Sequence[str]
    heads: Sequence[str]
    turned: Mask

    def __len__(self) -> int:
        return len(self.features)

    @property
    def explained(self) -> Floats:
        """(C,) energy change from the frame before that forces and stress explain, eV/atom."""
        sign = np.where(self.turned, -1.0, 1.0)
        return np.asarray(self.features.force_work + sign * self.features.stress_work)


@dataclass(frozen=True, eq=False)
class Finding:
    """Frames that a rule has found. says: with `{value}`, what is said of each, whose numbers are in `values`"""

    rule: Rule
    frames: Ints
    values: Sequence[float | str]
    says: str

    def words(self, index: int) -> str:
        """What is said of one of the frames."""
        value = self.values[index]
        return self.says.format(value=value if isinstance(value, str) else f"{value:.4g}")


def of_single_frames(table: Table, checks: Checks, elements: Ints | None) -> Iterator[Finding]:
    """Rules that look at a frame alone. elements: atomic numbers that there may be; None for all"""
    features = table.features
    limits: list[tuple[Rule, Mask, Floats, str]] = [
        ("force_sum", features.force_sum > checks.force_sum, features.force_sum,
         f"its forces add up to {{value}} eV/Å; more than {checks.force_sum:g} eV/Å are an error of keys or order"),
        ("force_symmetry", features.force_forbidden > checks.force_symmetry, features.force_forbidden,
         "the symmetry of its structure forbids {value} eV/Å of its forces: another order, or moments that break it"),
        ("distance", features.distance < checks.distance, features.distance,
         f"two atoms are at {{value}} of the sum of their covalent radii; {checks.distance:g} at least"),
        ("volume", (features.volume < checks.volume[0]) | (features.volume > checks.volume[1]), features.volume,
         f"it has {{value}} Å³/atom; {checks.volume[0]:g} to {checks.volume[1]:g} are allowed"),
        ("force_outlier", features.force_max > checks.max_force, features.force_max,
         f"a force of {{value}} eV/Å; {checks.max_force:g} at most"),
    ]  # fmt: skip
    for rule, found, values, says in limits:
        frames = np.flatnonzero(found)
        if len(frames):
            yield Finding(rule, frames, [float(value) for value in values[frames]], says)
    if elements is not None:
        others = np.setdiff1d(np.arange(features.formulas.shape[1]), elements)
        foreign = features.formulas[:, others].sum(axis=1)[features.formula] > 0
        frames = np.flatnonzero(foreign)
        if len(frames):
            yield Finding("foreign_elements", frames, [0.0] * len(frames), "it has elements that the type map lacks")


def of_energies(table: Table, checks: Checks, seed: int) -> Iterator[Finding]:
    """Energies that are far from what other frames of the head say, and those that another unit or sign explains."""
    for number in range(len(table.heads)):
        frames = np.flatnonzero(table.head == number)
        if len(frames) < MEMBERS:
            continue
        part = table.features.subset(frames)
        mixed = mixture(part)
        if mixed is not None:
            other = np.flatnonzero(mixed.other)
            says = (
                f"its energy times {{value}} fits those of most frames, as if one were in {mixed.unit}; so read, all "
                f"scatter by {100 * mixed.after:.2g} % of their size instead of {100 * mixed.before:.2g} %"
            )
            yield Finding("energy_unit", frames[other], [mixed.factor] * len(other), says)
            frames = frames[~mixed.other]
            part = table.features.subset(frames)
        expected = expected_energies(part, seed)
        if np.isnan(expected).all():
            continue
        residual = part.energy - expected
        sigma = max(robust_sigma(residual), LEAST_SCATTER)
        odd = np.abs(residual) > checks.energy_z * sigma
        reading = explained_by_unit(part.energy, expected, sigma, checks.energy_z)
        wrong = np.flatnonzero(reading != "")
        if len(wrong):
            says = (
                f"its energy is over {checks.energy_z * sigma:.3g} eV/atom from that of like frames, and fits {{value}}"
            )
            yield Finding("energy_unit", frames[wrong], [str(word) for word in reading[wrong]], says)
        if odd.any():
            says = f"its energy is {{value}} eV/atom from what like frames say, whose scatter is {sigma:.3g} eV/atom"
            yield Finding("energy_outlier", frames[odd], [float(value) for value in residual[odd]], says)


def of_trajectories(table: Table, checks: Checks) -> Iterator[Finding]:
    """Frames whose energy does not follow their forces and stress."""
    made = table.features
    share = unexplained(made.change, table.explained, made.work_size, table.trajectory, checks.trajectory)
    frames = np.flatnonzero(np.isfinite(share))
    if len(frames):
        values = [f"{100 * value:.0f} %" for value in share[frames]]
        says = "forces and stress leave {value} of its energy change along the trajectory unexplained"
        yield Finding("trajectory", frames, values, says)


def of_models(table: Table, checks: Checks, opinions: Sequence[Opinions]) -> Iterator[Finding]:
    """Frames that every model that was asked disagrees with."""
    by_rule: dict[Rule, list[tuple[Mask, Mask, Floats]]] = {}
    for opinion in opinions:
        asked = np.isfinite(opinion.energy)
        residual, odd = _model_residual(table, opinion, asked, checks.model_z)
        by_rule.setdefault("model_energy", []).append((asked, odd, residual))
        forces = _against(opinion.force_label, opinion.force_model, opinion.force_match, checks)
        trusted = asked & _knows_forces(table, opinion, asked)
        by_rule.setdefault("model_forces", []).append((trusted, forces & trusted, opinion.force_slope))
        sign = np.where(table.turned, -1.0, 1.0)
        stress = (np.minimum(opinion.stress_label, opinion.stress_model) > PRESSURE_THAT_COUNTS) & (
            sign * opinion.stress_match < OPPOSITE
        )
        by_rule.setdefault("model_stress", []).append((asked, stress, sign * opinion.stress_slope))
    words = {
        "model_energy": "its energy is {value} eV/atom from the models', with energies of elements fitted to the head",
        "model_forces": "its forces are not those of the models, times {value}",
        "model_stress": "its stress is not that of the models, times {value}",
    }
    for rule, several in by_rule.items():
        asked = np.any([known for known, _, _ in several], axis=0)
        bad = asked & np.all([~known | against for known, against, _ in several], axis=0)
        frames = np.flatnonzero(bad)
        if len(frames):
            values = np.nanmean([np.where(known, value, np.nan)[frames] for known, _, value in several], axis=0)
            yield Finding(rule, frames, [float(value) for value in values], words[rule])


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

    Where most frames of an element are outliers in one direction, the element is: another pseudopotential, perhaps.
    Less is expected of a model where it has forces or stress wrong, too.
    """
    residual, odd = np.full(len(table), np.nan), np.zeros(len(table), dtype=bool)
    for number in range(len(table.heads)):
        frames = np.flatnonzero(asked & (table.head == number))
        if len(frames) < MEMBERS:
            continue
        part = table.features.subset(frames)
        residual[frames], sigma = beyond_elements(part, part.energy - opinion.energy[frames])
        elements = systematic_elements(part, np.abs(residual[frames]) > z * max(sigma, MODEL_SCATTER), residual[frames])
        sigmas = expected_errors(part, residual[frames], _doubts(part, opinion, frames))
        bad = np.abs(residual[frames]) > z * np.maximum(sigmas, MODEL_SCATTER)
        odd[frames] = bad & ~(part.formulas[:, elements].sum(axis=1)[part.formula] > 0)
    return residual, odd


def _doubts(part: Features, opinion: Opinions, frames: Ints) -> Floats:
    """(C, 2) difference of the forces, eV/Å, and of the stress times the volume, eV/atom; 0 where there is none."""
    stress = opinion.stress_error[frames] / EV_PER_A3_IN_GPA * part.volume
    return np.nan_to_num(np.stack([opinion.force_error[frames], stress], axis=1))


def _against(label: Floats, model: Floats, match: Floats, checks: Checks) -> Mask:
    """Forces whose order, sign or unit is another one.

    Another order and sign keep their size, so forces of about the model's size that point elsewhere are wrong, and
    those that point the other way; forces many times the model's have another unit.
    """
    alike = (label > ALIKE * model) & (label * ALIKE < model)
    elsewhere = (match < checks.model_match) & (label > FORCES_THAT_COUNT) & alike
    opposite = (match < OPPOSITE) & (np.minimum(label, model) > FORCES_THAT_COUNT / 2)
    return np.asarray(elsewhere | opposite | (label > TIMES * np.maximum(model, 2 * FORCES_THAT_COUNT)))
