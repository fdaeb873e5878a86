"""What speaks against labeled frames: rules on arrays, each with its words. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamflow.config.cleaning import Checks, Rule
from lamflow.data.features import Features
from lamflow.data.frames import Floats, Ints
from lamflow.science.cleaning.energies import (
    LEAST_SCATTER,
    MEMBERS,
    expected_energies,
    explained_by_unit,
    is_strained,
    robust_sigma,
)
from lamflow.science.cleaning.mixtures import mixture
from lamflow.science.cleaning.trajectories import tolerances, unexplained

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
        wrong = np.flatnonzero((reading != "") & ~is_strained(part, residual))
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
    made, explained = table.features, table.explained
    allowed = tolerances(made.change, explained, made.work_size, table.trajectory, table.source, checks.trajectory)
    share = unexplained(made.change, explained, made.work_size, table.trajectory, allowed)
    frames = np.flatnonzero(np.isfinite(share))
    if len(frames):
        values = [f"{100 * value:.0f} %" for value in share[frames]]
        says = "forces and stress leave {value} of the energy change from the frames beside it unexplained"
        yield Finding("trajectory", frames, values, says)
