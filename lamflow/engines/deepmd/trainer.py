"""Trains in this process, for a `dp` process of its own costs 6 to 8 s to start; with several GPUs by torchrun."""

from __future__ import annotations

import _thread
import json
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lamflow.config.pretrained import RANDOM
from lamflow.config.section import expand
from lamflow.config.seeds import child_seed
from lamflow.data.curves import Curve, write_curve
from lamflow.data.files import file_hash
from lamflow.data.layout import CHECKPOINTS, CURVE
from lamflow.data.spent import move, spending
from lamflow.engines import process
from lamflow.engines.deepmd import light
from lamflow.engines.deepmd.card import COMPILED, FROZEN, branches, is_dpa4, read_definition
from lamflow.engines.deepmd.curve import LCURVE, last_lines, learning_curve, problem, read_lcurve
from lamflow.engines.deepmd.heads import extract_head
from lamflow.engines.deepmd.input import MODEL, Beginning, beginning, training_input
from lamflow.engines.deepmd.model import DeepmdModel
from lamflow.engines.deepmd.neighbours import asks_for_statistics
from lamflow.engines.deepmd.settings import DeepmdTraining
from lamflow.engines.deepmd.spin import with_copies
from lamflow.engines.process import describe_end, redirected
from lamflow.engines.protocol import Evaluator, Progress, TrainingJob
from lamflow.errors import EngineError

FILES = "files"
"""Folder beside a model with the files that it needs."""


