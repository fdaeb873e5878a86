"""The scratch folder of a training in the object store, so that another pod can go on from it.

`python -m lamflow.cluster.scratch STORE KEY FOLDER` makes the stored folder equal to FOLDER once; STORE is JSON.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

from lamflow.cluster.retry_policy import RetryPolicy
from lamflow.cluster.store import Store
from lamflow.config.pods import ObjectStore
from lamflow.data.checkpoints import checkpoints
from lamflow.ops.job import EXIT_TERMINATED

STORE_RETRY = RetryPolicy(seconds=300.0)
FAREWELL_RETRY = RetryPolicy(seconds=5.0)
"""Kubernetes kills a pod half a minute after it has asked it to end."""
GRACE = 25.0
"""s; a pod that is told to end has ended by then."""
LOOK, SOONER = 10.0, 0.1
"""s between two looks for a new checkpoint, and the share of the usual time after which one is stored at once."""
PARTIAL = ".partial"
"""How the name of a file ends that is moved to its own when it is whole."""
POD_LOG = os.dup(2)
"""The pod's own log, wherever a program has its standard error."""


def keep(settings: ObjectStore, key: str, scratch: Path, every: float) -> None:
    """Begin with what an earlier try kept, and keep the folder from now on: every so many seconds, and at the end."""
    Store(settings, key, STORE_RETRY).pull(scratch, lambda _: True)
    signal.signal(signal.SIGTERM, lambda *_: _end(settings, key, scratch))
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


def _end(settings: ObjectStore, key: str, scratch: Path) -> NoReturn:
    """Store the folder by a process of its own and exit.

    What the signal interrupts may hold any lock of this process (that of `logging` and of thread pools while it forks),
    so nothing here may take one. Argo signals the whole group: children of the program die meanwhile, and handlers of
    the program, like that of torch for a loader's worker, must not interrupt this.
    """
    limit = time.monotonic() + GRACE
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)  # the process inherits it
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    argv = [sys.executable, "-m", __name__, settings.model_dump_json(), key, str(scratch)]
    saving = os.posix_spawn(sys.executable, argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, POD_LOG, 2)])
    while os.waitpid(saving, os.WNOHANG)[0] == 0 and time.monotonic() < limit:
        time.sleep(0.05)
    os._exit(EXIT_TERMINATED)


def save(scratch: Path, store: Store) -> None:
    """Make the stored folder equal to `scratch`.

    A failure costs only the work since the last saving, so it is told and not raised.
    """
    try:
        _push(scratch, store)
        for item in store.objects():
            if not (scratch / item.key).exists():
                store.delete(item.key)
    except Exception as error:  # noqa: BLE001  nothing that happens here is worth a training
        os.write(POD_LOG, f"checkpoints were not stored: {error}\n".encode())


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


if __name__ == "__main__":
    save(Path(sys.argv[3]), Store(ObjectStore.model_validate_json(sys.argv[1]), sys.argv[2], FAREWELL_RETRY))
