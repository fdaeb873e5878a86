"""What a training says of itself while it goes on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lamflow.data.curves import Curve, write_curve
from lamflow.data.layout import CURVE
from lamflow.ops import curve_lines
from lamflow.ops.curve_lines import CurveLines, curve_line
from lamflow.ops.operation import Context

COLUMNS = ["step", "energy_rmse", "force_rmse", "learning_rate"]


def test_a_line_has_step_errors_rate_speed_and_time_left() -> None:
    curve = Curve(COLUMNS, np.array([[1.0, 1.0, 2.0, 1e-3], [500.0, 0.0123, 0.25, 5e-4]]))
    assert curve_line(curve, 0.25, 10.0) == (
        "step 500 (25%), energy rmse 0.0123 eV/atom, force rmse 0.25 eV/Å, learning rate 0.0005, 10 steps/s, 0:02:30 left"
    )
    assert curve_line(curve, 0.25, 0.0).endswith("learning rate 0.0005")


def test_a_training_says_a_line_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve_lines, "EVERY", 3600.0)
    monkeypatch.setenv("LAMFLOW_PROGRESS", str(tmp_path))
    reading, writing = os.pipe()
    lines = CurveLines(
        Context(0, 1, "train-0", tmp_path, tmp_path, tmp_path, log=writing), "model 3", tmp_path, 0.5, 0.25
    )
    lines.said = -3600.0
    lines(0.1)  # there is no curve yet
    write_curve(tmp_path / CURVE, Curve(COLUMNS, np.array([[100.0, 1.0, 2.0, 1e-3]])))
    lines(0.2)
    lines(0.4)
    os.close(writing)
    with os.fdopen(reading) as stream:
        [said] = stream.read().splitlines()
    assert "train-0  model 3: step 100 (20%)" in said
    assert (tmp_path / "train-0").read_text() == "60/100"
