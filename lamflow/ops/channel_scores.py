"""What the models say of every quantity of the frames that are chosen, before their labels are known."""

from __future__ import annotations

from collections.abc import Sequence

from lamflow.config.learning import Config
from lamflow.ops.committees import Committees
from lamflow.policy.calibration import known_values
from lamflow.policy.candidates import ChosenFrame
from lamflow.science.deviation import deviations, stacked
from lamflow.science.relaxation import mean_labels


def with_scores(study: Config, committees: Committees, chosen: Sequence[ChosenFrame]) -> list[ChosenFrame]:
    """The chosen frames with the deviation of each quantity of a calibrated window, and what the models predict."""
    found = list(chosen)
    for head in {item.why.origin.head for item in chosen}:
        indices = [index for index, item in enumerate(chosen) if item.why.origin.head == head]
        frames = [chosen[index].frame for index in indices]
        opinions = zip(*(model.evaluate(frames) for model in committees.committee(head)), strict=True)
        for index, predicted in zip(indices, opinions, strict=True):
            values = deviations(*stacked([[labels] for labels in predicted]))
            scores, item = known_values(values, study.select.allowed), chosen[index]
            origin = item.why.origin.model_copy(update={"scores": scores})
            why = item.why.model_copy(update={"origin": origin})
            found[index] = item._replace(why=why, predicted=mean_labels(predicted))
    return found
