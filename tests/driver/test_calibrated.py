"""A run whose window is calibrated by its own labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamflow.config import load
from lamflow.config.learning import Config
from lamflow.data.dataset import read_dataset
from lamflow.data.results import Labeled
from lamflow.driver.loop import run
from lamflow.driver.plan import plan
from lamflow.driver.rundir import RunDirectory
from lamflow.ops.committees import Committees
from lamflow.reports.html import write_report
from lamflow.reports.source import read_source
from tests.conftest import STUDY

pytestmark = pytest.mark.slow


def test_a_run_states_its_risk_and_the_report_shows_what_was_found(tmp_path: Path) -> None:
    text = STUDY.replace("rule: fixed, low: 0.001, high: 2.0", "rule: calibrated, error: 0.1, risk: 0.1")
    text = text.replace("limit: 6", "limit: 10").replace("iterations: 2", "iterations: 3")
    (tmp_path / "calibrated.yaml").write_text(text, encoding="utf-8")
    run(load(tmp_path / "calibrated.yaml"), tmp_path / "run")
    iterations = RunDirectory(tmp_path / "run").iterations()
    states = [item.selected.calibration for item in iterations if item.selected]
    assert [state.basis for state in states if state] == ["nothing", "labels", "labels"][: len(states)]
    second = iterations[2]
    assert second.selected is not None
    assert second.selected.decision == "label" or second.selected.converged
    if second.selected.decision == "label":
        assert second.risk_checks["labels"].frames == len(second.calibration) == 10
    write_report(read_source(tmp_path / "run"), tmp_path / "report")
    assert "Stated and found risk" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


def test_channels_of_a_calibrated_window_are_held_against_their_labels(tmp_path: Path) -> None:
    text = STUDY.replace("rule: fixed, low: 0.001, high: 2.0", "rule: calibrated, error: 0.1, risk: 0.1")
    text = text.replace("limit: 6", "limit: 10\n  channels: [{metric: virial_max, error: 0.02}]")
    (tmp_path / "channels.yaml").write_text(text.replace("iterations: 2", "iterations: 3"), encoding="utf-8")
    study = load(tmp_path / "channels.yaml")
    assert isinstance(study, Config)
    run(study, tmp_path / "run")
    first, second = RunDirectory(tmp_path / "run").iterations()[1:3]
    assert first.selected is not None
    assert second.selected is not None
    assert first.selected.decision == "label"
    points = first.calibration
    assert [set(point.scores) for point in points] == [{"force_max", "virial_max"}] * 10
    assert [set(point.errors) for point in points] == [{"force_max", "virial_max"}] * 10

    models = Committees(study, tmp_path / "run" / "iterations" / "001" / "models").committee("")
    file = tmp_path / "run" / "iterations" / "001" / "labeled" / "0" / "data"
    by_hash = {item.hash: item.labeled for item in read_dataset(file)}
    outcomes = Labeled.read(file.parent / "labeled.json").outcomes
    outcome = outcomes[0]
    labeled = by_hash[outcome.hash]
    predicted = np.array([model.evaluate([labeled.frame])[0].virial for model in models])
    off = np.abs(predicted.mean(axis=0) - labeled.labels.virial).max() / labeled.frame.natoms
    assert outcome.errors["virial_max"] == pytest.approx(off, rel=1e-6)
    assert outcome.origin.scores["virial_max"] == pytest.approx(predicted.std(axis=0).max() / labeled.frame.natoms)

    state = second.selected.calibration
    assert state is not None
    assert state.basis == "labels"
    assert set(state.channels) == {"force_max", "virial_max"}
    assert "or 0.02 eV/atom (virial_max)" in second.selected.reason
    write_report(read_source(tmp_path / "run"), tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert ("labels: virial_max" in page) == (second.selected.decision == "label")


def test_a_run_ends_before_it_spends_more_than_it_has(tmp_path: Path) -> None:
    text = STUDY.replace("budget: {iterations: 2}", "budget: {iterations: 2, core_hours: 1.0e-6}")
    (tmp_path / "poor.yaml").write_text(text, encoding="utf-8")
    study = load(tmp_path / "poor.yaml")
    record = run(study, tmp_path / "run")
    assert record.state == "ended"
    assert "the budget of 1e-06 core-hours pays no further label" in record.message
    iterations = RunDirectory(tmp_path / "run").iterations()
    assert [set(item.costs) for item in iterations] == [{"label"}, {"train", "explore"}]
    assert len(iterations[0].label_costs) == iterations[0].labels == 10
    assert iterations[0].label_noise == pytest.approx(0, abs=1e-9)
    planned = plan(study, iterations)
    assert planned.costs["label"].measured
    assert planned.costs["train"].low < planned.costs["train"].core_hours < planned.costs["train"].high
    write_report(read_source(tmp_path / "run"), tmp_path / "report")
    assert "<h2>What it cost</h2>" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
