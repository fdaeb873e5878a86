"""Trains in this process: a `dp` process of its own costs 6 to 8 s before it does anything."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np

from lamflow.config.seeds import child_seed
from lamflow.engines.deepmd.model import DeepmdModel
from lamflow.engines.deepmd.settings import DeepmdTraining
from lamflow.engines.process import describe_end, redirected
from lamflow.engines.protocol import Progress, TrainTask
from lamflow.errors import EngineError

CHECKPOINT, FROZEN, CURVE = "model.pt", "model.pth", "lcurve.out"


class DeepmdTrainer:
    """Trainer by DeePMD-kit."""

    def __init__(self, settings: DeepmdTraining) -> None:
        self.settings = settings

    def train(self, task: TrainTask, progress: Progress) -> int:
        """See Trainer. Leaves model.pt (checkpoint), model.pth (frozen), input.json, lcurve.out and train.log."""
        scratch, log = task.scratch, task.scratch / "train.log"
        spec = training_input(self.settings, task)
        steps = int(spec["training"]["numb_steps"])
        _prepare_scratch(scratch, spec)
        last = _last_checkpoint(scratch)
        arguments = [
            "train",
            str(scratch / "input.json"),
            "--skip-neighbor-stat",
            "-o",
            str(scratch / "out.json"),
        ]
        if last is not None:
            arguments += ["--restart", str(last)]
        elif task.previous is not None and self.settings.from_previous is not None:
            arguments += ["--init-model", str(task.previous / CHECKPOINT)]
        with _reporting(scratch / CURVE, steps, progress):
            _dp(arguments, log)
        _check_curve(scratch / CURVE)
        last = _last_checkpoint(scratch)
        if last is None:
            raise EngineError(f"the training in {scratch} left no checkpoint; {describe_end(log)}")
        task.output.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(last, task.output / CHECKPOINT)
        _dp(["freeze", "-c", str(last), "-o", str(task.output / FROZEN)], log)
        if self.settings.compress:
            self._compress(task.output, scratch, log)
        for name in ("input.json", CURVE, "train.log"):
            shutil.copyfile(scratch / name, task.output / name)
        return steps

    def _compress(self, output: Path, scratch: Path, log: Path) -> None:
        compressed = output / "compressed.pth"
        command = [
            "compress",
            "-i",
            str(output / FROZEN),
            "-o",
            str(compressed),
            "-t",
            str(scratch / "input.json"),
        ]
        _dp(command, log)
        compressed.replace(output / FROZEN)

    def load(self, folder: Path) -> DeepmdModel:
        """See Trainer."""
        return DeepmdModel(folder / CHECKPOINT, folder / FROZEN)


def training_input(settings: DeepmdTraining, task: TrainTask) -> dict[str, Any]:
    """DeePMD-kit's input for one model: the user's, with type map, data, seeds, steps and file names filled in."""
    spec = settings.merged_input()
    again = settings.from_previous if task.previous is not None else None
    steps = again.steps if again else settings.steps
    model, training = spec["model"], spec.setdefault("training", {})
    model["type_map"] = list(task.elements)
    for part in ("descriptor", "fitting_net"):
        if isinstance(model.get(part), dict):
            model[part]["seed"] = child_seed(task.seed, part)
    if again and again.start_lr is not None:
        spec["learning_rate"]["start_lr"] = again.start_lr
    if spec["learning_rate"].get("type", "exp") == "exp":
        spec["learning_rate"].setdefault("decay_steps", max(1, steps // 40))
    data = {
        "batch_size": "auto",
        **training.pop("data", {}),
        "systems": [str(system) for system in task.systems],
    }
    training.update(
        training_data=data,
        numb_steps=steps,
        seed=child_seed(task.seed, "training"),
        disp_file=str(task.scratch / CURVE),
        save_ckpt=str(task.scratch / "model.ckpt"),
        save_freq=min(settings.checkpoint_every, steps),
        max_ckpt_keep=2,
    )
    training.setdefault("disp_freq", max(1, steps // 50))
    training.pop("validation_data", None)
    return spec


def _prepare_scratch(scratch: Path, spec: dict[str, Any]) -> None:
    """Keep what an interrupted training of the very same input left; throw away anything else."""
    written = scratch / "input.json"
    text = json.dumps(spec, indent=1, sort_keys=True)
    if not (written.is_file() and written.read_text() == text):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        written.write_text(text)


def _last_checkpoint(scratch: Path) -> Path | None:
    """The newest checkpoint that was written whole."""
    found = sorted(
        (path for path in scratch.glob("model.ckpt-*.pt") if not path.is_symlink()),
        key=lambda path: int(path.stem.rsplit("-", 1)[1]),
    )
    return next((path for path in reversed(found) if _is_whole(path)), None)


def _is_whole(path: Path) -> bool:
    import zipfile

    return zipfile.is_zipfile(path)


def _dp(arguments: list[str], log: Path) -> None:
    """Run a subcommand of `dp --pt` in this process, its output in `log`. Raises EngineError."""
    try:
        from deepmd.main import main
    except ImportError as error:
        raise EngineError(f'DeePMD-kit does not work here ({error}); pip install "lamflow[deepmd]"') from error
    with redirected(log):
        try:
            main(["--pt", *arguments])
        except SystemExit as error:
            if error.code not in (0, None):
                raise EngineError(f"dp --pt {arguments[0]} exited with {error.code}; {describe_end(log)}") from error
        except MemoryError:
            raise
        except Exception as error:
            text = f"dp --pt {arguments[0]} failed: {type(error).__name__}: {error}"
            raise EngineError(f"{text}; {describe_end(log)}") from error


def _check_curve(curve: Path) -> None:
    """Raise EngineError when the last line of the learning curve is not finite."""
    rows = [line for line in curve.read_text().splitlines() if line and not line.startswith("#")]
    values = np.array([float(word) for word in rows[-1].split()]) if rows else np.array([np.nan])
    if not np.isfinite(values).all():
        raise EngineError(f"the loss is not finite; the last lines of {curve}:\n" + "\n".join(rows[-5:]))


class _reporting:  # noqa: N801  used as a `with` statement
    """Reports the training's progress from its learning curve, once a second."""

    def __init__(self, curve: Path, steps: int, progress: Progress) -> None:
        self.curve, self.steps, self.progress = curve, steps, progress
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self.done.wait(1.0):
            self.progress(min(1.0, _last_step(self.curve) / self.steps))

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()


def _last_step(curve: Path) -> int:
    try:
        with curve.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - 500))
            lines = stream.read().decode(errors="replace").splitlines()
        return int(float(lines[-1].split()[0])) if lines and not lines[-1].startswith("#") else 0
    except (OSError, ValueError, IndexError):
        return 0
