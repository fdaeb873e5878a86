"""lamflow from Python, on a run of the smallest study."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

import lamflow
from lamflow.errors import InputError, StateError
from tests.conftest import STUDY


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one iteration that has ended."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "tiny.yaml").write_text(STUDY.replace("iterations: 2", "iterations: 1"))
    lamflow.Study.load(folder / "tiny.yaml").run(folder / "run")
    return folder / "run"


def test_public_names() -> None:
    assert dir(lamflow) == ["Run", "Study", "__version__"]
    with pytest.raises(AttributeError):
        lamflow.load  # noqa: B018  it is gone


def test_a_study_checks_and_plans(study: Path) -> None:
    loaded = lamflow.Study.load(study)
    assert loaded.check() == []
    assert loaded.plan().labels == 10 + 6
    assert loaded.folder == Path("runs/tiny")


def test_load_names_every_problem(study: Path) -> None:
    study.write_text(
        study.read_text(encoding="utf-8").replace("seed: 3", "sede: 3").replace("label: {engine", "lable: {engine"),
        encoding="utf-8",
    )
    with pytest.raises(InputError, match=r"(?s)did you mean 'seed'.*did you mean 'label'"):
        lamflow.Study.load(study)


def test_status_and_records(finished: Path) -> None:
    run = lamflow.Run.open(finished)
    status = run.status
    assert (status.name, status.workflow, status.state) == ("tiny", "learning", "ended")
    assert "budget of 1 iterations" in status.message
    assert (status.rounds, status.process, status.failures) == (2, None, [])
    assert [record.number for record in run.records] == [0, 1]
    assert status.labels == run.records[-1].labels


def test_iterations_are_a_table(finished: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is missing: pip install pandas")
    run = lamflow.Run.open(str(finished))
    table = run.iterations
    assert list(table.index) == [0, 1]
    assert table.loc[1, "force_rmse"] == pytest.approx(run.records[1].force_rmse)
    assert table.loc[1, "explored"] == run.records[1].selected.frames  # type: ignore[union-attr]
    assert table.loc[1, "models"] == 3


def test_a_table_needs_pandas(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pip install pandas"):
        _ = lamflow.Run.open(finished).iterations


def test_frames_are_atoms_with_labels(finished: Path) -> None:
    run = lamflow.Run.open(finished)
    train, heldout = run.frames("train"), run.frames("heldout")
    assert len(train) == run.records[-1].training_frames
    assert len(heldout) == run.records[-1].heldout_frames
    atoms = train[0]
    assert isinstance(atoms, Atoms)
    from ase.calculators.emt import EMT

    again = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True, calculator=EMT())
    assert atoms.get_potential_energy() == pytest.approx(again.get_potential_energy(), abs=1e-6)
    np.testing.assert_allclose(atoms.get_forces(), again.get_forces(), atol=1e-6)
    np.testing.assert_allclose(atoms.get_stress(), again.get_stress(), atol=1e-6)
    with pytest.raises(InputError, match="'train' or 'heldout'"):
        run.frames("test")  # type: ignore[arg-type]


def test_the_story_of_a_frame(finished: Path) -> None:
    run = lamflow.Run.open(finished)
    lines = run.why(run.frames()[0].info["hash"])
    assert lines[0].startswith(f"frame     {run.frames()[0].info['hash']}")
    assert any(line.startswith("labels    by emt") for line in lines)
    with pytest.raises(InputError, match="no frame of this run's data"):
        run.why("")


def test_models_and_report(finished: Path, tmp_path: Path) -> None:
    run = lamflow.Run.open(finished)
    assert [folder.name for folder in run.model_folders] == ["0", "1", "2"]
    assert run.best_folders == run.model_folders
    assert len(run.models) == 3
    assert run.report(tmp_path) == tmp_path / "report.html"


def test_a_run_that_ended_has_nothing_to_stop_and_goes_on(finished: Path) -> None:
    run = lamflow.Run.open(finished)
    with pytest.raises(StateError, match="nothing drives this run"):
        run.stop()
    records = run.records
    assert run.resume().records == records


def test_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="there is no run here"):
        lamflow.Run.open(tmp_path)
