"""The beginning of a job that talks to the object store itself.

Trainings keep their scratch folder there, so that another pod can go on from it; labels are kept for other runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from lamflow.cluster.retry_policy import RetryPolicy
from lamflow.cluster.store import Store
from lamflow.config import stored
from lamflow.config.pods import ObjectStore
from lamflow.config.schema import DataStudy
from lamflow.data.cache import LabelCache
from lamflow.data.checkpoints import checkpoints
from lamflow.data.layout import INPUT, JOB_INPUTS, SCRATCH
from lamflow.ops.job import EXIT_TERMINATED, exit_now, report_failure
from lamflow.ops.job import main as run

STORE_RETRY = RetryPolicy(seconds=300.0)
FAREWELL_RETRY = RetryPolicy(seconds=5.0)
"""Kubernetes kills a pod half a minute after it has asked it to end."""
GRACE = 25.0
"""s; a pod that is told to end has ended by then."""
LOOK, SOONER = 10.0, 0.1
"""s between two looks for a new checkpoint, and the share of the usual time after which one is stored at once."""
PARTIAL = ".partial"
"""How the name of a file ends that is moved to its own when it is whole."""
SAVING = threading.Lock()
POD_LOG = os.dup(2)
"""The pod's own log, wherever a program has its standard error."""


def main(  # noqa: PLR0913  what a manifest says of a job
    reference: str,
    *,
    step: str,
    root: str,
    timeout: float,
    gpus: int,
    parameters: dict[str, int],
    checkpoints: tuple[str, float] | None = None,
    labels: str | None = None,
    packs: tuple[Sequence[str], Mapping[str, str]] = ((), {}),
) -> NoReturn:
    """Run an operation as one job, as `lamflow.ops.job.main` does.

    With checkpoints the scratch folder begins with what an earlier try of this pod kept in the object store, and is
    kept there every so many seconds and when the pod is told to end.

    checkpoints  key of the folder for the step's pods, and s between two savings
    labels       key of the label cache
    packs        see `lamflow.ops.job.main`
    """
    name = f"{step}-{parameters['job']}"
    try:
        settings = stored(Path(root) / JOB_INPUTS / INPUT, DataStudy).cluster.s3
        cache = None if labels is None else LabelCache(_Objects(Store(settings, labels, FAREWELL_RETRY)))
        if checkpoints is not None:
            prefix, every = checkpoints
            _keep_scratch(settings, Path(root) / SCRATCH, f"{prefix}{name}/", every)
    except Exception as error:  # noqa: BLE001  whatever happened, the exit status says it
        exit_now(report_failure(error, name, timeout))
    run(reference, step=step, root=root, timeout=timeout, gpus=gpus, parameters=parameters, labels=cache, packs=packs)


class _Objects:
    """Objects below a prefix as the files of a label cache. A store that does not answer for long costs labels."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def read(self, key: str) -> bytes | None:
        """See Files."""
        if not self.store.exists(key):
            return None
        with tempfile.TemporaryDirectory() as folder:
            self.store.get(key, Path(folder) / "object")
            return (Path(folder) / "object").read_bytes()

    def write(self, key: str, content: bytes) -> None:
        """See Files."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            self.store.put(key, Path(file.name))


def _keep_scratch(settings: ObjectStore, scratch: Path, key: str, every: float) -> None:
    """Begin with what an earlier try kept, and keep the scratch folder from now on."""
    os.environ["LAMFLOW_SCRATCH"] = str(scratch)
    Store(settings, key, STORE_RETRY).pull(scratch, lambda _: True)
    signal.signal(signal.SIGTERM, lambda *_: _end(scratch, Store(settings, key, FAREWELL_RETRY)))
    threading.Thread(target=_keep, args=(scratch, Store(settings, key), every), daemon=True).start()


def _keep(scratch: Path, store: Store, every: float) -> None:
    """Store the folder every so many seconds, and sooner when there is a new checkpoint."""
    pause, saved, before = threading.Event(), time.monotonic(), checkpoints(scratch)
    while not pause.wait(min(every, LOOK)):
        now = time.monotonic()
        there = _found(scratch, before) if now - saved >= SOONER * every else before
        if there != before or now - saved >= every:
            save(scratch, store)
            saved, before = now, there


def _found(scratch: Path, before: set[tuple[str, int, int]]) -> set[tuple[str, int, int]]:
    """The checkpoints of now; those of before while the training moves them."""
    try:
        return checkpoints(scratch)
    except OSError:
        return before


def _end(scratch: Path, store: Store) -> NoReturn:
    """Store the scratch folder and exit. Argo signals the whole group: children of the program die meanwhile, and
    handlers of the program, like that of torch for a loader's worker, must not interrupt this."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    limit = threading.Timer(GRACE, os._exit, (EXIT_TERMINATED,))  # whatever the signal has interrupted
    limit.daemon = True
    limit.start()
    save(scratch, store, wait=10.0)
    os._exit(EXIT_TERMINATED)


def save(scratch: Path, store: Store, wait: float = -1) -> None:
    """Make the stored folder equal to `scratch`, unless another saving lasts longer than `wait` s.

    A failure costs only the work since the last saving, so it is told and not raised.
    """
    if not SAVING.acquire(timeout=wait):
        return
    try:
        _push(scratch, store)
        for item in store.objects():
            if not (scratch / item.key).exists():
                store.delete(item.key)
    except Exception as error:  # noqa: BLE001  nothing that happens here is worth a training
        os.write(POD_LOG, f"checkpoints were not stored: {error}\n".encode())
    finally:
        SAVING.release()


def _push(scratch: Path, store: Store) -> None:
    """Store the files of a folder."""
    for _ in range(2):
        with contextlib.suppress(FileNotFoundError):  # the training moves its files meanwhile
            store.push(scratch, _files(scratch))
            return
    store.push(scratch, _files(scratch))


def _files(folder: Path) -> list[Path]:
    """The files in a folder but those that are being written, small ones first: they identify a training."""
    sizes = {}
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if file.is_file() and not file.is_symlink() and file.suffix != PARTIAL:
                sizes[file] = file.stat().st_size
    return sorted(sizes, key=lambda file: sizes[file])
