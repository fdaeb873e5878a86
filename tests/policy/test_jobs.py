from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lamflow.config import parse
from lamflow.data.results import Iteration, Merged, ModelResult, SimulationResult
from lamflow.policy.jobs import indices_of_job, jobs_needed, merge_partial, seconds_per_unit
from lamflow.policy.simulations import plan_simulations
from lamflow.policy.structures import make_copies
from tests.conftest import STUDY


def task_result(number: int, **more: object) -> SimulationResult:
    plain = {"name": "t", "group": "0", "structure": "s", "start": 0, "condition": {}, "seed": 1, "frames": 0}
    return SimulationResult.model_validate({"number": number, **plain, **more})


@given(st.integers(0, 200), st.integers(1, 20))
def test_every_task_is_dealt_out_once(count: int, pods: int) -> None:
    dealt = [number for pod in range(pods) for number in indices_of_job(count, pods, pod)]
    assert sorted(dealt) == list(range(count))
    partial = [task_result(number) for pod in range(pods) for number in indices_of_job(count, pods, pod)]
    assert [task.number for task in merge_partial(partial)] == list(range(count))


def test_partial_results_of_one_task_are_added_up() -> None:
    partial = [
        task_result(1, frames=3, dropped={"atoms too close": 2}),
        task_result(0),
        task_result(1, frames=4, dropped={"atoms too close": 1}, failed="it broke"),
    ]
    first, second = merge_partial(partial)
    assert (first.number, first.frames) == (0, 0)
    assert (second.frames, second.dropped, second.failed) == (7, {"atoms too close": 3}, "it broke")


def test_pods() -> None:
    assert jobs_needed(1000, 2, None) == 2
    assert jobs_needed(1, 8, None) == 1
    assert jobs_needed(0, 8, None) == 1
    assert jobs_needed(1000, 2, 300) == 4


def test_short_tasks_share_fewer_pods_once_they_have_been_measured() -> None:
    assert jobs_needed(1000, 20, "auto") == 20
    assert jobs_needed(1000, 20, "auto", seconds=1.2) == 2
    assert jobs_needed(1000, 20, "auto", seconds=60.0) == 20
    assert jobs_needed(3, 20, "auto", seconds=0.001) == 1
    done = Iteration(
        number=1, stage="a", training_frames=10, heldout_frames=2, labels=5,
        models=[ModelResult(index=i, seed=i, data_hash="", training_frames=10, steps=5, seconds=100.0) for i in range(2)],
        simulations=[
            SimulationResult(number=0, name="t", group="0", structure="s", start=0, condition={}, seed=1, frames=4, seconds=seconds)
            for seconds in (1.0, 3.0)
        ],
        merged=Merged(added=4, heldout=0, duplicates=0, failed=[], seconds=80.0),
    )  # fmt: skip
    assert seconds_per_unit([done]) == {"train": 100.0, "explore": 2.0, "label": 20.0}
    reused = done.model_copy(update={"models": [m.model_copy(update={"reused": True}) for m in done.models]})
    assert seconds_per_unit([reused]) == {"explore": 2.0, "label": 20.0}


def test_start_structures_are_used_up_before_one_comes_again() -> None:
    stage = parse(STUDY).stages[0]
    starts = [task.start for iteration in (1, 2, 3) for task in plan_simulations(stage, {"crystal": 3}, iteration, 7)]
    assert sorted(starts[:3]) == sorted(starts[3:]) == [0, 1, 2]
    seeds = [task.seed for iteration in (1, 2) for task in plan_simulations(stage, {"crystal": 3}, iteration, 7)]
    assert len(set(seeds)) == len(seeds)


def test_alloys_have_the_composition_that_was_asked_for() -> None:
    text = STUDY.replace("elements: [Cu]", "elements: [Cu, Au]").replace(
        "supercell: [2, 1, 1], copies: 10", "supercell: [2, 1, 1], composition: {Cu: 0.7, Au: 0.3}, copies: 10"
    )
    config = parse(text)
    from lamflow.driver.structures import frames_of

    frames = frames_of(config.structures[0], config)
    assert {frame.symbols.count("Au") for frame in frames} == {2}
    assert len({frame.content_hash() for frame in frames}) == 10
    again = make_copies([frames[0]], config.structures[1], config.seed)
    assert again[0].natoms == frames[0].natoms * 4
