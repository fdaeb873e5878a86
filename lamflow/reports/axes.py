"""Colours and axes that all figures share."""

from __future__ import annotations

from typing import Any

BLUE, ORANGE, GREEN, RED, GREY, PURPLE = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#8a8f98", "#9467bd"
"""Colours that people with colour-blindness can tell apart (M. Okabe and K. Ito, 2008)."""
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, GREY, "#56b4e9", "#cc79a7")


def subplots(columns: int, rows: int = 1, width: float = 4.2, height: float = 3.0) -> tuple[Any, Any]:
    """A figure and its axes, rows by columns; sizes in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained", dpi=110)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return figure, axes
