"""A real ssh server on this machine with keys of its own, which lets in whoever runs the tests."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

CONF = """\
Port {port}
ListenAddress {address}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile {folder}/pid
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
"""


@dataclass(frozen=True)
class SshServer:
    """Where it listens, the private key that it takes, and a home folder whose ssh knows it."""

    folder: Path
    port: int
    address: str = "127.0.0.1"
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def identity(self) -> str:
        return str(self.folder / "me")

    @property
    def host(self) -> str:
        return f"{getpass.getuser()}@{self.address}"

    def secret(self, folder: Path) -> Path:
        """A folder as a Secret is mounted, with the private key and the host's."""
        folder.mkdir()
        shutil.copy(self.identity, folder / "identity")
        shutil.copy(self.folder / "known", folder / "known_hosts")
        return folder

    def start(self) -> None:
        """Let it listen."""
        argv = ["/usr/sbin/sshd", "-D", "-e", "-f", str(self.folder / "conf")]
        self.processes.append(subprocess.Popen(argv, stderr=subprocess.DEVNULL))
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex((self.address, self.port)) == 0:
                    return
            time.sleep(0.1)

    def stop(self) -> None:
        """End it with all its connections; what was started through them goes on."""
        for process in self.processes:
            found = [each for each in psutil.Process(process.pid).children(recursive=True) if each.name() == "sshd"]
            for each in found:
                each.kill()
            process.kill()
            process.wait()
        self.processes.clear()

    def know(self, key: Path) -> None:
        """Have this machine know the server by a key."""
        words = key.with_suffix(".pub").read_text().split()[:2]
        (self.folder / "known").write_text(f"[{self.address}]:{self.port} {' '.join(words)}\n")


def _key(file: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)


@contextlib.contextmanager
def ssh_server(folder: Path, address: str = "127.0.0.1") -> Iterator[SshServer]:
    """A server that lasts as long as the context."""
    for name in ("host", "me", "other"):
        _key(folder / name)
    shutil.copy(folder / "me.pub", folder / "authorized")
    with socket.socket() as free:
        free.bind((address, 0))
        port = free.getsockname()[1]
    (folder / "conf").write_text(CONF.format(port=port, folder=folder, address=address))
    Path("/run/sshd").mkdir(exist_ok=True)
    server = SshServer(folder, port, address)
    server.know(folder / "host")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def ssh(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    """A login node, which is this machine."""
    if not Path("/usr/sbin/sshd").is_file():
        pytest.skip("an ssh server is missing: apt-get install openssh-server")
    with ssh_server(tmp_path_factory.mktemp("ssh")) as server:
        monkeypatch.setattr("lamflow.batch.host.OPTIONS", [f"UserKnownHostsFile={server.folder}/known"])
        yield server
