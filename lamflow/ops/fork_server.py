"""A process that has imported what jobs and rounds import and forks them: torch and DeePMD-kit alone take 5 to 7 s.

A job is a process of its own as before: its kill loses that job alone, and its time limit, its memory and its exit
status are its own. It dies with the server, which dies with the driver, and when the one that waits for it
(ops/forked.py) dies. Jobs that begin before the server is ready wait for it: they would import the same beside it.
Those that begin after it has died start by themselves.

Only a process without threads can be forked safely, so a server that finds others than its own gives up. Nor may it
have touched a GPU, so there is none on machines with GPUs.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import socket
import struct
import sys
import traceback
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lamflow.engines import process

ADDRESS = "LAMFLOW_FORK_SERVER"
"""Variable with the name of the server's socket."""
FORKED = Path(__file__).with_name("forked.py")
STARTER = (sys.executable, "-S", "-E", "-P", str(FORKED))
"""What is called in the place of Python to have something forked. -P: this folder has modules like those of Python."""
PATIENCE = 60.0
"""s that a client may take to say what it wants."""
WAITING = 64
"""Clients that the kernel holds while none is asked what it wants; further ones wait before they connect."""


@dataclass(frozen=True)
class ForkServer:
    """A server that the driver has started.

    threads  of the jobs that it can fork: libraries take theirs when they are imported
    """

    name: str
    group: int
    threads: int

    @classmethod
    def start(
        cls, engines: Iterable[str], threads: int, log: Path, environment: Mapping[str, str] | None = None,
        modules: Sequence[str] = (),
    ) -> ForkServer | None:  # fmt: skip
        """A server for jobs of these engines; None where there can be none.

        environment  variables that it has
        modules      what it imports, too
        """
        if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
            return None
        name = f"lamflow-{uuid.uuid4().hex}"
        variables = ("OMP_NUM_THREADS", "DP_INTRA_OP_PARALLELISM_THREADS")
        own = {**dict.fromkeys(variables, str(threads)), "DP_INTER_OP_PARALLELISM_THREADS": "1", **(environment or {})}
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"\0{name}")
            listener.listen(WAITING)
            given = listener.fileno()
            argv = [
                sys.executable,
                "-m",
                "lamflow.ops.fork_server",
                str(given),
                ",".join(modules),
                *sorted(set(engines)),
            ]
            group = process.start(argv, cwd=log.parent, log=log, environment=own, keep=[given])
        return cls(name, group, threads)

    @property
    def environment(self) -> dict[str, str]:
        """What clients need to find it."""
        return {ADDRESS: self.name, f"{ADDRESS}_THREADS": str(self.threads)}

    def end(self) -> None:
        """End it, and the jobs that it has forked."""
        process.end_group(self.group)


def starters() -> dict[int, tuple[str, ...]]:
    """How a round's jobs are started, by the number of their threads; empty where there is no server."""
    threads = os.environ.get(f"{ADDRESS}_THREADS")
    return {int(threads): STARTER} if threads else {}


def main(handle: int, modules: Sequence[str], engines: Iterable[str]) -> int:
    """Import, then fork jobs until the driver ends this process. handle: of the socket that clients find already."""
    listener = socket.socket(fileno=handle)
    listener.set_inheritable(False)
    os.register_at_fork(after_in_child=process.die_with_parent)
    gc.disable()  # what is imported stays, and looking through it again and again takes a sixth of the time
    preload(modules, engines)
    tasks = len(list(Path("/proc/self/task").iterdir()))
    if tasks > 1:
        print(f"{tasks} threads after importing: jobs start by themselves", file=sys.stderr)
        return 1
    gc.collect()
    gc.freeze()  # what is there is shared with the jobs, and collecting it would copy it
    gc.enable()
    _Server(listener).run()


