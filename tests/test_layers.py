"""The layer law."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def test_contracts_hold() -> None:
    found = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout


def test_the_tree_has_no_drawers() -> None:
    drawers = {"utils", "util", "common", "base", "core", "misc", "helpers", "helper"}
    assert not [path for path in (ROOT / "lamflow").rglob("*") if path.stem in drawers]
