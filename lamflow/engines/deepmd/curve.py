"""DeePMD-kit's lcurve.out: a header, and a line of numbers every so many steps."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from lamflow.data.curves import LEARNING_RATE, Curve

LCURVE = "lcurve.out"
EXPLODED, LARGE = 100.0, 10.0
"""A median so many times its smallest, and above so many eV/Å or eV/atom, has exploded."""
RECENT = 3
"""Lines whose median is looked at, for a single batch may be of harder systems, or of easier ones."""
COLUMN = re.compile(r"rmse_(e|f|fr|fm|v)_trn(_.+)?")
"""An error on the training batch; the name of a head follows where there are several."""
QUANTITIES = {
    "e": "energy_rmse", "f": "force_rmse", "fr": "force_rmse", "fm": "magnetic_force_rmse", "v": "virial_rmse",
}  # fmt: skip
"""DeePMD-kit's models with spins have errors of real (fr) and magnetic (fm) forces."""


def read_lcurve(path: Path) -> Curve:
    """The curve at `path` with DeePMD-kit's names of its columns; empty if there is none yet.

    A last line that is being written is left out.
    """
    try:
        text = path.read_text(errors="replace", encoding="utf-8")
    except OSError:
        return Curve([], np.zeros((0, 0)))
    lines = text[: text.rfind("\n") + 1].splitlines()
    header = next((line.lstrip("# ").split() for line in lines if line.startswith("#") and "step" in line.split()), [])
    rows = [[float(word) for word in line.split()] for line in lines if line and not line.startswith("#")]
    whole = [row for row in rows if len(row) == len(header)]
    return Curve(header, np.array(whole).reshape(len(whole), len(header)))


def last_lines(path: Path, count: int = 5) -> str:
    """The last lines of the file at `path`."""
    try:
        return "\n".join(path.read_text(errors="replace", encoding="utf-8").splitlines()[-count:])
    except OSError:
        return ""


def problem(curve: Curve) -> str | None:
    """Why this training cannot end well, or None. Labels that do not exist have no column to judge."""
    if not len(curve.values):
        return None
    for index, name in enumerate(curve.columns):
        if name == "step" or name.startswith("rmse_v"):
            continue
        column = curve.values[:, index]
        if np.isnan(column).all() and name.startswith("rmse_"):
            if name.startswith("rmse_f"):
                return f"{name} is not a number"
            continue
        if not np.isfinite(column[-1]):
            return f"{name} is {column[-1]}"
        if name.startswith("rmse_") and len(column) > RECENT:
            medians = np.median(np.lib.stride_tricks.sliding_window_view(column, RECENT), axis=1)
            lately, least = float(medians[-1]), float(np.nanmin(medians))
            if lately > max(LARGE, EXPLODED * least):
                return f"{name} has grown to {lately:.3g} from {least:.3g}"
    return None


def learning_curve(curve: Curve) -> Curve:
    """The steps, the errors on the training batches and the learning rate with lamflow's names of the columns."""
    names = {index: "step" for index, column in enumerate(curve.columns) if column == "step"}
    for index, column in enumerate(curve.columns):
        match = COLUMN.fullmatch(column)
        if match is not None:
            names[index] = QUANTITIES[match.group(1)] + (match.group(2) or "")
        elif column == "lr":
            names[index] = LEARNING_RATE
    return Curve(list(names.values()), curve.values[:, list(names)])
