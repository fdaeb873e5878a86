"""The select step on made-up explorations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamflow.config import parse
from lamflow.config.learning import Config
from lamflow.data import Frame
from lamflow.data.explored import ExploredFrames
from lamflow.data.packed import PackedFrames
from lamflow.data.results import Errors, Explored, History, ModelResult, SimulationResult
from lamflow.data.selected import Selected
from lamflow.errors import EngineError
from lamflow.ops.operation import Context
from lamflow.ops.select import Selection, select
from tests.conftest import STUDY


def prepare(
    root: Path, deviations: list[list[float]], copper: list[Frame], config: Config, failed: tuple[int, ...] = ()
) -> None:
    """Two pods' worth of files, one task a pod."""
    (root / "input").mkdir(parents=True)
    (root / "input" / "config.json").write_text(config.model_dump_json())
    (root / "index").mkdir()
    History(iterations=[]).save(root / "history" / "history.json")
    found = Errors(force_rmse=0.1, force_mae=0.1, force_size=1.0, energy_rmse=0.0, frames=1)
    for n in range(3):
        result = ModelResult(index=n, seed=n, data_hash="", training_frames=9, steps=1, seconds=1, errors=found)
        result.save(root / "models" / str(n) / "model.json")
    place = 0
    for pod, values in enumerate(deviations):
        array = np.array(values)
        chosen = np.flatnonzero((array >= 0.001) & (array < 2.0))
        frames = copper[place : place + len(chosen)]
        place += len(chosen)
        shard = ExploredFrames(
            simulation=np.full(len(array), pod), structure=np.zeros(len(array), dtype=np.int64), step=np.arange(len(array)), deviation=array,
            error=np.full(len(array), np.nan), candidate=chosen,
            descriptor=np.array([[10.0 * pod + i] for i in chosen]).reshape(-1, 1), frames=PackedFrames.of(frames),
            forces=np.zeros((sum(frame.natoms for frame in frames), 3)),
                velocities=np.full((sum(frame.natoms for frame in frames), 3), np.nan),
        )  # fmt: skip
        folder = root / "explored" / str(pod)
        folder.mkdir(parents=True)
        shard.save(folder / "frames.npz")
        task = SimulationResult(
            number=pod, name=f"task {pod}", group=str(pod), structure="crystal", start=0, condition={}, seed=1,
            frames=len(array) if pod not in failed else 0, failed="it broke" if pod in failed else None,
        )  # fmt: skip
        Explored(simulations=[task]).save(folder / "explored.json")


def call(root: Path) -> Selection:
    context = Context(0, 1, "select-0", root / "work", root / "scratch", root / "out")
    found: Selection = select(
        context, input=root / "input", explored=root / "explored", queued=root / "queued" if (root / "queued").is_dir() else None, models=root / "models", index=root / "index",
        history=root / "history", iteration=1, stage=0, jobs_at_once=2,
    )  # fmt: skip
    return found


def test_nan_is_a_failed_frame_and_never_a_crash(copper: list[Frame], tmp_path: Path) -> None:
    prepare(tmp_path, [[0.0, 0.5, np.nan], [0.7, 5.0]], copper, parse(STUDY))
    found = call(tmp_path)
    summary = Selected.read(found.selected / "selected.json")
    assert (summary.frames, summary.accurate, summary.candidates, summary.failed) == (5, 1, 2, 2)
    assert found.decision == "label"
    assert found.labels == 2
    assert {chosen.origin.source for chosen in summary.chosen} == {"task 0", "task 1"}
    assert sorted(path.name for path in (found.selected / "batches").iterdir()) == ["0", "1"]


def test_a_frame_found_twice_is_labeled_once(copper: list[Frame], tmp_path: Path) -> None:
    prepare(tmp_path, [[0.5], [0.5]], [copper[0], copper[0]], parse(STUDY))
    found = call(tmp_path)
    assert found.labels == 1
    assert Selected.read(found.selected / "selected.json").known == 1


def test_limits_of_each_group(copper: list[Frame], tmp_path: Path) -> None:
    config = parse(STUDY.replace("limit: 6", "limit: 6\n  per_group: 1"))
    prepare(tmp_path, [[0.5, 0.6, 0.7], [0.8, 0.9]], copper, config)
    summary = Selected.read(call(tmp_path).selected / "selected.json")
    assert sorted(chosen.group for chosen in summary.chosen) == ["0", "1"]


def test_too_many_failed_tasks_stop_the_iteration(copper: list[Frame], tmp_path: Path) -> None:
    prepare(tmp_path, [[0.5], [], []], copper, parse(STUDY), failed=(1, 2))
    with pytest.raises(EngineError, match=r"2 of 3 simulations failed \(select.max_failed is 0.5\)"):
        call(tmp_path)


def test_nothing_left_after_the_filters(copper: list[Frame], tmp_path: Path) -> None:
    prepare(tmp_path, [[], []], copper, parse(STUDY))
    with pytest.raises(EngineError, match="no frame passed the filters"):
        call(tmp_path)
