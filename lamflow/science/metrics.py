"""Errors of predictions against labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lamflow.data import Frame, Labels
from lamflow.data.frames import Floats
from lamflow.data.results import Errors


def errors(predicted: Sequence[Labels], reference: Sequence[Labels]) -> Errors:
    """Errors over all frames: components of forces in eV/Å and of magnetic forces in eV/μB, energies and virial
    components in eV/atom.

    Raises ValueError when there is no frame.
    """
    if not reference:
        raise ValueError("there is no frame to judge on")
    pairs = list(zip(predicted, reference, strict=True))
    force = np.concatenate([(p.forces - r.forces).ravel() for p, r in pairs])
    size = np.concatenate([r.forces.ravel() for r in reference])
    energy = np.array([(p.energy - r.energy) / len(r.forces) for p, r in pairs])
    virial = [
        ((p.virial - r.virial) / len(r.forces)).ravel()
        for p, r in pairs
        if p.virial is not None and r.virial is not None
    ]
    magnetic = magnetic_points(predicted, reference)
    return Errors(
        force_rmse=float(np.sqrt(np.mean(force**2))),
        force_mae=float(np.abs(force).mean()),
        force_size=float(np.sqrt(np.mean(size**2))),
        energy_rmse=float(np.sqrt(np.mean(energy**2))),
        virial_rmse=float(np.sqrt(np.mean(np.concatenate(virial) ** 2))) if virial else None,
        magnetic_force_rmse=_root_mean_square(magnetic[:, 0] - magnetic[:, 1]) if len(magnetic) else None,
        magnetic_force_size=_root_mean_square(magnetic[:, 1]) if len(magnetic) else None,
        frames=len(reference),
    )


def _root_mean_square(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def magnetic_points(predicted: Sequence[Labels], reference: Sequence[Labels]) -> Floats:
    """Predicted and reference components (K, 2) of magnetic forces in eV/μB, of atoms on which any is not zero."""
    found = [np.zeros((0, 2))]
    for one, other in zip(predicted, reference, strict=True):
        if one.force_mag is not None and other.force_mag is not None:
            atoms = (one.force_mag != 0).any(axis=1) | (other.force_mag != 0).any(axis=1)
            found.append(np.stack([one.force_mag[atoms].ravel(), other.force_mag[atoms].ravel()], axis=1))
    return np.concatenate(found)


def parity_points(predicted: Sequence[Labels], reference: Sequence[Labels]) -> tuple[Floats, Floats]:
    """Predicted and reference energies (F, 2) in eV/atom and force components (K, 2) in eV/Å, of one frame at least."""
    pairs = list(zip(predicted, reference, strict=True))
    energies = np.array([[p.energy / len(p.forces), r.energy / len(r.forces)] for p, r in pairs])
    return energies, np.concatenate([np.stack([p.forces.ravel(), r.forces.ravel()], axis=1) for p, r in pairs])


def virial_points(predicted: Sequence[Labels], reference: Sequence[Labels]) -> Floats:
    """Predicted and reference virials (F, 2, 3, 3) in eV; NaN where there is none."""
    unknown = np.full((3, 3), np.nan)
    pairs = [(p.virial, r.virial) for p, r in zip(predicted, reference, strict=True)]
    return np.array([[unknown if virial is None else virial for virial in pair] for pair in pairs]).reshape(-1, 2, 3, 3)


def _counts(frames: Sequence[Frame], elements: Sequence[str]) -> Floats:
    """Atoms of each element in each frame (F, E)."""
    symbols = [frame.symbols for frame in frames]
    counts = [[atoms.count(element) for element in elements] for atoms in symbols]
    return np.array(counts, dtype=np.float64).reshape(-1, len(elements))


def energy_shift(
    predicted: Sequence[Labels], reference: Sequence[Labels], frames: Sequence[Frame], elements: Sequence[str]
) -> dict[str, float]:
    """The energy of an atom of each element, in eV, that must be added to fit `predicted` to `reference`.

    Least squares of the smallest length: what the data cannot tell apart is shared evenly, and an element that does
    not occur is not shifted. It is what changing the bias of a model does.
    """
    counts = _counts(frames, elements)
    missing = np.array([r.energy - p.energy for p, r in zip(predicted, reference, strict=True)])
    shift, *_ = np.linalg.lstsq(counts, missing, rcond=1e-8)
    return dict(zip(elements, map(float, shift), strict=True))


def leave_one_out(
    predicted: Sequence[Labels], reference: Sequence[Labels], frames: Sequence[Frame], elements: Sequence[str]
) -> Floats:
    """What must be added to the energy of each frame (F,), in eV, as the other frames tell it.

    As `energy_shift` of all frames but one, for each of them, by the hat matrix of the fit: rᵢ / (1 - hᵢᵢ) is the
    residual without frame i (R. D. Cook and S. Weisberg, Residuals and Influence in Regression, 1982, section 2.2).
    NaN where no other frames tell it.
    """
    counts = _counts(frames, elements)
    missing = np.array([r.energy - p.energy for p, r in zip(predicted, reference, strict=True)])
    basis, sizes, _ = np.linalg.svd(counts, full_matrices=False)
    basis = basis[:, sizes > 1e-8 * sizes.max(initial=0.0)]
    left, leverage = missing - basis @ (basis.T @ missing), (basis**2).sum(axis=1)
    without = np.where(leverage < 1 - 1e-6, left / np.maximum(1 - leverage, 1e-6), np.nan)
    return np.asarray(missing - without)


def is_told(frames: Sequence[Frame], fitted_to: Sequence[Frame], elements: Sequence[str]) -> NDArray[np.bool_]:
    """Whether the frames that a shift is fitted to tell that of each frame (F,), by their compositions.

    Of a compound alone, they tell that of the compound and of no other composition.
    """
    counts = _counts(frames, elements)
    _, sizes, rows = np.linalg.svd(_counts(fitted_to, elements), full_matrices=False)
    rows = rows[sizes > 1e-8 * sizes.max(initial=0.0)]
    beyond = counts - counts @ rows.T @ rows
    return np.asarray(np.linalg.norm(beyond, axis=1) < 1e-6 * np.maximum(np.linalg.norm(counts, axis=1), 1))


def shifted(labels: Labels, frame: Frame, shift: Mapping[str, float]) -> Labels:
    """`labels` of `frame` with an energy added for each atom."""
    return replace(labels, energy=labels.energy + sum(shift.get(symbol, 0.0) for symbol in frame.symbols))
