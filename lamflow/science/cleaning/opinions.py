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
        found.force_label[index], found.force_model[index], found.force_match[index] = forces
        if labels.virial is not None and answer.virial is not None and frame.pbc:
            factor = EV_PER_A3_IN_GPA / frame.volume
            stress = compared(labels.virial * factor, answer.virial * factor)
            found.stress_label[index], found.stress_model[index], found.stress_match[index] = stress
    return found


def compared(label: Floats, model: Floats) -> tuple[float, float, float]:
    """Root mean square of the label's and of the model's values, and the cosine between them; 0 where one vanishes."""
    sizes = float(np.sqrt((label**2).mean())), float(np.sqrt((model**2).mean()))
    norm = sizes[0] * sizes[1] * label.size
    return *sizes, float((label * model).sum()) / norm if norm else 0.0
