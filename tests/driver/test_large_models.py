"""The page about large atomic models: its studies and its commands, in their order, on the real model."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.real_models import CACHE, real_dpa4

pytestmark = [pytest.mark.deepmd, pytest.mark.slow]
BLOCK = re.compile(r"^```(yaml|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def steps() -> Iterator[tuple[str, str]]:
    """Blocks of the page in their order: the name of a file with its text, or `` with a command."""
    for kind, text in BLOCK.findall((ROOT / "docs" / "large-models.md").read_text(encoding="utf-8")):
        if kind == "yaml":
            yield text.splitlines()[0].removeprefix("# "), text
        else:
            yield from (("", line) for line in text.splitlines())


def test_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_dpa4()
    monkeypatch.setenv("LAMFLOW_CACHE", str(CACHE))
    ran = []
    for name, text in steps():
        if name.startswith("~"):
            continue
        if name:
            (tmp_path / name).write_text(text, encoding="utf-8")
            continue
        words = shlex.split(text)
        done = subprocess.run([sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        ran.append(words[1])
    assert ran.count("run") == 3
    tuned = tmp_path / "runs" / "tune" / "iterations" / "001"
    record = json.loads((tuned / "result.json").read_text())
    [model] = record["models"]
    assert model["errors"]["force_rmse"] < model["baseline"][""]["force_rmse"]
    assert (tuned / "models" / "0" / "bounds.npz").is_file()
    distilled = json.loads((tmp_path / "runs" / "distill" / "iterations" / "001" / "result.json").read_text())
    speeds = {model["variant"]: model["speed"] for model in distilled["models"]}
    errors = {model["variant"]: model["errors"]["force_rmse"] for model in distilled["models"]}
    good = [name for name, error in errors.items() if error <= 1.5 * min(errors.values())]
    assert set(speeds) == {"pairs", "attention", "messages"}
    assert distilled["variant"] == max(good, key=lambda name: speeds[name])
