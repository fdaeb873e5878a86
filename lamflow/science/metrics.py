"""Errors of predictions against labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lamflow.data import Frame, Labels
from lamflow.data.frames import Floats
from lamflow.data.results import Errors, ModelResult

OUTLIER = 5.0
"""A model whose error is so many times the median is not of the same kind as the others."""
AT_REST = 0.05
"""eV/Å; held-out data with smaller forces than this cannot tell whether a model predicts forces at all."""


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
    counts = np.array([[own.count(element) for element in elements] for own in symbols], dtype=np.float64)
    missing = np.array([r.energy - p.energy for p, r in zip(predicted, reference, strict=True)])
    found, *_ = np.linalg.lstsq(counts, missing, rcond=1e-8)
    return dict(zip(elements, map(float, found), strict=True))


def shifted(labels: Labels, frame: Frame, shift: Mapping[str, float]) -> Labels:
    """`labels` of `frame` with an energy added for each atom."""
    return Labels(labels.energy + sum(shift.get(symbol, 0.0) for symbol in frame.symbols), labels.forces, labels.virial)


def chosen_variant(results: Sequence[ModelResult], within: float) -> str:
    """The fastest architecture whose held-out force RMSE is at most `within` times the best one's.

    Models of one architecture count by their means. Empty where only one was tried or nothing was measured.
    """
    measured: dict[str, list[tuple[float, float]]] = {}
    for result in results:
        if result.variant and result.errors and result.speed and not result.failed:
            measured.setdefault(result.variant, []).append((result.errors.force_rmse, result.speed))
    means = {name: np.mean(values, axis=0) for name, values in measured.items()}
    if not means:
        return ""
    best = min(error for error, _ in means.values())
    return max((name for name, (error, _) in means.items() if error <= within * best), key=lambda name: means[name][1])


def bad_models(results: Sequence[ModelResult]) -> list[str]:
    """Why each model that must not explore must not, one line a model; empty when all are good.

    A model is bad when its training failed or its errors are not finite, when it is no better than predicting no
    force at all, or when its held-out force error is more than OUTLIER times the median of those of its architecture.
    """
    reasons = []
    for result in results:
        alike = [other for other in results if other.variant == result.variant]
        judged = [other.errors.force_rmse for other in alike if other.errors and not other.failed]
        median = float(np.median(judged)) if judged else np.nan
        name = f"model {result.index + 1} of {len(results)}"
        if result.failed:
            reasons.append(f"{name}: its training failed: {result.failed}")
        elif result.errors is None:
            reasons.append(f"{name}: it was not judged on the held-out data")
        elif result.errors.force_rmse > max(result.errors.force_size, AT_REST):
            reasons.append(
                f"{name}: its held-out force RMSE is {result.errors.force_rmse:.3g} eV/Å, more than the "
                f"{result.errors.force_size:.3g} eV/Å of predicting no force at all; train longer"
            )
        elif result.errors.force_rmse > OUTLIER * median:
            reasons.append(
                f"{name}: its held-out force RMSE is {result.errors.force_rmse:.3g} eV/Å, "
                f"{result.errors.force_rmse / median:.1f} times the committee's median"
            )
    return reasons
