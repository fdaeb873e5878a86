"""The only place where programs are started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from lamflow.errors import EngineError, KilledError, LateError, NodeError

TAIL_LINES = 20
KILLED = {-signal.SIGKILL, 137}
"""What a kernel does to a program that takes too much memory."""
KILLED_BY_THE_MACHINE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, 137, 143}
_PR_SET_PDEATHSIG = 1
_STARTED: dict[int, subprocess.Popen[bytes]] = {}
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    log: Path,
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
    watch: Callable[[], None] | None = None,
    poll: float = 0.2,
) -> None:
    """Run a program in `cwd`, its output and errors streamed into `log`.

    It runs in a process group of its own; whatever happens here, the whole group is ended, and it is ended too if this
    process dies. `watch` is called while it runs. Raises EngineError with the end of the log when it exits with another
    status than 0, LateError when it takes longer than `timeout` s, NodeError when it was killed from outside, when the
    disk is full or the program cannot be started.
    """
    environment = {**os.environ, **(environment or {})}
    argv = [str(word) for word in argv]
    if shutil.which(argv[0], path=environment.get("PATH")) is None:
        raise EngineError(f"{argv[0]}: no such program on PATH")
    cwd.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("ab") as stream:
        process = subprocess.Popen(
            argv, cwd=cwd, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=environment, start_new_session=True, preexec_fn=die_with_parent,  # noqa: PLW1509
        )  # fmt: skip
        try:
            while True:
                try:
                    code = process.wait(timeout=poll)
                    break
                except subprocess.TimeoutExpired:
                    if timeout is not None and time.monotonic() - started > timeout:
                        message = f"{argv[0]} did not finish within {timeout:g} s in {cwd}"
                        raise LateError(f"{message}; {describe_end(log)}") from None
                    if watch is not None:
                        watch()
        finally:
            end_group(process.pid)
            process.wait()
    if code in KILLED_BY_THE_MACHINE:
        raise (KilledError if code in KILLED else NodeError)(
            f"{argv[0]} was killed (status {code}) in {cwd}; {describe_end(log)}"
        )
    if code != 0:
        kind = NodeError if _disk_is_full(log, cwd) else EngineError
        raise kind(f"{argv[0]} exited with {code} in {cwd}; {describe_end(log)}")


def start(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    keep: Sequence[int] = (),
) -> int:
    """Start a program that goes on in the background and return its process group, for `end_group`.

    Its output is streamed into `log`. It is ended if this process dies. keep: open files that it has too.
    """
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [str(word) for word in argv], cwd=cwd, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})}, start_new_session=True, pass_fds=keep,
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )  # fmt: skip
    _STARTED[process.pid] = process
    return process.pid


def answer(
    argv: Sequence[str | Path],
    stdin: bytes = b"",
    *,
    timeout: float = 120.0,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, bytes, str]:
    """Exit status, output and errors of a short command that is told `stdin`; for longer work there is `run`.

    Raises LateError when it takes longer than `timeout` s, EngineError when there is no such program.
    """
    words = [str(word) for word in argv]
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):  # pipes would wait for what it leaves behind
        try:
            done = subprocess.run(
                words, input=stdin, stdout=output, stderr=errors, timeout=timeout,
                env={**os.environ, **(environment or {})}, start_new_session=True, check=False,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise EngineError(f"{words[0]}: no such program on PATH") from error
        except subprocess.TimeoutExpired as error:
            raise LateError(f"{words[0]} did not answer within {timeout:g} s") from error
        output.seek(0)
        errors.seek(0)
        return done.returncode, output.read(), errors.read().decode(errors="replace").strip()


@contextlib.contextmanager
def redirected(log: Path) -> Iterator[None]:
    """Send everything that this process prints, compiled code included, to the end of `log`."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with log.open("ab") as stream:
        try:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for target, source in zip((1, 2), saved, strict=True):
                os.dup2(source, target)
                os.close(source)


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log file; empty if there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 200 * lines))
            return "\n".join(stream.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def describe_end(log: Path) -> str:
    """The end of `log` as the last part of an error message."""
    end = tail(log)
    return f"the end of {log}:\n{end}" if end.strip() else f"{log} is empty"


def end_group(group: int) -> None:
    """Kill every process of a process group that is still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    if group in _STARTED:
        _STARTED.pop(group).wait()


def die_with_parent() -> None:
    """Have this process killed when the one that started it dies, however it dies. Linux only; elsewhere a no-op.

    A child of process 1 is left as it is: nothing outlives that of a container, and elsewhere it is nobody's starter.
    """
    if _LIBC is not None and os.getppid() != 1:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _disk_is_full(log: Path, cwd: Path) -> bool:
    return "No space left on device" in tail(log) or shutil.disk_usage(cwd).free < 1_000_000


def on_path(program: str) -> Callable[[], str]:
    """A probe that looks for a program on PATH."""

    def probe() -> str:
        path = shutil.which(program)
        if path is None:
            raise EngineError(f"no program {program} on PATH")
        return path

    return probe
