"""What asks for CUDA: training, several GPUs, systems that move together. `make gpu` runs it where there is a device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamflow.engines.deepmd.model import DeepmdModel
from lamflow.engines.deepmd.settings import DeepmdTraining
from lamflow.engines.deepmd.trainer import DeepmdTrainer
from lamflow.errors import EngineError
from tests.lam import DPA1, data, labeled, metal, model_input, training
from tests.real_models import real_dpa4

pytestmark = pytest.mark.deepmd
SCRATCH = {"engine": "deepmd", "models": 1, "steps": 100, "input": model_input(DPA1)}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DeePMD-kit leaves files in the current directory."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def devices() -> int:
    """CUDA devices that torch can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


@pytest.fixture
def gpus() -> int:
    """The test is skipped where there are none."""
    found = devices()
    if not found:
        pytest.skip("torch finds no CUDA device here")
    return found


def test_gpus_that_torch_cannot_use_are_said_before_anything_runs(tmp_path: Path) -> None:
    if devices():
        pytest.skip("torch can use the GPUs here")
    job = training(tmp_path, "model", data(tmp_path / "cu", labeled(metal("Cu", 2, 1))), gpus=1)
    with pytest.raises(EngineError, match=r"1 GPU\(s\) are there for this training, and torch .* cannot use any"):
        DeepmdTrainer(DeepmdTraining.model_validate(SCRATCH)).train(job, lambda _: None)
    assert not job.scratch.exists()


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_training_on_gpus(gpus: int, count: int, tmp_path: Path) -> None:
    if gpus < count:
        pytest.skip(f"{count} GPUs are needed, {gpus} is here")
    job = training(tmp_path, "model", data(tmp_path / "cu", labeled(metal("Cu", 8, 1))), gpus=count)
    trainer = DeepmdTrainer(DeepmdTraining.model_validate(SCRATCH))
    assert trainer.train(job, lambda _: None) == 100
    assert np.isfinite(trainer.load(job.output).evaluate(metal("Cu", 1, 2))[0].energy)


@pytest.mark.gpu
@pytest.mark.slow
def test_systems_that_move_together_on_a_gpu(gpus: int, tmp_path: Path) -> None:
    job = training(tmp_path, "model", data(tmp_path / "cu", labeled(metal("Cu", 8, 1))), gpus=1)
    trainer = DeepmdTrainer(DeepmdTraining.model_validate(SCRATCH))
    trainer.train(job, lambda _: None)
    model, frames = trainer.load(job.output), metal("Cu", 64, 3)
    session = model.open_session(frames, [])
    assert session is not None
    cells, positions = np.stack([f.cell for f in frames]), np.stack([f.positions for f in frames])
    _, forces, _ = session.evaluate(positions, cells, np.arange(len(frames)))
    np.testing.assert_allclose(forces[0], [labels.forces for labels in model.evaluate(frames)], atol=1e-4)


@pytest.mark.gpu
@pytest.mark.slow
def test_fine_tuning_a_real_dpa4_on_a_gpu(gpus: int, tmp_path: Path) -> None:
    job = training(tmp_path, "model", data(tmp_path / "cu", labeled(metal("Cu", 6, 1))), gpus=1)
    settings = DeepmdTraining.model_validate({
        "engine": "deepmd", "models": 1, "steps": 20, "pretrained": {"file": real_dpa4()},
        "phases": [{"start_from": "finetune"}], "input": {"training": {"data": {"batch_size": 1}}},
    })  # fmt: skip
    assert DeepmdTrainer(settings).train(job, lambda _: None) == 20
    assert np.isfinite(DeepmdModel(job.output / "model.pt").evaluate(metal("Cu", 1, 2))[0].energy)
