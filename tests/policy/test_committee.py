"""Scores of frames by a committee and by a teacher, and what is sent on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from pydantic import ValidationError

from lamflow.config import parse
from lamflow.config.learning import Config
from lamflow.config.select import FixedWindow, Select
from lamflow.data import Deviations, Frame, Labels, Trajectory
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.policy.committee import SCORE_RULES, ScoredFrames, good_frames, largest, pack_candidates, score
from lamflow.policy.windows import Window, rescaled
from tests.conftest import STUDY


class Scaled:
    """EMT with all forces scaled: a committee of these disagrees by a known amount."""

    def __init__(self, factor: float) -> None:
        self.factor, self.asked = factor, 0
        self.emt = EmtEvaluator(Emt(engine="emt"))

    def evaluate(self, frames: Sequence[Frame]) -> list[Labels]:
        self.asked += len(frames)
        return [
            Labels(labels.energy, self.factor * labels.forces, labels.virial) for labels in self.emt.evaluate(frames)
        ]


def never(frames: Sequence[Frame]) -> list[Labels]:
    raise AssertionError("nobody asked a teacher")


@pytest.fixture
def study() -> Config:
    return parse(STUDY)


def test_every_score_that_a_file_may_name_has_its_rule() -> None:
    assert set(Select.model_json_schema()["properties"]["score"]["enum"]) == set(SCORE_RULES)


def test_a_committee_disagrees_by_the_spread_of_its_forces(copper: list[Frame]) -> None:
    models = [Scaled(0.9), Scaled(1.1)]
    first, second = Trajectory.of(copper[:1], [0]), Trajectory.of(copper[1:2], [7])
    one, other = score(Select(), 3, [first, second], models, never)  # type: ignore[arg-type]
    forces = Scaled(1.0).evaluate(copper[:1])[0].forces
    assert one.deviation[0] == pytest.approx(0.1 * np.linalg.norm(forces, axis=1).max())
    np.testing.assert_allclose(one.forces[0], forces)
    assert np.isnan(one.error).all()
    assert (one.number, len(one), other.trajectory.steps.tolist()) == (3, 1, [7])
    assert [model.asked for model in models] == [2, 2]


def test_a_teacher_scores_the_model_that_explored(copper: list[Frame]) -> None:
    models = [Scaled(0.0), Scaled(0.5), Scaled(0.0)]
    settings = Select(score="teacher", metric="force_mean")
    teacher = Scaled(1.0)
    [scored] = score(settings, 4, [Trajectory.of(copper[:1], [0])], models, teacher.evaluate)  # type: ignore[arg-type]
    forces = teacher.evaluate(copper[:1])[0].forces
    assert [model.asked for model in models] == [0, 1, 0]
    assert scored.deviation[0] == pytest.approx(0.5 * np.linalg.norm(forces, axis=1).mean())
    assert scored.error[0] == pytest.approx(0.5 * np.sqrt(np.mean(forces**2)))
    np.testing.assert_allclose(scored.forces[0], 0.5 * forces)


def test_what_an_explorer_has_scored_is_not_scored_again(copper: list[Frame]) -> None:
    values = {name: np.array([0.3]) for name in ("force_max", "force_mean", "force_min", "force_max_relative")}
    unknown = np.array([np.nan])
    others = ("virial_max", "energy", "magnetic_force_max", "magnetic_force_mean", "magnetic_force_max_relative")
    deviations = Deviations(**values, **dict.fromkeys(others, unknown))
    plain = Trajectory.of(copper[:1], [0])
    on_the_way = Trajectory(
        plain.numbers, plain.positions, plain.cells, plain.steps, plain.pbc, forces=np.ones((1, 8, 3)),
        deviations=deviations,
    )  # fmt: skip
    models = [Scaled(0.9), Scaled(1.1)]
    [scored] = score(Select(), 0, [on_the_way], models, never)  # type: ignore[arg-type]
    assert scored.deviation.tolist() == [0.3]
    assert [model.asked for model in models] == [0, 0]
    score(Select(metric="virial_max"), 0, [on_the_way], models, never)  # type: ignore[arg-type]
    assert [model.asked for model in models] == [1, 1], "no explorer has said what this window looks at"


def test_nothing_is_scored_as_nothing(copper: list[Frame]) -> None:
    models = [Scaled(1.0), Scaled(1.0)]
    [scored] = score(Select(), 0, [Trajectory.nothing(copper[0])], models, never)  # type: ignore[arg-type]
    assert len(scored) == len(ScoredFrames.none(0, copper[0])) == 0
    assert scored.forces.shape == (0, 8, 3)


def test_filters_count_what_they_refuse(copper: list[Frame]) -> None:
    near = Frame(copper[0].numbers, 0.3 * copper[0].positions, copper[0].cell)
    good, dropped = good_frames(Select().filters, Trajectory.of([copper[0], near, copper[1]], [0, 1, 2]))
    assert good.steps.tolist() == [0, 2]
    assert dropped == {"atoms too close": 1}


def test_only_candidates_are_sent_on_with_their_own_numbers(study: Config, copper: list[Frame]) -> None:
    parts = []
    for number, deviation in ((5, [0.0, 1.0]), (2, [np.nan, 0.5, 3.0])):
        frames = copper[: len(deviation)] if number == 5 else copper[4 : 4 + len(deviation)]
        steps = Trajectory.of(frames, [10 * index for index in range(len(frames))])
        count = len(frames)
        forces = np.full((count, 8, 3), float(number))
        parts.append(ScoredFrames(number, steps, forces, np.array(deviation), np.full(count, np.nan)))
    packed = pack_candidates(study, parts, 1, 0)
    assert packed.simulation.tolist() == [5, 5, 2, 2, 2]
    assert packed.step.tolist() == [0, 10, 0, 10, 20]
    assert packed.candidate.tolist() == [1, 3]
    assert [frame.content_hash() for frame in packed.frames] == [copper[1].content_hash(), copper[5].content_hash()]
    assert [values[0, 0] for values in packed.frames.split(packed.forces)] == [5.0, 2.0]
    assert np.isnan(packed.velocities).all()
    assert len(packed.descriptor) == 2


CHANNELS = [
    {"metric": "energy", "low": 0.01, "high": 0.05},
    {"metric": "magnetic_force_max", "low": 0.2, "high": 2.0},
]


def test_a_frame_is_a_candidate_when_any_channel_is_and_failed_when_any_is() -> None:
    settings = Select.model_validate({"window": {"low": 0.1, "high": 0.5}, "channels": CHANNELS})
    values = {
        "force_max": [0.05, 0.3, 0.05, 0.05, 0.05, 0.6, 0.05],
        "energy": [0.005, 0.005, 0.02, 0.005, 0.06, 0.005, 0.005],
        "magnetic_force_max": [0.1, 0.1, 0.1, 0.3, 0.1, 0.1, np.nan],
    }
    found = Deviations(**{name: np.array(values.get(name, [np.nan] * 7)) for name in Deviations.__dataclass_fields__})
    deviation = largest(settings, found, settings.window)
    window = Window(0.1, 0.5)
    assert window.candidates(deviation).tolist() == [1, 2, 3]
    assert window.counts(deviation) == (1, 3, 3)
    assert deviation[0] == pytest.approx(0.05)
    assert deviation[2] == pytest.approx(0.2), "a quarter of the way between the levels"


def test_levels_of_a_group_are_put_on_the_scale_of_the_window(copper: list[Frame]) -> None:
    common = Select.model_validate({"window": {"low": 0.1, "high": 0.5}, "channels": CHANNELS[:1]})
    own = common.with_levels(FixedWindow(low=0.2, high=0.4), [])
    values = {"force_max": [0.1, 0.15, 0.3, 0.39, 0.41, np.nan], "energy": [0.02] * 6}
    found = Deviations(**{name: np.array(values.get(name, [np.nan] * 6)) for name in Deviations.__dataclass_fields__})
    deviation = largest(own, found, common.window)
    window = Window(0.1, 0.5)
    assert window.candidates(deviation).tolist() == [2, 3]
    assert window.counts(deviation) == (2, 2, 2)
    assert deviation[2] == pytest.approx(0.3), "half way between the levels"
    assert (own.levels, common.with_levels(None, None)) == ({"force_max": (0.2, 0.4)}, common)
    models = [Scaled(0.9), Scaled(1.1)]
    [theirs] = score(common, 0, [Trajectory.of(copper[:1], [0])], models, never)  # type: ignore[arg-type]
    [ours] = score(own, 0, [Trajectory.of(copper[:1], [0])], models, never, common.window)  # type: ignore[arg-type]
    expected = rescaled(theirs.deviation, (0.2, 0.4), (0.1, 0.5))
    np.testing.assert_allclose(ours.deviation, expected)


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (
            {"window": {"rule": "adaptive"}, "channels": CHANNELS},
            "scale of a fixed or a calibrated window; set window.rule",
        ),
        ({"channels": [CHANNELS[0], CHANNELS[0]]}, "every metric once"),
        (
            {"channels": [{"metric": "energy", "low": 0.2, "high": 0.1}]},
            r"low \(0.2\) must be below high \(0.1 eV/atom\)",
        ),
        ({"window": {"low": 0, "high": 1}, "channels": CHANNELS}, "window.low must be above 0"),
    ],
)
def test_channels_that_mean_nothing_are_refused(select: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        Select.model_validate(select)


def test_a_bound_of_the_error_is_what_the_window_sees() -> None:
    rng = np.random.default_rng(5)
    predicted, bounds = rng.normal(size=(1, 4, 3, 3)), rng.uniform(0.1, 1, (4, 3))
    possible = predicted + bounds[None, :, :, None] * np.array([1.0, 0, 0])
    energies = np.zeros((2, 4))
    found, sent, error = SCORE_RULES["embedding"].scores(energies, np.concatenate([predicted, possible]), None, None)
    np.testing.assert_allclose(found.force_max, bounds.max(axis=1))
    np.testing.assert_allclose(found.force_mean, bounds.mean(axis=1))
    np.testing.assert_array_equal(sent, predicted[0])
    assert np.isnan(error).all()
