"""What a person sees while a run goes on."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from lamflow.cli import drive, terminal
from lamflow.config import parse
from tests.conftest import STUDY


def test_what_a_run_waits_for_is_said_above_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "Console", lambda: Console(file=screen, force_terminal=True, width=120))
    with terminal.terminal(parse(STUDY)) as listener:
        listener.says("train 0 waits: no [bold] node")
    assert "train 0 waits: no [bold] node" in screen.getvalue()
    assert "lamflow · tiny" in screen.getvalue()


def test_a_batch_system_that_is_not_used_is_said(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All jobs would run on a login node."""
    study.write_text(study.read_text(encoding="utf-8") + "\nbatch: {system: slurm}\n", encoding="utf-8")
    monkeypatch.setattr(drive, "_run_here", lambda *_: None)
    drive.run_file(study, None, redo=False, on="slurm")
    assert capsys.readouterr().err == ""
    drive.run_file(study, None, redo=False)
    assert "batch is not used: all jobs run on this machine" in capsys.readouterr().err
