"""Locks of runs: two drivers never work in one folder, whatever is deleted meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lamflow.data.cache import cache_folder
from lamflow.errors import StateError


@contextlib.contextmanager
def kept_out(path: Path) -> Iterator[None]:
    """Keep other drivers of this machine out of folder `path`, also when it is deleted and made anew meanwhile.

    The lock lies in the user's cache folder; without one this is said. Raises StateError when another driver lives.
    """
    name = hashlib.sha256(f"{socket.gethostname()}:{path.resolve()}".encode()).hexdigest()[:16]
    file = cache_folder() / "locks" / name
    with contextlib.ExitStack() as held:
        try:
            stream = held.enter_context(_acquired(file, path))
        except OSError as error:
            say(f"{file}: {error.strerror}; so no lock survives if {path} is deleted while the run goes on")
        else:
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
            held.callback(_forget, file, stream)
        yield


def _forget(file: Path, stream: IO[str]) -> None:
    if _is(file, stream):
        file.unlink()


def _acquired(file: Path, path: Path) -> IO[str]:
    """The locked file; a driver that ends removes its own, so what was opened may be gone once it is locked."""
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        stream = file.open("a+", encoding="utf-8")
        if not is_locked(stream):
            with stream:
                raise driven(path, holder(stream))
        if _is(file, stream):
            return stream
        stream.close()


def _is(file: Path, stream: IO[str]) -> bool:
    """The open file is still the one of this name."""
    try:
        return os.path.samestat(file.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


def is_locked(stream: IO[str]) -> bool:
    """Take the lock of a file. Somebody who only asks who holds it has it for a moment, so this asks for a second.

    A file system that keeps no locks is named, and nothing is locked there.
    """
    for _ in range(10):
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)
        except OSError as error:
            say(f"{stream.name}: no lock can be kept here ({error.strerror}); start no second driver of this run")
            return True
        else:
            return True
    return False


def holder(stream: IO[str]) -> int | None:
    """The process id in a lock file."""
    stream.seek(0)
    text = stream.read().strip()
    return int(text) if text.isdigit() else None


def driven(path: Path, pid: int | None) -> StateError:
    """What is said of a run that another driver has."""
    end = f" (or, if its folder was deleted meanwhile, `kill {pid}`)" if pid is not None else ""
    return StateError(
        f"{path}: this run is being driven by process {pid or 'unknown'}; stop it with "
        f"`lamflow stop {shlex.quote(str(path))}`{end}"
    )


def say(text: str) -> None:
    """A warning that stops nothing."""
    with contextlib.suppress(OSError):
        print(f"lamflow: {text}", file=sys.stderr)
