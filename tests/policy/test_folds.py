"""Folds: every frame is asked about once, by a model that has not seen its composition."""

from __future__ import annotations

import dataclasses

import numpy as np

from lamflow.data.opinions import Opinions
from lamflow.policy.folds import folds_of, suspects, training_frames
from lamflow.policy.model_findings import of_models
from tests.policy.test_cleaning import COUNT, features, opinions, study, table


def test_compositions_stay_together_and_folds_repeat_by_seed() -> None:
    made = table(features())
    fold = folds_of(study(), made, 5)
    assert np.bincount(fold).tolist() == [COUNT // 5] * 5
    for formula in range(40):
        assert len(set(fold[made.features.formula == formula])) == 1
    assert (fold == folds_of(study(), made, 5)).all()
    assert (fold != folds_of(study(seed=2), made, 5)).any()
    single = dataclasses.replace(made.features, formula=np.zeros(COUNT, dtype=np.int64))
    spread = folds_of(study(), table(single), 5)
    assert np.bincount(spread).tolist() == [COUNT // 5] * 5


def test_no_model_is_trained_on_suspects() -> None:
    made = features()
    made.force_sum[7] = 3.0
    found = suspects(study(), table(made))
    assert found[7]
    assert not found[8:].any()
    assert len(training_frames(table(made), ~found, 0, 50, 1)) == 50
    assert 7 not in training_frames(table(made), ~found, 0, None, 1)


def test_a_model_that_does_not_know_the_forces_says_nothing_of_them() -> None:
    made = table(features())
    good, poor = opinions(made.features.energy), opinions(made.features.energy, match=0.4)
    good.force_match[3] = 0.0
    assert [finding.frames.tolist() for finding in of_models(made, study().checks, [good])] == [[3]]
    assert not list(of_models(made, study().checks, [poor]))


def test_what_models_of_all_folds_say_is_put_together() -> None:
    first, second = Opinions.nothing(4), Opinions.nothing(4)
    first.energy[[0, 2]] = 1.0, 3.0
    second.fill(np.array([1]), dataclasses.replace(Opinions.nothing(1), energy=np.array([2.0])))
    merged = Opinions.merged([first, second]).energy
    assert merged[:3].tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(merged[3])
