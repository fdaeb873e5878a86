"""Errors of predictions against labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lamflow.data import Frame, Labels
from lamflow.data.frames import Floats
from lamflow.data.results import Errors


def errors(predicted: Sequence[Labels], reference: Sequence[Labels]) -> Errors:
    """Errors over all frames: force components in eV/Å, energies and virial components in eV/atom.

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
    return Errors(
        force_rmse=float(np.sqrt(np.mean(force**2))),
        force_mae=float(np.abs(force).mean()),
        force_size=float(np.sqrt(np.mean(size**2))),
        energy_rmse=float(np.sqrt(np.mean(energy**2))),
        virial_rmse=float(np.sqrt(np.mean(np.concatenate(virial) ** 2))) if virial else None,
        frames=len(reference),
    )


def parity_points(predicted: Sequence[Labels], reference: Sequence[Labels]) -> tuple[Floats, Floats]:
    """Predicted and reference energies (F, 2) in eV/atom and force components (K, 2) in eV/Å, of one frame at least."""
    pairs = list(zip(predicted, reference, strict=True))
    energies = np.array([[p.energy / len(p.forces), r.energy / len(r.forces)] for p, r in pairs])
    return energies, np.concatenate([np.stack([p.forces.ravel(), r.forces.ravel()], axis=1) for p, r in pairs])


def energy_shift(
    predicted: Sequence[Labels], reference: Sequence[Labels], frames: Sequence[Frame], elements: Sequence[str]
) -> dict[str, float]:
    """The energy of an atom of each element, in eV, that must be added to fit `predicted` to `reference`.

    Least squares of the smallest length: what the data cannot tell apart is shared evenly, and an element that does
    not occur is not shifted. It is what changing the bias of a model does.
    """
    symbols = [frame.symbols for frame in frames]
    counts = np.array([[atoms.count(element) for element in elements] for atoms in symbols], dtype=np.float64)
    missing = np.array([r.energy - p.energy for p, r in zip(predicted, reference, strict=True)])
    shift, *_ = np.linalg.lstsq(counts, missing, rcond=1e-8)
    return dict(zip(elements, map(float, shift), strict=True))


def shifted(labels: Labels, frame: Frame, shift: Mapping[str, float]) -> Labels:
    """`labels` of `frame` with an energy added for each atom."""
    return replace(labels, energy=labels.energy + sum(shift.get(symbol, 0.0) for symbol in frame.symbols))
