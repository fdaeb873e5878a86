"""Which models of a committee may go on: bad ones, the architecture that is chosen, heads that are forgotten."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lamflow.config.learning import Config
from lamflow.data.results import Iteration, ModelResult, first_baseline, mean_force_rmse

OUTLIER = 5.0
"""A model whose error is so many times the median is not of the same kind as the others."""
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
    problems = [(result.index, _problem(result, results)) for result in results]
    return [f"model {index + 1} of {len(results)}: {problem}" for index, problem in problems if problem]


def without_bad(results: Sequence[ModelResult]) -> list[ModelResult]:
    """The results with bad models as failed ones, by whose errors nothing is chosen."""
    marked = []
    for result in results:
        problem = None if result.failed else _problem(result, results)
        update: dict[str, object] = {"failed": problem, "errors": None, "heads": {}} if problem else {}
        marked.append(result.model_copy(update=update))
    return marked


def _problem(result: ModelResult, results: Sequence[ModelResult]) -> str | None:
    """Why a model among `results` is bad, or None."""
    alike = [other for other in results if other.variant == result.variant and not other.failed]
    errors = [other.errors.force_rmse for other in alike if other.errors and other.errors.are_finite]
    return _error_problem(result, float(np.median(errors)) if errors else np.nan)


def _error_problem(result: ModelResult, median: float) -> str | None:
    """Why a model is bad, or None. median: of the held-out force RMSE of its architecture, eV/Å."""
    if result.failed:
        return f"its training failed: {result.failed}"
    if result.errors is None:
        return "it was not judged on the held-out data"
    if not result.errors.are_finite:
        return "its errors on the held-out data are not finite"
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
