"""A real ssh server on this machine with keys of its own, which lets in whoever runs the tests."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CONF = """\
Port {port}
ListenAddress 127.0.0.1
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

    @property
    def identity(self) -> str:
        return str(self.folder / "me")

    @property
    def host(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1"

    def secret(self, folder: Path) -> Path:
        """A folder as a Secret is mounted, with the private key and the host's."""
        folder.mkdir()
        shutil.copy(self.identity, folder / "identity")
        shutil.copy(self.folder / "known", folder / "known_hosts")
        return folder

    def know(self, key: Path) -> None:
        """Have this machine know the server by a key."""
        words = key.with_suffix(".pub").read_text().split()[:2]
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.port} {' '.join(words)}\n")


def _key(file: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """A server that lasts as long as the context."""
    for name in ("host", "me", "other"):
        _key(folder / name)
    shutil.copy(folder / "me.pub", folder / "authorized")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "conf").write_text(CONF.format(port=port, folder=folder))
    Path("/run/sshd").mkdir(exist_ok=True)
    server = SshServer(folder, port)
    server.know(folder / "host")
    process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", folder / "conf"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def ssh(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    """A login node, which is this machine."""
    if not Path("/usr/sbin/sshd").is_file():
        pytest.skip("an ssh server is missing: apt-get install openssh-server")
    with ssh_server(tmp_path_factory.mktemp("ssh")) as server:
        monkeypatch.setattr("lamflow.batch.host.OPTIONS", [f"UserKnownHostsFile={server.folder}/known"])
        yield server
