"""The beginning of a job that talks to the object store."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lamflow.cluster import job
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