def preload(modules: Sequence[str], engines: Iterable[str]) -> None:
    """Import modules, lamflow's operations, and what the engines say that their jobs import; build what reads files."""
    import lamflow.ops
    from lamflow.config.installed import engine_named
    from lamflow.config.kinds import Kind, kinds
    from lamflow.data.document import build_documents

    for name in ("ase.io", *modules):
        importlib.import_module(name)
    for module in pkgutil.iter_modules(lamflow.ops.__path__):
        importlib.import_module(f"lamflow.ops.{module.name}")
    for kind in kinds().values():
        if isinstance(kind, Kind):
            kind.settings.model_rebuild()
    build_documents()
    for name in engines:
        load = getattr(engine_named(name), "preload", None)
        if load is not None:
            with contextlib.suppress(ImportError):  # the job will say it
                load()


class _Server:
    """Forks, waits for all that it has forked, and tells each client how its job ended."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, None)
        self.clients: dict[int, socket.socket] = {}

    def run(self) -> NoReturn:
        """Until this process is ended."""
        while True:
            for key, _ in self.selector.select():
                if key.data is None:
                    self._begin()
                elif isinstance(key.fileobj, int):
                    self._finish(key.fileobj, key.data)
                else:  # a client that says something has gone
                    self.selector.unregister(key.fileobj)
                    process.end_group(key.data)

    def _begin(self) -> None:
        client, _ = self.listener.accept()
        client.settimeout(PATIENCE)
        try:
            _refuse_others(client)
            request, streams = _request(client)
        except (OSError, ValueError, struct.error):
            client.close()
            return
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._run(request, streams)
        for stream in streams:
            os.close(stream)
        with contextlib.suppress(OSError):
            client.sendall(b"\1")  # it has begun
        self.clients[pid] = client
        self.selector.register(client, selectors.EVENT_READ, pid)
        self.selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)

    def _finish(self, handle: int, pid: int) -> None:
        """A job has ended: what is left of it is ended too."""
        self.selector.unregister(handle)
        os.close(handle)
        _, status = os.waitpid(pid, 0)
        process.end_group(pid)
        client = self.clients.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(KeyError):
            self.selector.unregister(client)
        with contextlib.suppress(OSError):
            client.sendall(struct.pack("!i", code if code >= 0 else 128 - code))
        client.close()

    def _run(self, request: dict[str, Any], streams: list[int]) -> NoReturn:
        """The job itself, in the process that was forked for it."""
        try:
            os.setsid()
            self.selector.close()
            for connection in (self.listener, *self.clients.values()):
                connection.close()
            for stream, target in zip(streams, (1, 2), strict=True):
                os.dup2(stream, target)
                os.close(stream)
            os.chdir(request["cwd"])
            os.environ.clear()
            os.environ.update(request["environment"])
            if "numpy" in sys.modules:
                sys.modules["numpy"].random.seed()  # all would draw the same numbers
            _run_main(request["words"])
            status = 0
        except SystemExit as error:  # as Python does it
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
            if error.code is not None and not isinstance(error.code, int):
                print(error.code, file=sys.stderr)
        except BaseException:  # noqa: BLE001  so does this
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run_main(words: list[str]) -> None:
    """What `python WORDS` runs: a script, or a module after -m."""
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


def _refuse_others(client: socket.socket) -> None:
    """Raise OSError for a client of another user: anybody can find the name of a socket that lies in no folder."""
    _, user, _ = struct.unpack("iII", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII")))
    if user != os.getuid():
        raise PermissionError(f"user {user} may not start jobs here")


def _request(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """What a client wants to be run, and its output and errors."""
    head, streams, _, _ = socket.recv_fds(client, 4, 2)
    (length,) = struct.unpack("!I", head)
    data = b""
    while len(data) < length:
        part = client.recv(length - len(data))
        if not part:
            raise ValueError("cut off")
        data += part
    return json.loads(data), streams


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), list(filter(None, sys.argv[2].split(","))), sys.argv[3:]))
