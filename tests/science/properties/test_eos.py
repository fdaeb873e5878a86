"""What an equation of state says of points that lie on no smooth curve."""

from __future__ import annotations

import numpy as np
import pytest

from lamflow.data import Labels
from lamflow.science.properties.eos import birch_murnaghan
from lamflow.science.properties.sample import Answer
from lamflow.science.properties.table import PROPERTIES
from lamflow.units import EV_PER_A3_IN_GPA
from tests.science.properties.emt import crystal

FRAMES, REDUCE = PROPERTIES["eos"].frames, PROPERTIES["eos"].reduce


def test_an_error_knows_of_a_form_that_does_not_fit_the_whole_range() -> None:
    """A fourth-order term far from the minimum: the fit is smooth, its own error small, and B0 wrong."""
    copper = crystal("Cu")
    samples = FRAMES(copper, strain=0.1, points=15)
    volumes = np.array([sample.frame.volume for sample in samples])
    middle = float(volumes[7])
    energies = birch_murnaghan(volumes, -3.0, middle, 0.9, 5.0) + 60.0 * (volumes / middle - 1) ** 4
    answers = [
        Answer(sample, sample.frame, Labels(float(energy), np.zeros((1, 3))))
        for sample, energy in zip(samples, energies, strict=True)
    ]
    [b0] = [value for value in REDUCE(copper, answers).values if (value.name, value.where) == ("B0", "")]
    true = 0.9 * EV_PER_A3_IN_GPA
    assert b0.uncertainty is not None
    assert abs(b0.value - true) < 1.5 * b0.uncertainty


@pytest.mark.parametrize(("kink", "says"), [(0.0, False), (0.02, True)])
def test_points_that_lie_on_no_smooth_curve_are_said(kink: float, says: bool) -> None:
    copper = crystal("Cu")
    samples = FRAMES(copper, strain=0.06, points=13)
    volumes = np.array([sample.frame.volume for sample in samples])
    energies = birch_murnaghan(volumes, -3.0, float(volumes[6]), 0.9, 5.0)
    energies += kink * np.ptp(energies) * (np.arange(13) % 2)
    answers = [
        Answer(sample, sample.frame, Labels(float(energy), np.zeros((1, 3))))
        for sample, energy in zip(samples, energies, strict=True)
    ]
    notes = REDUCE(copper, answers).notes
    assert [("no smooth curve" in note) for note in notes] == [says, says]
