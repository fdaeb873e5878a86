"""The scratch folder of a training in the object store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import pytest

from lamflow.cluster import scratch
from lamflow.cluster.store import Store


def test_a_new_checkpoint_is_stored_sooner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, waits = list[int](), iter([False] * 4 + [True])
    monkeypatch.setattr(scratch, "SOONER", 0.0)
    monkeypatch.setattr(scratch, "save", lambda *_: saved.append(len(list(tmp_path.iterdir()))))

    def wait(_: object, seconds: float) -> bool:
        assert seconds == scratch.LOOK
        (tmp_path / ("train.log" if len(saved) else "model.pt")).write_text("new")
        return next(waits)

    monkeypatch.setattr("threading.Event.wait", wait)
    scratch._keep(tmp_path, cast("Store", None), 3600.0)
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
    scratch.save(tmp_path, cast("Store", store))
    assert store.asked == [["input.json", "old.pt", "model.pt"], ["input.json", "model.pt"]]
