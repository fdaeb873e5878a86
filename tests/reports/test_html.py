from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lamflow.config import load
from lamflow.driver.loop import run
from lamflow.reports.figures import figures
from lamflow.reports.html import write_report
from lamflow.reports.source import read_source
from lamflow.reports.tables import COLUMNS, iteration_row, run_sentence
from tests.conftest import STUDY


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "tiny.yaml").write_text(STUDY)
    run(load(folder / "tiny.yaml"), folder / "run")
    return folder / "run"


def test_the_page_stands_alone(finished: Path, tmp_path: Path) -> None:
    page = write_report(read_source(finished), tmp_path).read_text()
    assert "<script" not in page
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(addresses) == 7
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    for words in (
        "Learning curve",
        "Parity",
        "What the window looks at",
        "Does the window mean anything?",
        "Models",
        "Selected structures",
        "Wall time",
        "Frames that were left out",
    ):
        assert words in page


def test_the_numbers_are_those_of_the_run(finished: Path, tmp_path: Path) -> None:
    source = read_source(finished)
    write_report(source, tmp_path)
    numbers = json.loads((tmp_path / "report.json").read_text())
    for told, iteration in zip(numbers["iterations"], source.iterations, strict=True):
        assert told["force_rmse"] == iteration.force_rmse
        assert told["labels"] == iteration.labels


def test_figures_are_pictures(finished: Path) -> None:
    for name, png in figures(read_source(finished)).items():
        assert png.startswith(b"\x89PNG"), name
        assert len(png) > 5_000, name


def test_what_a_committee_says_of_heldout_frames_is_drawn(finished: Path) -> None:
    source = read_source(finished)
    last = source.iterations[-1].models[0].errors
    assert last is not None
    assert source.committee.shape == (last.frames, 2)
    assert (source.committee > 0).all()
    assert "committee" not in figures(source), "too few frames to say anything"
    more = replace(source, committee=np.tile(source.committee, (4, 1)) * np.linspace(1, 2, 4 * last.frames)[:, None])
    assert figures(more)["committee"].startswith(b"\x89PNG")


def test_a_run_that_has_only_begun_has_a_report(finished: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(finished, tmp_path / "run")
    for number in ("001", "002"):
        (tmp_path / "run" / "iterations" / number / "result.json").unlink()
    page = write_report(read_source(tmp_path / "run"), tmp_path).read_text()
    assert "Iterations" in page


def test_the_table_has_a_cell_for_every_column(finished: Path) -> None:
    assert {len(iteration_row(iteration)) for iteration in read_source(finished).iterations} == {len(COLUMNS)}


def test_how_far_a_run_is_is_one_sentence(finished: Path) -> None:
    iterations = read_source(finished).iterations
    assert run_sentence([]) == "Nothing has finished yet."
    said = run_sentence(iterations)
    assert said.startswith(f"Iteration {iterations[-1].number} (warm) has finished; held-out force RMSE 0.0")
    assert said.endswith(f"labels · {iterations[-1].ended}.")
