"""Figures of the report."""

from __future__ import annotations

import numpy as np
from matplotlib import pyplot

from lamflow.reports.figures import parity, png


def test_parity_has_a_panel_for_what_there_is() -> None:
    points, nothing = np.array([[0.1, 0.2], [0.3, 0.3]]), np.zeros((0, 2))
    for energies, magnetic, panels in ((points, nothing, 2), (nothing, nothing, 1), (nothing, points, 2)):
        figure = parity(energies, points, magnetic)
        assert len(figure.axes) == panels
        assert png(figure).startswith(b"\x89PNG")
        pyplot.close(figure)
