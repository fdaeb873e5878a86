"""Learning curves: how far the errors of a training have come down, step by step, whatever the engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamflow.data.files import write_whole
from lamflow.data.frames import Floats

"""What a trainer leaves beside its checkpoints while it trains, and beside the model."""

LEARNING_RATE = "learning_rate"


@dataclass(frozen=True, eq=False)
class Curve:
    """A training so far.

    columns  names, `step` first: `force_rmse` in eV/Å, `energy_rmse` in eV/atom, `virial_rmse` in eV/atom,
             `magnetic_force_rmse` in eV/μB, all on the training batch; `_` and the name of a head follow where there
             are several; `learning_rate` where known
    values   (L, columns)
    """

    columns: list[str]
    values: Floats

    @property
    def steps(self) -> Floats:
        """(L,)"""
        return self.values[:, 0]

    def of(self, name: str) -> dict[str, Floats]:
        """The columns, each (L,), whose name begins with `name`, by the name of the head."""
        return {
            column.removeprefix(name).lstrip("_"): self.values[:, index]
            for index, column in enumerate(self.columns)
            if column.startswith(name)
        }


def write_curve(path: Path, curve: Curve) -> None:
    """Write a curve as comma-separated values with a header, the whole file at once."""
    rows = [",".join(f"{value:.8g}" for value in row) for row in curve.values]
    write_whole(path, "\n".join([",".join(curve.columns), *rows]) + "\n")


def read_curve(path: Path) -> Curve:
    """The curve at `path`, empty if there is none yet."""
    try:
        header, *lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return Curve([], np.zeros((0, 0)))
    columns = header.split(",")
    rows = [line.split(",") for line in lines]
    try:
        values = np.array([row for row in rows if len(row) == len(columns)], dtype=np.float64)
    except ValueError:  # cut in the middle of a number
        return Curve([], np.zeros((0, 0)))
    return Curve(columns, values.reshape(-1, len(columns)))
