"""Labels compared with what a model says of the same frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lamflow.data.frames import Floats, LabeledFrame, Labels
from lamflow.data.opinions import Opinions
from lamflow.units import EV_PER_A3_IN_GPA


def opinions(labeled: Sequence[LabeledFrame], answers: Mapping[int, Labels]) -> Opinions:
    """The model's `answers` by the number of the frame, as numbers beside its labels."""
    found = Opinions.nothing(len(labeled))
    for index, answer in answers.items():
        frame, labels = labeled[index].frame, labeled[index].labels
        found.energy[index] = answer.energy / frame.natoms
        forces = compared(labels.forces, answer.forces)
        found.force_error[index], found.force_size[index], found.force_slope[index] = forces
        if labels.virial is not None and answer.virial is not None and frame.pbc:
            factor = EV_PER_A3_IN_GPA / frame.volume
            stress = compared(labels.virial * factor, answer.virial * factor)
            found.stress_error[index], found.stress_size[index], found.stress_slope[index] = stress
    return found


def compared(label: Floats, model: Floats) -> tuple[float, float, float]:
    """Root mean square difference and size, and the factor by which the model's values fit the label's."""
    error = float(np.sqrt(((label - model) ** 2).mean()))
    size = float(np.sqrt(max((label**2).mean(), (model**2).mean())))
    norm = float((model**2).sum())
    return error, size, float((label * model).sum()) / norm if norm else float("nan")
