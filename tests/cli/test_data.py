"""`lamflow data` and `lamflow quarantine` on real files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lamflow.cli.app import app
from lamflow.errors import InputError
from tests.conftest import ROOT

pytest.importorskip("vesin", reason="cleaning needs vesin: pip install 'lamflow[cleaning]'")
FIRST = str(ROOT / "workflows" / "cleaning" / "first.extxyz")
SECOND = str(ROOT / "workflows" / "cleaning" / "second.extxyz")


def lamflow(*words: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, words)
    if isinstance(done.exception, InputError):
        raise done.exception
    assert done.exit_code == status, done.output
    return done.output


def test_data_are_shown_checked_converted_compared_and_split(tmp_path: Path) -> None:
    shown = json.loads(lamflow("data", "show", FIRST, "--json"))
    assert (shown["frames"], shown["compositions"]) == (107, 8)
    assert "Au" in lamflow("data", "show", FIRST)
    checked = json.loads(lamflow("data", "check", FIRST, "--json", status=1))
    assert {row["frame"].split("#")[1] for row in checked["bad"]} == {"4", "11", "59", "96"}
    assert checked["found"]["duplicate"] == 2
    lamflow("data", "convert", FIRST, "--to", str(tmp_path / "npy"))
    assert "in both" in lamflow("data", "diff", FIRST, str(tmp_path / "npy"))
    lamflow("data", "merge", FIRST, SECOND, "--to", str(tmp_path / "all.extxyz"))
    assert "212" in lamflow("data", "show", str(tmp_path / "all.extxyz"))
    different = json.loads(lamflow("data", "diff", FIRST, str(tmp_path / "all.extxyz"), "--json", status=1))
    assert different["only in the second"] == 105
    said = lamflow("data", "split", FIRST, "--to", str(tmp_path / "two"), "--heldout", "0.2")
    assert "heldout" in said
    parts = [
        json.loads(lamflow("data", "show", str(tmp_path / "two" / part), "--json")) for part in ("train", "heldout")
    ]
    assert sum(part["frames"] for part in parts) == 107


def test_bad_input_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.extxyz: no such file"):
        lamflow("data", "show", str(tmp_path / "none.extxyz"))
    (tmp_path / "out.extxyz").touch()
    with pytest.raises(InputError, match="exists already; give another path"):
        lamflow("data", "convert", FIRST, "--to", str(tmp_path / "out.extxyz"))
    with pytest.raises(InputError, match=r"out\.extxyz: "):
        lamflow("data", "check", str(tmp_path / "out.extxyz"))
