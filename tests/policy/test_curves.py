"""Learning curves: sizes of their points, and how many frames are enough."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from lamflow.config.cleaning import CleaningStudy, LearningCurve
from lamflow.data.cleaning import CurvePoint
from lamflow.policy.curves import enough, sizes, words, worst_first
from tests.policy.test_cleaning import study

SETTINGS = LearningCurve.model_validate({"train": {"engine": "pair"}, "fractions": [0.1, 0.3], "target": 1.2})


def point(line: str, frames: int, error: float) -> CurvePoint:
    return CurvePoint(line=line, head="a", frames=frames, force_rmse=error, energy_rmse=0.1, seconds=1.0)


def test_points_grow_and_the_worst_come_first() -> None:
    assert sizes([0.001, 0.002, 0.1, 0.5], 100) == [1, 10, 50]
    assert worst_first(np.array([0.1, np.inf, 0.3, 0.3])).tolist() == [1, 2, 3, 0]


def test_the_fewest_frames_that_come_near_all_of_them_are_enough() -> None:
    points = [point("all", 100, 0.10), point("worst", 10, 0.2), point("worst", 30, 0.115), point("random", 30, 0.119)]
    chosen = enough(points, "a", SETTINGS)
    assert chosen == points[2]
    assert words(points, "a", SETTINGS, chosen) == (
        "a: 30 worst frames are enough: 0.115 eV/Å, the random ones 0.119; a model of all 100 frames has force_rmse "
        "0.1 eV/Å"
    )
    better = [*points[:3], point("random", 30, 0.11)]
    assert enough(better, "a", SETTINGS) == better[3]
    assert enough(points[:2], "a", SETTINGS) is None
    assert "all frames stay" in words(points[:2], "a", SETTINGS, None)
    assert enough(points[1:], "a", SETTINGS) is None


def test_the_pretrained_model_is_a_baseline_and_never_chosen() -> None:
    points = [point("all", 100, 0.10), point("zero_shot", 0, 0.05), point("worst", 30, 0.115)]
    chosen = enough(points, "a", SETTINGS)
    assert chosen == points[2]
    assert words(points, "a", SETTINGS, chosen) == (
        "a: 30 worst frames are enough: 0.115 eV/Å; a model of all 100 frames has force_rmse 0.1 eV/Å, the pre-trained "
        "one 0.05"
    )


def test_sources_elsewhere_need_a_whole_address() -> None:
    with pytest.raises(ValidationError, match=r"hf://colabfit: an address looks like hf://OWNER/NAME"):
        CleaningStudy.model_validate({"name": "x", "sources": [{"name": "a", "data": ["hf://colabfit"]}]})


def test_settings_that_contradict_each_other() -> None:
    curve = {"train": {"engine": "pair"}}
    with pytest.raises(ValidationError, match=r"fractions: \[0.5, 0.1\] must grow"):
        LearningCurve.model_validate({**curve, "fractions": [0.5, 0.1]})
    with pytest.raises(ValidationError, match="curve: it chooses the frames that stay, as `compress` does"):
        study(curve=curve, compress={"fraction": 0.5})
    with pytest.raises(ValidationError, match=r"curve: its models are judged on held-out frames; give split.heldout"):
        study(curve=curve, split={"heldout": 0})
