"""Two drivers never work in one folder."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest

from lamflow.data.cache import cache_folder
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import StateError


@pytest.mark.parametrize("what", ["lock", "."], ids=["its file", "the folder"])
def test_a_lock_survives_deletion(what: str, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    with directory.lock():
        shutil.rmtree(directory.path / what) if what == "." else (directory.path / what).unlink()
        for _ in range(2):
            with pytest.raises(StateError, match=f"this run is being driven by process {os.getpid()}"):
                directory.lock().__enter__()
        assert directory.path.exists() == (what == "lock"), "who is refused makes nothing"
    with directory.lock():
        pass
    assert not list((cache_folder() / "locks").iterdir())


def test_a_lock_that_was_deleted_and_taken_by_another_driver_stays(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    with directory.lock():
        [file] = (cache_folder() / "locks").iterdir()
        file.unlink()
        file.write_text("another's")
    assert file.read_text() == "another's"


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    directory = RunDirectory(tmp_path / "run")
    with directory.lock():
        assert directory.driver() == os.getpid()
    assert directory.driver() is None
    assert f"{tmp_path / 'run' / 'lock'}: no lock can be kept here (No locks available)" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LAMFLOW_CACHE", str(tmp_path / "file"))
    with RunDirectory(tmp_path / "run").lock():
        pass
    assert "so no lock survives if" in capsys.readouterr().err
