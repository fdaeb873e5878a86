"""What codes with periodic boundaries share."""

from __future__ import annotations

import numpy as np

from lamflow.engines.periodic import kpoint_grid


def test_k_points_along_each_vector() -> None:
    cell = np.diag([2.0, 4.0, 100.0])
    assert kpoint_grid(cell, [0.5, 1.0, 0.01]) == (7, 2, 7)
