"""The workflows themselves, with fewer steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow.config import load, parse
from lamflow.config.schema import DataStudy, TrainingStudy
from lamflow.driver.inspection import check_inputs
from lamflow.driver.loop import run
from lamflow.driver.plan import plan
from lamflow.driver.rundir import RunDirectory
from lamflow.reports.moments import moment_rows
from tests.conftest import ROOT, examples, require_pseudopotentials

DPGEN = ROOT / "workflows" / "dpgen"


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize("file", examples(), ids=lambda file: file.stem)
def test_every_workflow_loads_and_names_its_schema(file: Path) -> None:
    require_pseudopotentials(file)
    load(file, DataStudy)
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=../../lamflow.schema.json"


@pytest.mark.deepmd
@pytest.mark.parametrize("file", examples(), ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_workflow_is_good_and_can_be_planned(file: Path) -> None:
    require_pseudopotentials(file)
    config = load(file, DataStudy)
    warnings = check_inputs(config)
    said = ("not fetched yet", "is relaxed by lbfgs", "label pods must have it")
    assert all(any(words in warning for words in said) for warning in warnings)
    made = plan(config)
    assert made.stages
    assert made.labels >= made.start_labels
    assert made.start_labels > 0 or not isinstance(config, TrainingStudy)


@pytest.mark.deepmd
@pytest.mark.slow
def test_the_quickstart_learns(tmp_path: Path) -> None:
    """Real trainings, real LAMMPS, real labels; the demo with fewer steps and two models."""
    text = replaced(
        (DPGEN / "quickstart.yaml").read_text(),
        ("models: 4", "models: 2"),
        ("steps: 800", "steps: 200"),
        ("steps: 700, start_lr: 0.003}", "steps: 200, start_lr: 0.003}"),
        ("steps: 500", "steps: 100"),
        ("steps: 200, timestep", "steps: 40, timestep"),
        ("low: 0.15", "low: 0.05"),
        ("heldout_force_rmse: 0.06", "heldout_force_rmse: 0.01"),
        ("iterations: 6", "iterations: 2"),
    )
    run(parse(text, root=DPGEN), tmp_path / "run")
    iterations = RunDirectory(tmp_path / "run").iterations()
    assert len(iterations) == 3
    first, second = iterations[1], iterations[2]
    assert first.force_rmse is not None
    assert second.force_rmse is not None
    assert second.force_rmse < first.force_rmse
    assert {task.name.split()[2] for task in first.simulations} == {"lammps", "ase"}
    assert all(task.failed is None for task in first.simulations)
    assert first.labels > 24


@pytest.mark.deepmd
@pytest.mark.qe
@pytest.mark.slow
def test_silicon_is_labeled_by_quantum_espresso(tmp_path: Path) -> None:
    text = replaced(
        (DPGEN / "dft.yaml").read_text(),
        ("models: 4", "models: 2"),
        ("copies: 24", "copies: 8"),
        ("copies: 12", "copies: 4"),
        ("steps: 2000", "steps: 200"),
        ("starts: 2", "starts: 1"),
        ("steps: 1000\n", "steps: 60\n"),
        ("every: 20", "every: 10"),
        ("low: 0.15, high: 1.0", "low: 0.001, high: 5.0"),
        ("limit: 24", "limit: 4"),
        ("ecutwfc: 20", "ecutwfc: 12"),
        ("kspacing: 0.5", "kspacing: 1.1"),
        ("iterations: 8, labels: 200", "iterations: 2, labels: 200"),
    )
    run(parse(text, root=DPGEN), tmp_path / "run")
    start, first, second = RunDirectory(tmp_path / "run").iterations()
    assert start.merged is not None
    assert (start.merged.added, start.merged.heldout) == (8, 4)
    assert first.merged is not None
    assert first.merged.added == 4
    assert second.models[0].training_frames == 12
    outputs = list((tmp_path / "run" / "work" / "scratch").rglob("pw.out"))
    assert len(outputs) == 16


@pytest.mark.slow
def test_magnetic_iron_learns(tmp_path: Path) -> None:
    """Magnetic forces of held-out magnets are learnt to a tenth of their size from what exploration has found."""
    folder = ROOT / "workflows" / "spin"
    text = replaced(
        (folder / "tiny.yaml").read_text(encoding="utf-8"), ("models: 4", "models: 2"), ("steps: 60", "steps: 30")
    )
    run(parse(text, root=folder), tmp_path / "run")
    iterations = RunDirectory(tmp_path / "run").iterations()
    first, last = iterations[1], iterations[-1]
    assert first.merged is not None
    assert first.merged.labels > 0
    for model in last.models:
        assert model.errors is not None
        assert model.errors.magnetic_force_rmse is not None
        assert model.errors.magnetic_force_size is not None
        assert model.errors.magnetic_force_rmse < 0.1 * model.errors.magnetic_force_size
    assert first.magnetic_force_rmse is not None
    assert last.magnetic_force_rmse is not None
    assert last.magnetic_force_rmse < 0.5 * first.magnetic_force_rmse


@pytest.mark.slow
def test_moments_beyond_those_trained_on_are_told(tmp_path: Path) -> None:
    """Models that know moments along one line meet others: held out, explored and chosen to be labeled."""
    folder = ROOT / "workflows" / "spin"
    text = replaced(
        (folder / "tiny.yaml").read_text(encoding="utf-8"), ("models: 4", "models: 2"), ("steps: 60", "steps: 20"),
        ("tilt: 5, spread: 0.03", "tilt: 0, spread: 0.03"), ("iterations: 5", "iterations: 2"),
        ("{accurate: 0.9, heldout_magnetic_force_rmse: 0.02}", "{accurate: 0.9, heldout_magnetic_force_rmse: 1e-6}"),
    )  # fmt: skip
    run(parse(text, root=folder), tmp_path / "run")
    _, first, second, *_ = RunDirectory(tmp_path / "run").iterations()
    known, then = first.models[0].moments, second.models[0].moments
    assert known is not None
    assert then is not None
    assert known.collinear
    assert known.heldout == first.heldout_frames
    assert all(0 < result.beyond <= result.frames for result in first.simulations if result.frames)
    assert first.selected is not None
    assert first.selected.chosen
    assert all(item.beyond for item in first.selected.chosen)
    assert not then.collinear
    assert then.heldout == 0
    assert not any(result.beyond for result in second.simulations)
    rows = moment_rows([first, second])
    assert [row[1] for row in rows] == ["collinear moments", "noncollinear moments"]
    assert int(rows[0][5]) == len(first.selected.chosen)