class DeepmdTrainer:
    """Trainer by DeePMD-kit."""

    def __init__(self, settings: DeepmdTraining) -> None:
        self.settings = settings

    @spending("startup")
    def train(self, job: TrainingJob, progress: Progress) -> int:
        """See Trainer. Leaves model.pt (checkpoint), model.pth (frozen), input.json, two learning curves and train.log.

        A frozen model has one head: where there are several, model.HEAD.pth is one that explores.
        """
        start = beginning(self.settings, job)
        if start.how == "as_is":
            return self._take_as_it_is(job, start)
        job = self._with_copies(job)
        _check_gpus(job.gpus)
        scratch, log = job.scratch, job.scratch / "train.log"
        spec = training_input(self.settings, job, start)
        steps = int(spec["training"]["numb_steps"])
        _prepare_scratch(scratch, spec, start)
        _train(_arguments(scratch, start), job, steps, progress)
        whole = _checkpoints(scratch)
        if not whole:
            raise EngineError(f"the training in {scratch} left no checkpoint; {describe_end(log)}")
        job.output.mkdir(parents=True, exist_ok=True)
        if self.settings.checkpoint == "best" and start.how == "finetune" and _is_taken_whole(job, start):
            whole[0] = scratch / "before.pt"
            _take(start, job, whole[0], log, shift=True)
        chosen = max(whole) if self.settings.checkpoint == "last" else _best(whole, job)
        for file in self.settings.files:
            (job.output / FILES).mkdir(exist_ok=True)
            shutil.copyfile(expand(file), job.output / FILES / file.name)
        shutil.copyfile(whole[chosen], job.output / MODEL)
        self._freeze(job, log)
        for name in ("input.json", CURVE, LCURVE, "train.log"):
            shutil.copyfile(scratch / name, job.output / name)
        return steps if chosen == max(whole) else chosen

    def _with_copies(self, job: TrainingJob) -> TrainingJob:
        """The job with data that say which turned spins are the same."""
        if self.settings.spin is None:
            return job
        folder = job.scratch.with_name(f"{job.scratch.name}-spins")
        copies = with_copies(job.systems, folder, self.settings.spin, child_seed(job.seed, "spins"))
        return replace(job, systems=tuple(copies.values()), new=tuple(copies[system] for system in job.new))

    def load(self, folder: Path, head: str = "") -> DeepmdModel:
        """See Trainer."""
        frozen, beside = folder / _frozen_name(head), sorted((folder / FILES).glob("*"))
        if not frozen.is_file():
            frozen = folder / _frozen_name(head, COMPILED)
        heated = self.settings.electronic_temperature
        if beside:  # the checkpoint would look for them where it was trained; a frozen model has them in it
            return DeepmdModel(frozen, frozen, None, uses_electronic_temperature=heated, beside=beside)
        return DeepmdModel(folder / MODEL, frozen, head or None, uses_electronic_temperature=heated)

    def pretrained(self, job: TrainingJob) -> dict[str, Evaluator]:
        """See Trainer. A head that is new has nothing to be judged by."""
        start = beginning(self.settings, job)
        if start.path is None or start.path.is_relative_to(job.previous or job.output):
            return {}
        if not job.heads:
            return {} if start.head == "RANDOM" else {"": DeepmdModel(start.path, head=start.head)}
        several = start.branches.keys() != {""}
        heads = {part.name: start.spelled(part.head or part.name) for part in job.heads if part.head != "RANDOM"}
        return {name: DeepmdModel(start.path, head=head if several else None) for name, head in heads.items()}

    def _take_as_it_is(self, job: TrainingJob, start: Beginning) -> int:
        """The pre-trained model itself, its energies shifted to the data if that is wanted."""
        if job.heads:
            raise EngineError(
                "as_is: a pre-trained model has none of the heads of this study; fine-tune it, or leave heads out"
            )
        job.output.mkdir(parents=True, exist_ok=True)
        job.scratch.mkdir(parents=True, exist_ok=True)
        log, phase = job.scratch / "train.log", self.settings.phase(job.iteration, job.index)
        if start.path is not None and start.path.suffix == FROZEN:
            raise EngineError(f"{start.path}: a frozen model cannot be taken as it is; give the checkpoint (.pt)")
        _take(start, job, job.output / MODEL, log, shift=phase.shift_energies)
        self._freeze(job, log)
        return 0

    def _freeze(self, job: TrainingJob, log: Path) -> None:
        """The model as LAMMPS wants it: one file a head that it may be asked for.

        DPA-4 is compiled for it, which takes minutes, so only where LAMMPS explores.
        """
        compiled = is_dpa4(next(iter(branches(read_definition(job.output / MODEL)).values())))
        if compiled and self.settings.compresses(job.index):
            raise EngineError("train.compress: DPA-4 models cannot be compressed; leave it out")
        if compiled and not job.for_lammps:
            return
        for head in [part.name for part in job.heads if part.export] if job.heads else [""]:
            frozen = job.output / _frozen_name(head, COMPILED if compiled else FROZEN)
            _dp(["freeze", "-c", str(job.output / MODEL), "-o", str(frozen), *(["--head", head] if head else [])], log)
            if self.settings.compresses(job.index):
                compressed = job.output / f"compressed{FROZEN}"
                script = _compression_input(job, head)
                _dp(["compress", "-i", str(frozen), "-o", str(compressed), "-t", str(script)], log)
                compressed.replace(frozen)


def _is_taken_whole(job: TrainingJob, start: Beginning) -> bool:
    """What fine-tuning begins with is a model of all that it trains, and can be one itself."""
    return not job.heads and start.path is not None and start.path.suffix != FROZEN and start.head != RANDOM


def _take(start: Beginning, job: TrainingJob, target: Path, log: Path, *, shift: bool) -> None:
    """Write the head that a training begins with, its energies shifted to the job's data if that is wanted."""
    assert start.path is not None  # noqa: S101  callers have looked
    extract_head(start.path, start.head, target)
    if shift:
        listed, shifted = job.scratch / "systems.txt", job.scratch / "shifted.pt"
        listed.write_text("\n".join(map(str, job.systems)), encoding="utf-8")
        _dp(["change-bias", str(target), "-f", str(listed), "-o", str(shifted)], log)
        shutil.copyfile(shifted, target)


