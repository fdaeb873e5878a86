"""Figures of properties: what values are compared with lies over the line that they make."""

from __future__ import annotations

import numpy as np

from lamflow.data.comparisons import Comparison
from lamflow.data.properties import Curve, PropertyResult, PropertyValues, Value
from lamflow.reports.properties import figures


def conductivity(temperature: float) -> float:
    return float(10 * np.exp(-3000 / temperature))


def test_experiments_stand_in_the_arrhenius_plot() -> None:
    warm, cold = [500.0, 600.0, 700.0], 300.0
    about = {"structure": "argyrodite", "potential": "model"}
    curve = Curve(
        name="arrhenius sigma_NE", x=[1000 / t for t in warm], y=[float(np.log10(conductivity(t))) for t in warm],
        x_label="1000 / T (1/K)", y_label="log10 of sigma_NE (S/cm)",
    )  # fmt: skip
    value = Value(name="sigma_NE", value=conductivity(cold), unit="S/cm", where="300 K")
    known = Comparison(
        **about, property="arrhenius", name="sigma_NE", where="300 K", value=value.value, unit="S/cm", uncertainty=None, reference=2e-3,
        source="Boulineau 2012",
    )  # fmt: skip
    other = known.model_copy(update={"name": "D", "reference": 1e-8})
    result = PropertyResult(**about, property="arrhenius", values=[value], curves=[curve])
    drawn = figures(PropertyValues(results=[result], comparisons=[known, other]))
    lines = drawn["arrhenius-arrhenius sigma_NE"].axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["model", "Boulineau 2012"]
    assert lines[1].get_xydata().ravel().tolist() == [1000 / 300, np.log10(2e-3)]
