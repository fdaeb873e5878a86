"""Which models of a committee may go on: bad ones, the architecture that is chosen, heads that are forgotten."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lamflow.config.learning import Config
from lamflow.data.results import Errors, Iteration, ModelResult, first_baseline, mean_force_rmse

OUTLIER = 5.0
"""A model whose error is so many times the median is not of the same kind as the others."""
ABSURD = 10.0
"""A model whose error is so many times the size of the forces has learned nothing, whatever it is for."""
LEAST_FORCE_SIZE = 0.05
"""eV/Å; held-out data with smaller forces than this cannot tell whether a model predicts forces at all."""


def chosen_variant(results: Sequence[ModelResult], tolerance: float) -> str:
    """The fastest architecture whose held-out force RMSE is at most `tolerance` times the best one's.

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
    allowed = [name for name, (error, _) in means.items() if error <= tolerance * best]
    return max(allowed, key=lambda name: means[name][1])


def bad_models(results: Sequence[ModelResult]) -> list[str]:
    """Why each model that must not explore must not, one line a model; empty when all are good.

    A model is bad when its training failed or its errors are not finite, when it is no better than predicting no
    force at all, or when its held-out force error is more than OUTLIER times the median of those of its architecture.
    """
    problems = []
    for result in results:
        alike = [other for other in results if other.variant == result.variant and not other.failed]
        errors = [other.errors.force_rmse for other in alike if other.errors and other.errors.are_finite]
        problem = _problem(result, float(np.median(errors)) if errors else np.nan)
        if problem:
            problems.append(f"model {result.index + 1} of {len(results)}: {problem}")
    return problems


def without_absurd(results: Sequence[ModelResult]) -> list[ModelResult]:
    """The results with models whose errors are absurd as failed ones, by whose errors nothing is chosen.

    A model that is merely poor may be what a short training was to give; see `bad_models` for what may not explore.
    """
    marked = []
    for result in results:
        problem = _absurdity(result.errors) if result.errors and not result.failed else None
        update: dict[str, object] = {"failed": problem, "errors": None, "heads": {}} if problem else {}
        marked.append(result.model_copy(update=update))
    return marked


def _absurdity(errors: Errors) -> str | None:
    """Why a model with these errors has not learned anything, or None."""
    if not errors.are_finite:
        return "its errors on the held-out data are not finite"
    if errors.force_rmse > ABSURD * max(errors.force_size, LEAST_FORCE_SIZE):
        return f"its held-out force RMSE is {errors.force_rmse:.3g} eV/Å where forces are {errors.force_size:.3g} eV/Å"
    return None


def _problem(result: ModelResult, median: float) -> str | None:
    """Why a model is bad, or None. median: of the held-out force RMSE of its architecture, eV/Å."""
    if result.failed:
        return f"its training failed: {result.failed}"
    if result.errors is None:
        return "it was not judged on the held-out data"
    absurdity = _absurdity(result.errors)
    if absurdity:
        return absurdity
    rmse, size = result.errors.force_rmse, result.errors.force_size
    if rmse > max(size, LEAST_FORCE_SIZE):
        return (
            f"its held-out force RMSE is {rmse:.3g} eV/Å, more than the {size:.3g} eV/Å of predicting no force at all; "
            "train longer"
        )
    if rmse > OUTLIER * median:
        return f"its held-out force RMSE is {rmse:.3g} eV/Å, {rmse / median:.1f} times the committee's median"
    return None


def forgotten_head(study: Config, past: Sequence[Iteration], results: Sequence[ModelResult]) -> str | None:
    """Which head of the pre-trained model is forgotten more than `budget.forgetting` allows, in words, or None."""
    limit = study.budget.forgetting
    baseline = first_baseline(past) or next((result.baseline for result in results if result.baseline), {})
    for head in study.heads:
        rmse = mean_force_rmse(results, head=head.name)
        if limit is None or rmse is None or head.pretrained_head is not None or head.name not in baseline:
            continue
        before = baseline[head.name].force_rmse
        if rmse > limit * before:
            return (
                f"the models forget {head.name}: its held-out force RMSE was {before:.4f} eV/Å before fine-tuning and "
                f"is {rmse:.4f} eV/Å now, more than {limit:g} times (budget.forgetting); give this head more weight or "
                "data"
            )
    return None