def _check_gpus(gpus: int) -> None:
    """Raise EngineError where GPUs are to be used and torch cannot."""
    import torch

    if gpus and not torch.cuda.is_available():
        why = "it was built without CUDA" if torch.version.cuda is None else "it finds no device or driver"
        raise EngineError(
            f"{gpus} GPU(s) are there for this training, and torch {torch.__version__} cannot use any: {why}. Install "
            "a torch for CUDA (pip install torch, or the image deepmd-cuda), or set pods.train.gpus: 0"
        )


def _compression_input(job: TrainingJob, head: str) -> Path:
    """Compression looks up the shortest distance in the data of the head, by an input with one head."""
    systems = next((part.systems for part in job.heads if part.name == head), job.systems)
    model = branches(read_definition(job.output / MODEL))[head]
    data = {"systems": [str(system) for system in systems], "batch_size": 1}
    path = job.scratch / "compress.json"
    path.write_text(
        json.dumps({"model": model, "training": {"training_data": data, "numb_steps": 1}}), encoding="utf-8"
    )
    return path


def _frozen_name(head: str, suffix: str = FROZEN) -> str:
    return f"model.{head}{suffix}" if head else f"model{suffix}"


def _arguments(scratch: Path, start: Beginning) -> list[str]:
    """What follows `dp --pt`."""
    spec = json.loads((scratch / "input.json").read_text(encoding="utf-8"))
    statistics = [] if asks_for_statistics(spec) else ["--skip-neighbor-stat"]
    given = ["train", str(scratch / "input.json"), *statistics, "-o", str(scratch / "out.json")]
    last = _last_checkpoint(scratch)
    if last is not None:
        return [*given, "--restart", str(last)]
    if start.path is None:
        return given
    if start.how == "finetune":
        branch = ["--model-branch", start.head] if start.head is not None else []
        return [*given, "--finetune", str(start.path), *branch]
    if start.path.suffix == FROZEN:
        return [*given, "--init-frz-model", str(start.path)]
    alone = scratch / "start.pt"
    extract_head(start.path, start.head, alone)
    return [*given, "--init-model", str(alone)]


def _prepare_scratch(scratch: Path, spec: dict[str, Any], start: Beginning) -> None:
    """Keep what an interrupted training of the very same input and start left; throw away anything else."""
    begun = f"{start.how} {start.head} {file_hash(start.path) if start.path else ''}"
    texts = {"start.txt": begun, "input.json": json.dumps(spec, indent=1, sort_keys=True)}
    if any(
        not (scratch / name).is_file() or (scratch / name).read_text(encoding="utf-8") != text
        for name, text in texts.items()
    ):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        for name, text in texts.items():
            (scratch / name).write_text(text, encoding="utf-8")
    if _last_checkpoint(scratch) is None:  # it begins at step 1, and its curve with it
        (scratch / LCURVE).unlink(missing_ok=True)


def _checkpoints(scratch: Path) -> dict[int, Path]:
    """Checkpoints that were written whole, by step."""
    found = [path for path in scratch.glob("model.ckpt-*.pt") if not path.is_symlink() and _is_whole(path)]
    return {int(path.stem.rsplit("-", 1)[1]): path for path in found}


def _last_checkpoint(scratch: Path) -> Path | None:
    """The newest checkpoint that was written whole."""
    whole = _checkpoints(scratch)
    return whole[max(whole)] if whole else None


@spending("judging")
def _best(checkpoints: Mapping[int, Path], job: TrainingJob) -> int:
    """The step of the checkpoint with the smallest held-out errors, in the geometric mean; all go into a file."""
    if job.score is None:
        raise EngineError("train.checkpoint: there are no held-out data to choose the best one by")
    heads = [part.name for part in job.heads] or [""]
    rows = []
    for step, path in sorted(checkpoints.items()):
        rmse = job.score({head: DeepmdModel(path, head=head or None) for head in heads})
        mean = float(np.exp(np.mean(np.log(np.maximum(list(rmse.values()), 1e-12)))))
        rows.append([step, mean, *rmse.values()])
    table = np.array(rows)
    write_curve(job.output / CHECKPOINTS, Curve(["step", "geometric_mean", *rmse], table))
    if not np.isfinite(table[:, 1]).any():
        raise EngineError("the predictions of every checkpoint on the held-out data are not finite")
    return int(table[np.nanargmin(table[:, 1]), 0])


