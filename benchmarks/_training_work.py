"""One training in a process of its own: _training_work.py dp|lamflow FOLDER STEPS. Prints the hash of its weights."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from lamflow.data.dataset import Item, Origin, systems, write_dataset
from lamflow.data.frames import LabeledFrame
from lamflow.data.io import read_labeled
from lamflow.data.spent import spending, take
from lamflow.engines.deepmd.input import training_input
from lamflow.engines.deepmd.settings import DeepmdTraining
from lamflow.engines.protocol import TrainingJob
from lamflow.engines.registry import trainer

FRAMES = Path(__file__).parent.parent / "workflows" / "dpgen" / "cu-heldout.extxyz"
SETTINGS = {
    "engine": "deepmd",
    "input": {
        "model": {
            "descriptor": {"type": "se_e2_a", "sel": [60], "rcut": 4.8, "rcut_smth": 0.5, "neuron": [8, 16],
                           "axis_neuron": 4, "precision": "float32"},
            "fitting_net": {"neuron": [32, 32], "resnet_dt": True, "precision": "float32"},
        },
        "learning_rate": {"type": "exp", "start_lr": 0.005, "stop_lr": 0.0001},
        "training": {"data": {"batch_size": 1}},
    },
}  # fmt: skip
"""The models of the quickstart."""


def main(way: str, folder: Path, steps: int) -> None:
    """Train on the quickstart's held-out frames and freeze: as `dp` does it, or as a job of lamflow does."""
    data = folder / "data"
    items = [Item(labeled, Origin(iteration=0, source="bench")) for labeled in _frames()]
    write_dataset(data, items, ["Cu"], "deepmd/npy")
    settings = DeepmdTraining.model_validate({**SETTINGS, "steps": steps})
    job = TrainingJob(
        systems=tuple(systems(data)), elements=("Cu",), seed=1, previous=None, output=folder / "model",
        scratch=folder / "scratch", iteration=1,
    )  # fmt: skip
    if way == "dp":
        job.scratch.mkdir()
        script = job.scratch / "input.json"
        script.write_text(json.dumps(training_input(settings, job)), encoding="utf-8")
        from deepmd.main import main as dp

        take()
        with spending("physics"):
            dp(["--pt", "train", str(script), "--skip-neighbor-stat", "-o", str(job.scratch / "out.json")])
            last = str(job.scratch / f"model.ckpt-{steps}.pt")
            dp(["--pt", "freeze", "-c", last, "-o", str(job.scratch / "model.pth")])
    else:
        take()
        trainer(settings).train(job, lambda _: None)
    print(json.dumps({"weights": _weights(job.scratch / f"model.ckpt-{steps}.pt"), **take().model_dump()}))


def _frames() -> list[LabeledFrame]:
    return list(read_labeled(FRAMES))


def _weights(checkpoint: Path) -> str:
    """Hash of all parameters."""
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(torch.load(checkpoint, map_location="cpu", weights_only=True)["model"].items()):
        if isinstance(value, torch.Tensor):
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
