"""Daemons of a batch system on this machine, which tests kill and start again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class Daemons:
    """Programs with a folder of their own.

    environment  where commands find them
    argv         what starts each
    """

    folder: Path
    environment: dict[str, str]
    argv: dict[str, list[str]]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """Name of this machine."""
        return socket.gethostname().split(".")[0]

    def start(self, name: str) -> None:
        """Start one of them."""
        with (self.folder / f"{name}.out").open("ab") as log:
            self.running[name] = subprocess.Popen(
                self.argv[name], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=os.environ | self.environment
            )

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """End one of them."""
        self.running[name].send_signal(number)
        self.running.pop(name).wait()

    def ask(self, *argv: str) -> str:
        """The output of a command."""
        done = subprocess.run(argv, capture_output=True, text=True, env=os.environ | self.environment, check=False)
        return done.stdout

    def wait(self, is_so: Callable[[], bool], seconds: float = 120.0) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, f"not within {seconds} s; logs are in {self.folder}"
            time.sleep(0.1)

    def point_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the commands of this process find them."""
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)


def free_ports(number: int) -> list[int]:
    """TCP ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
