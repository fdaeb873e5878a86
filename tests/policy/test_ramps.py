"""Temperature ramps: on when frames are accurate, back when everything fails."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from lamflow.config.engines import WalkerSettings
from lamflow.config.learning import Stage
from lamflow.data.results import SimulationResult
from lamflow.data.selected import GroupSeen
from lamflow.policy.ramps import groups_seen, next_levels, ramp_temperatures, refused_frames
from lamflow.policy.simulations import plan_simulations
from lamflow.policy.windows import Window


def stage(**more: object) -> Stage:
    group = {"engine": "ase", "structures": ["x"], "temperatures": [300, 600, 900], "steps": 10, "ramp": {}, **more}
    other = {"engine": "ase", "structures": ["x"], "temperatures": [300, 600], "steps": 10}
    return Stage.model_validate({"name": "s", "explore": [group, other]})


def seen(accurate: int, failed: int, failed_runs: int = 0, refused: int = 0) -> list[GroupSeen]:
    about = {"frames": 100, "accurate": accurate, "failed": failed, "refused": refused}
    return [GroupSeen(group=0, runs=4, failed_runs=failed_runs, **about)]


@pytest.mark.parametrize(
    ("level", "what", "then"),
    [
        (0, seen(96, 0), 1),
        (0, seen(90, 0), 0),
        (1, seen(96, 0), 2),
        (2, seen(100, 0), 2),
        (1, seen(20, 60), 0),
        (1, seen(96, 0, failed_runs=3), 0),
        (1, seen(96, 0, refused=50), 1),
        (1, seen(96, 0, refused=900), 0),
        (0, seen(0, 100, failed_runs=4), 0),
    ],
)
def test_where_a_ramp_goes(level: int, what: list[GroupSeen], then: int) -> None:
    assert next_levels(stage(), [level, 0], what) == [then, 0]


def test_frames_that_filters_refuse_are_explored_and_not_accurate() -> None:
    """A search begins with such frames, and they say nothing of its models."""
    search = {"engine": "calypso", "ranges": {"Cu": [4, 4]}, "max_atoms": 4, "population": 4, "generations": 2}
    made = Stage.model_validate({"name": "s", "explore": [stage().explore[0].model_dump(), search]})
    about = {"start": 0, "seed": 1, "condition": {}, "seconds": 0.0, "structure": "x"}
    runs = [
        SimulationResult(number=n, name=str(n), group=group, frames=4, dropped={"atoms too close": 28}, **about)
        for n, group in enumerate(("0", "0", "1"))
    ]
    assert refused_frames(made, runs) == 56
    [group, _] = groups_seen(made, [0, 0], dict(enumerate(runs)), [], Window(0.0, 1.0))
    assert (group.refused, group.accurate_fraction) == (56, 0.0)


def test_a_level_explores_its_temperature_only() -> None:
    made = stage()
    assert ramp_temperatures(made) == [[300, 600, 900], []]
    for level, temperature in enumerate((300, 600, 900)):
        tasks = plan_simulations(made, {"x": 5}, 1, 1, [level, 0])
        assert [task.condition["temperature"] for task in tasks] == [temperature, 300, 600]
    assert plan_simulations(made, {"x": 5}, 1, 1)[0].condition == {"temperature": 300}


def test_a_ramp_keeps_other_conditions() -> None:
    made = stage(method="npt", pressures=[0, 1000])
    assert isinstance(made.explore[0], WalkerSettings)
    assert made.explore[0].conditions_at(1) == [
        {"temperature": 600, "pressure": 0}, {"temperature": 600, "pressure": 1000},
    ]  # fmt: skip


def test_one_temperature_is_no_ramp() -> None:
    with pytest.raises(ValidationError, match="a temperature ramp needs at least two temperatures"):
        stage(temperatures=[300])
