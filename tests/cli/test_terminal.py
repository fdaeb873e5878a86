"""What a person sees while a run goes on."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lamflow.cli import terminal
from lamflow.config import parse
from tests.conftest import STUDY


def test_what_a_run_waits_for_is_said_above_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "Console", lambda: Console(file=screen, force_terminal=True, width=120))
    with terminal.terminal(parse(STUDY)) as listener:
        listener.says("train 0 waits: no [bold] node")
    assert "train 0 waits: no [bold] node" in screen.getvalue()
    assert "lamflow · tiny" in screen.getvalue()
