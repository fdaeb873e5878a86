"""Where a run has left the magnetic moments that its models were trained on."""

from __future__ import annotations

from collections.abc import Sequence

from lamflow.data.results import Iteration

MOMENT_COLUMNS = (
    "iteration", "trained on", "longest (μB)", "held-out frames beyond", "explored frames beyond", "labeled beyond",
)  # fmt: skip


def moment_rows(iterations: Sequence[Iteration]) -> list[tuple[str, ...]]:
    """A row for each iteration whose models see moments: what they were trained on, and how many frames of each kind
    have others."""
    rows: list[tuple[str, ...]] = []
    for iteration in iterations:
        trained = iteration.models[0].moments if iteration.models else None
        if trained is None:
            continue
        chosen = iteration.selected.chosen if iteration.selected is not None else []
        beyond = sum(result.beyond for result in iteration.simulations)
        rows.append((
            str(iteration.number), "collinear moments" if trained.collinear else "noncollinear moments",
            f"{trained.longest:.2f}", str(trained.heldout), str(beyond) if iteration.simulations else "",
            str(sum(item.beyond for item in chosen)) if iteration.simulations else "",
        ))  # fmt: skip
    return rows
