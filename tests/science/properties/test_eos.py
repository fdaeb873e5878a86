"""What an equation of state says of points that lie on no smooth curve."""

from __future__ import annotations

import numpy as np
import pytest

from lamflow.data import Labels
from lamflow.science.properties.eos import birch_murnaghan
from lamflow.science.properties.sample import Answer
from lamflow.science.properties.table import PROPERTIES
from tests.science.properties.emt import crystal

FRAMES, REDUCE = PROPERTIES["eos"].frames, PROPERTIES["eos"].reduce


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
