"""The beginning of a job that talks to the object store."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import pytest

from lamflow.cluster import job
from lamflow.cluster.store import Store
from lamflow.ops import job as runtime


def test_settings_that_cannot_be_read_end_a_job_with_their_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = tmp_path / "termination-log"
    reason.touch()
    monkeypatch.setattr(runtime, "TERMINATION", reason)
    monkeypatch.setattr(job, "exit_now", sys.exit)
    with pytest.raises(SystemExit) as ended:
        job.main(
            "x:y", step="label", root=str(tmp_path), timeout=1.0, gpus=0, parameters={"job": 3, "jobs": 4}, labels=""
        )
    assert ended.value.code == runtime.EXIT_FATAL
    assert reason.read_text().startswith("StateError: ")
    assert "config.json: this file of the run cannot be read" in reason.read_text()


def test_a_new_checkpoint_is_stored_sooner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, waits = list[int](), iter([False] * 4 + [True])
    monkeypatch.setattr(job, "SOONER", 0.0)
    monkeypatch.setattr(job, "save", lambda *_: saved.append(len(list(tmp_path.iterdir()))))

    def wait(_: object, seconds: float) -> bool:
        assert seconds == job.LOOK
        (tmp_path / ("train.log" if len(saved) else "model.pt")).write_text("new")
        return next(waits)

    monkeypatch.setattr("threading.Event.wait", wait)
    job._keep(tmp_path, cast("Store", None), 3600.0)
    assert saved == [1], "notes that change are no reason"


class Moving:
    """A store that is asked to keep a folder in which a training moves files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, list[list[str]]()

    def push(self, _: Path, files: Iterable[Path]) -> None:
        self.asked.append([file.name for file in files])
        if len(self.asked) == 1:
            (self.folder / "old.pt").unlink()
            raise FileNotFoundError("old.pt")

    def objects(self) -> list[object]:
        return []


def test_files_that_a_training_moves_meanwhile_cost_no_saving(tmp_path: Path) -> None:
    for name, size in (("model.pt", 30), ("old.pt", 20), ("input.json", 10), (".curve.csv.partial", 1)):
        (tmp_path / name).write_bytes(b"0" * size)
    store = Moving(tmp_path)
    job.save(tmp_path, cast("Store", store))
    assert store.asked == [["input.json", "old.pt", "model.pt"], ["input.json", "model.pt"]]
