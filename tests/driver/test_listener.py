"""What is printed where no table can be shown."""

from __future__ import annotations

import pytest

from lamflow.driver.listener import Lines


def test_a_step_is_told_of_when_it_begins_goes_on_and_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.title = "iteration 1"
    for share in (0.0, 0.1, 0.3, 0.4, 0.3, 0.8, 0.99, 1.0, 1.0):
        lines.progress({"train": share})
    told = [line.split("  ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert told == [f"iteration 1 · train {words}" for words in ("begins", "30%", "80%", "done")]