def _is_whole(path: Path) -> bool:
    import zipfile

    return zipfile.is_zipfile(path)


def _train(arguments: list[str], job: TrainingJob, steps: int, progress: Progress) -> None:
    """One training, watched by its learning curve. Raises EngineError as soon as its loss is lost."""
    curve, log = job.scratch / LCURVE, job.scratch / "train.log"

    def look() -> None:
        found = read_lcurve(curve)
        write_curve(job.scratch / CURVE, learning_curve(found))
        if len(found.values):
            progress(min(1.0, float(found.steps[-1]) / steps))
        reason = problem(found)
        if reason:
            raise EngineError(f"{reason}; the last lines of {curve}:\n{last_lines(curve)}")

    if job.gpus > 1:
        light.prepare()
        process.run(torchrun(job.gpus, arguments), cwd=job.scratch, log=log, watch=look, poll=1.0, timeout=job.timeout)
        move(_seconds_in_steps(log), "startup", "physics")
    else:
        with _watching(look):
            _dp(arguments, log)
    look()


def _seconds_in_steps(log: Path) -> float:
    """What DeePMD-kit's log says that its steps took, s; several processes write the same."""
    said = re.findall(r"batch +\d+: total wall time = ([\d.]+) s", log.read_text(errors="replace", encoding="utf-8"))
    return sum(map(float, said))


def torchrun(gpus: int, arguments: list[str]) -> list[str]:
    """The command of one training on several GPUs of this machine."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus)]
    return [sys.executable, *launch, "-m", "deepmd", "--pt", *arguments]


def _dp(arguments: list[str], log: Path) -> None:
    """Run a subcommand of `dp --pt` in this process, its output in `log`. Raises EngineError."""
    light.prepare()
    try:
        from deepmd.main import main
    except ImportError as error:
        raise EngineError(f'DeePMD-kit does not work here ({error}); pip install "lamflow[deepmd]"') from error
    from deepmd.pt.utils import env

    env.CUSTOM_OP_USE_JIT = False  # training sets it, and models with silut that are made then cannot be frozen
    light.prepare_training()
    with redirected(log):
        try:
            main(["--pt", *arguments])
        except SystemExit as error:
            if error.code not in (0, None):
                raise EngineError(f"dp --pt {arguments[0]} exited with {error.code}; {describe_end(log)}") from error
        except (MemoryError, EngineError):
            raise
        except Exception as error:
            text = f"dp --pt {arguments[0]} failed: {type(error).__name__}: {error}"
            raise EngineError(f"{text}; {describe_end(log)}") from error


class _watching:  # noqa: N801  used as a `with` statement
    """Calls a function once a second, and raises in the main thread what it raises."""

    def __init__(self, look: Callable[[], None]) -> None:
        self.look, self.found = look, list[EngineError]()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.main = threading.current_thread() is threading.main_thread()

    def _watch(self) -> None:
        while not self.done.wait(1.0):
            try:
                self.look()
            except EngineError as error:
                self.found = self.found or [error]
                if self.main:  # once a second: hooks of a fork may swallow it
                    _thread.interrupt_main(signal.SIGUSR2)

    def _raise(self, *_: object) -> None:
        raise self.found[0]

    def __enter__(self) -> None:
        if self.main:
            self.before = signal.signal(signal.SIGUSR2, self._raise)
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        if self.main:
            signal.signal(signal.SIGUSR2, self.before)
