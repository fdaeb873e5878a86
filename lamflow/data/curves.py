"""Learning curves as DeePMD-kit writes them: a header, and a line of numbers every so many steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamflow.data.frames import Floats

CURVE = "lcurve.out"
EXPLODED, LARGE = 100.0, 10.0
"""An error so many times its smallest, and above so many eV/Å or eV/atom, has exploded."""
RECENT = 3
"""Lines whose median is looked at, for a single batch may be bad."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A training so far.

    columns  names, `step` first: `rmse_f_trn` is in eV/Å, `rmse_e_trn` in eV/atom; a task's name follows where there
             are several
    values   (L, columns)
    """

    columns: list[str]
    values: Floats

    @property
    def steps(self) -> Floats:
        """(L,)"""
        return self.values[:, 0]

    def of(self, name: str) -> dict[str, Floats]:
        """The columns, each (L,), whose name begins with `name`, by what follows in the name."""
        return {
            column.removeprefix(name).lstrip("_"): self.values[:, place]
            for place, column in enumerate(self.columns)
            if column.startswith(name)
        }

    def problem(self) -> str | None:
        """Why this training cannot end well, or None. Labels that do not exist have no column to judge."""
        if not len(self.values):
            return None
        for place, name in enumerate(self.columns):
            if name == "step" or name.startswith("rmse_v"):
                continue
            column = self.values[:, place]
            if np.isnan(column).all() and name.startswith("rmse_"):
                if name.startswith("rmse_f"):
                    return f"{name} is not a number"
                continue
            if not np.isfinite(column[-1]):
                return f"{name} is {column[-1]}"
            lately, least = float(np.median(column[-RECENT:])), float(np.nanmin(column))
            if name.startswith("rmse_") and len(column) > RECENT and lately > max(LARGE, EXPLODED * least):
                return f"{name} has grown to {lately:.3g} from {least:.3g}"
        return None


def read_curve(path: Path) -> Curve:
    """The curve at `path`, empty if there is none yet; a last line that is being written is left out."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return Curve([], np.zeros((0, 0)))
    lines = text[: text.rfind("\n") + 1].splitlines()
    header = next((line.lstrip("# ").split() for line in lines if line.startswith("#") and "step" in line.split()), [])
    rows = [[float(word) for word in line.split()] for line in lines if line and not line.startswith("#")]
    whole = [row for row in rows if len(row) == len(header)]
    return Curve(header, np.array(whole).reshape(len(whole), len(header)))


def last_lines(path: Path, count: int = 5) -> str:
    """The last lines of the curve at `path`."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return ""
