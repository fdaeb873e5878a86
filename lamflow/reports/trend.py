"""Properties over the iterations of a run of learning: what the models said, and where they have become worse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamflow.data.comparisons import Comparison
from lamflow.data.results import Iteration
from lamflow.reports.axes import PALETTE, subplots

COLUMNS = (
    "structure", "property", "value of", "model", "first", "before", "now", "unit", "reference", "error now (%)", "",
)  # fmt: skip
TEXT_COLUMNS = (0, 1, 2, 3, 7, 10)
WORSE, NOISE = 1.5, 0.005
"""A value has become worse when its error is so many times the smallest before, and by so much of the reference."""
MOST_LINES = 12
"""Lines of the figure; those whose error is largest now."""

Series = list[tuple[int, Comparison]]
"""One value by iteration, oldest first."""


def series(iterations: Sequence[Iteration]) -> dict[tuple[str, ...], Series]:
    """Every value that an iteration has said, by structure, property, name, place and model."""
    found: dict[tuple[str, ...], Series] = {}
    for iteration in iterations:
        for item in iteration.tracked.comparisons if iteration.tracked is not None else ():
            key = item.structure, item.property, item.name, item.where, item.potential
            found.setdefault(key, []).append((iteration.number, item))
    return found


def remark(values: Series, last: int) -> str:
    """That a value has become worse or is gone in iteration `last`, in words; empty where all is well."""
    number, now = values[-1]
    if number < last:
        return f"no value since iteration {number}"
    before = [(abs(item.error), n) for n, item in values[:-1] if item.error is not None]
    if not before or now.error is None or now.reference is None:
        return ""
    least, best = min(before)
    if abs(now.error) <= WORSE * least or abs(now.error) - least <= NOISE * abs(now.reference):
        return ""
    return f"worse: it was {least:.4g} {now.unit} off in iteration {best}, and is {abs(now.error):.4g} now"


def rows(iterations: Sequence[Iteration]) -> list[list[str]]:
    """The cells of every value, in the order of COLUMNS; those that have become worse first."""
    tracked = [iteration for iteration in iterations if iteration.tracked is not None]
    made = []
    for (structure, name, value, where, model), values in series(iterations).items():
        now = values[-1][1]
        error = "" if now.relative_error is None else f"{100 * now.relative_error:+.2f}"
        reference = "" if now.reference is None else f"{now.reference:.6g}"
        shown = [f"{item.value:.6g}" for item in (values[0][1], values[max(len(values) - 2, 0)][1], now)]
        cells = [structure, name, f"{value} {where}".strip(), model, *shown]
        made.append([*cells, "" if now.unit == "1" else now.unit, reference, error, remark(values, tracked[-1].number)])
    return sorted(made, key=lambda cells: not cells[-1])


def figure(iterations: Sequence[Iteration]) -> Any:
    """Absolute relative error of the values against their references by iteration; None without any."""
    errors = {
        key: [(number, 100 * abs(item.relative_error)) for number, item in values if item.relative_error is not None]
        for key, values in series(iterations).items()
    }
    worst = sorted((key for key in errors if errors[key]), key=lambda key: -errors[key][-1][1])[:MOST_LINES]
    if not worst:
        return None
    drawn, axes = subplots(1, width=8.4, height=3.4)
    axis = axes[0, 0]
    for place, key in enumerate(worst):
        numbers, values = zip(*errors[key], strict=True)
        label = " ".join(filter(None, key[:4]))
        axis.plot(numbers, [max(value, 1e-3) for value in values], marker="o", color=PALETTE[place % len(PALETTE)],
                  linestyle=("-", "--")[place // len(PALETTE) % 2], markersize=4, linewidth=1, label=label)  # fmt: skip
    axis.set_yscale("log")
    axis.set_xticks(sorted({number for key in worst for number, _ in errors[key]}))
    axis.set_xlabel("iteration", fontsize=9)
    axis.set_ylabel("error against the reference (%)", fontsize=9)
    axis.legend(fontsize=7, frameon=False, ncols=2)
    return drawn
