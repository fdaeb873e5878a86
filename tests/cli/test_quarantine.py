"""Frames that come back from quarantine by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow.cli.quarantine import _shortest, list_frames, release
from lamflow.cli.results import fetch
from lamflow.config import parse
from lamflow.config.cleaning import CleaningStudy
from lamflow.data.cleaning import Card, Cleaning, Quarantine
from lamflow.driver.loop import run
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import InputError
from tests.conftest import ROOT

pytest.importorskip("vesin", reason="cleaning needs vesin: pip install 'lamflow[cleaning]'")
FOLDER = ROOT / "workflows" / "cleaning"


def test_as_many_digits_are_shown_as_tell_frames_apart() -> None:
    """Frames of one structure have the first sixteen in common."""
    ids = ["0123456789abcdef00000000", "0123456789abcdef00100000", "f" * 24]
    assert _shortest(ids) == {ids[0]: ids[0][:19], ids[1]: ids[1][:19], ids[2]: "f" * 12}


@pytest.mark.slow
def test_what_is_released_stays_and_the_line_that_keeps_it_so_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (FOLDER / "tiny.yaml").read_text().replace("models: {engines: [{engine: emt}]}", "")
    study, path = parse(text, root=FOLDER, kind=CleaningStudy), tmp_path / "run"
    run(study, path)
    held = [item.id for item in Quarantine.read(next(path.rglob("quarantine.json"))).frames]
    with pytest.raises(InputError, match="no frame in quarantine with an id that begins with 'zzzz'"):
        release(path, ["zzzz"])
    capsys.readouterr()
    release(path, [held[0][:12]])
    said = capsys.readouterr().out
    assert f"release: [{held[0]}]" in said
    assert f"report  {path / 'cleaning.html'}" in said
    card = Card.read(path / "card.json")
    assert card.quarantined == len(held) - 1
    fetch(str(path), "data", tmp_path / "copy", None)
    assert f"{card.train} frames in deepmd/npy/mixed" in capsys.readouterr().out
    last = RunDirectory(path).iterations()[-1]
    assert isinstance(last, Cleaning)
    assert last.checked is not None
    assert (last.checked.released, last.checked.quarantined) == (1, len(held) - 1)
    list_frames(str(path), None, as_json=True)
    assert held[0] not in capsys.readouterr().out
    with pytest.raises(InputError, match="no frame in quarantine"):
        release(path, [held[0][:12]])
