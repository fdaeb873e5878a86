"""Some cases of each fuzzer. `make fuzz` has thousands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.deepmd
@pytest.mark.slow
@pytest.mark.parametrize(("fuzzer", "cases"), [("grammar", 120), ("data", 160)])
def test_what_is_spoilt_is_refused_or_means_what_it_says(fuzzer: str, cases: int, tmp_path: Path) -> None:
    """No traceback, no hang, nothing silent; and what `check` accepts can be planned and rendered.

    In a process of its own, whose memory is limited and whose children may die.
    """
    words = [sys.executable, "-m", "tests.fuzz", fuzzer, "--cases", str(cases), "--keep", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout + done.stderr
