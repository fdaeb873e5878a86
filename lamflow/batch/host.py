"""The machine that has the commands of a batch system: this one, or a login node over ssh."""

from __future__ import annotations

import io
import re
import shlex
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from lamflow.config.batch import BatchSystem
from lamflow.data.cache import cache_folder
from lamflow.engines import process
from lamflow.errors import ClusterError, LateError, OutageError

LOST = 255
"""What ssh exits with when it is ssh that failed."""
HOST_KEY = re.compile(r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed")


LONGEST_FOLDER = 40
"""Characters of the folder of ssh's sockets, as Linux takes 107 for a path; beyond it each command connects anew."""
OPTIONS: list[str] = []
"""More options of ssh, for tests; people have `~/.ssh/config`."""


class Host(Protocol):
    """Where commands run, and files of a run as its nodes see them."""

    is_local: bool
    """Nodes see the run's folder itself."""

    def shell(self, command: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """Exit status, output and errors of a shell command. Raises OutageError and ClusterError."""
        ...

    def seen(self, path: Path) -> str:
        """A path of the run's folder as the nodes see it."""
        ...

    def send(self, keys: Iterable[str]) -> None:
        """Have files and folders of the run, by their keys, where the nodes see them."""
        ...

    def bring(self, keys: Iterable[str]) -> None:
        """Have files and folders of the run, by their keys, in its folder here."""
        ...

    def make(self, keys: Iterable[str]) -> None:
        """Have folders of the run, by their keys, where the nodes see them."""
        ...


class LocalHost:
    """This machine, whose folders the nodes share."""

    is_local = True

    def __init__(self, store: Path) -> None:
        self.store = store

    def shell(self, command: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """See Host."""
        try:
            code, output, errors = process.answer(["bash", "-c", command], stdin)
        except LateError as error:
            raise OutageError(f"`{command}`: no answer: {error}") from error
        return code, output.decode(errors="replace"), errors

    def seen(self, path: Path) -> str:
        """See Host."""
        return str(path)

    def send(self, keys: Iterable[str]) -> None:
        """See Host. They are there."""

    def bring(self, keys: Iterable[str]) -> None:
        """See Host. They are here."""

    def make(self, keys: Iterable[str]) -> None:
        """See Host."""
        for key in keys:
            (self.store / key).mkdir(parents=True, exist_ok=True)


class Ssh:
    """A login node. A folder of its own there holds what jobs read and write of the run."""

    is_local = False

    def __init__(self, store: Path, settings: BatchSystem, run: str) -> None:
        assert settings.host is not None and settings.root is not None  # noqa: S101, PT018  the settings are checked
        self.store, self.settings = store, settings
        self.root = PurePosixPath(settings.root) / run
        self.sent: dict[str, tuple[int, int]] = {}

    def shell(self, command: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """See Host."""
        code, output, errors = self._ssh(command, stdin)
        return code, output.decode(errors="replace"), errors

    def seen(self, path: Path) -> str:
        """See Host."""
        return str(self.root / path.relative_to(self.store))

    def send(self, keys: Iterable[str]) -> None:
        """See Host. What has not changed since it was sent stays."""
        files, stamps = [], {}
        for key in keys:
            path = self.store / key
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    name, state = file.relative_to(self.store).as_posix(), file.stat()
                    stamp = state.st_size, state.st_mtime_ns
                    if self.sent.get(name) != stamp:
                        files.append(name)
                        stamps[name] = stamp
        if files:
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w:gz") as tar:
                for name in files:
                    tar.add(self.store / name, arcname=name)
            root = shlex.quote(str(self.root))
            self._done(f"mkdir -p {root} && tar -xzf - -C {root}", packed.getvalue())
            self.sent |= stamps

    def bring(self, keys: Iterable[str]) -> None:
        """See Host. Links and what lies outside of the run's folder are refused."""
        words = " ".join(shlex.quote(key) for key in keys)
        there = f'for key in {words}; do [ ! -e "$key" ] || echo "$key"; done'
        packed = self._done(f"cd {shlex.quote(str(self.root))} && {there} | tar -czf - -T -")
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
            tar.extractall(self.store, filter="data")
            for member in tar.getmembers():
                if member.isfile():
                    state = (self.store / member.name).stat()
                    self.sent[member.name] = state.st_size, state.st_mtime_ns

    def make(self, keys: Iterable[str]) -> None:
        """See Host. LocalHost, too."""
        names = list(keys)
        for key in names:
            (self.store / key).mkdir(parents=True, exist_ok=True)
        self._done("mkdir -p " + " ".join(shlex.quote(str(self.root / key)) for key in names))

    def _done(self, command: str, stdin: bytes = b"") -> bytes:
        code, output, errors = self._ssh(command, stdin)
        if code != 0:
            raise ClusterError(f"{self.settings.host}: `{command[:80]}` failed: {errors or f'exit status {code}'}")
        return output

    def _ssh(self, command: str, stdin: bytes) -> tuple[int, bytes, str]:
        host = self.settings.host
        try:
            lines = "\n".join([*self.settings.login, "(", command, f") || exit $(($? == {LOST} ? {LOST - 1} : $?))"])
            code, output, errors = process.answer([*self._argv(), f"bash -lc {shlex.quote(lines)}"], stdin)
        except LateError as error:
            raise OutageError(f"{host}: no answer over ssh: {error}") from error
        if code != LOST:
            return code, output, errors
        if HOST_KEY.search(errors):
            raise ClusterError(
                f"{host}: ssh refuses: the host's key is not the one that is known, or none is known. If the host was "
                f"set up anew, ask its operators for the new key's fingerprint, then `ssh-keygen -R` the old one and "
                f"connect once by hand; ssh says: {_last(errors)}"
            )
        if "Permission denied" in errors:
            raise ClusterError(
                f"{host}: ssh is not let in: {_last(errors)}. `identity` under `batch:` names the private key; a key "
                "with a passphrase belongs into ssh-agent"
            )
        raise OutageError(f"{host}: no connection: {_last(errors)}")

    def _argv(self) -> Sequence[str]:
        """One connection serves every command of some minutes; nothing is ever asked of a person."""
        ask = self.settings
        folder = cache_folder() / "ssh"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        socket = f"{folder}/%C" if len(str(folder)) <= LONGEST_FOLDER else "none"
        options = [
            "BatchMode=yes", "ConnectTimeout=20", "ServerAliveInterval=15", "ServerAliveCountMax=4",
            "StrictHostKeyChecking=yes", "ControlMaster=auto", f"ControlPath={socket}", "ControlPersist=300",
            *OPTIONS,
        ]  # fmt: skip
        words = ["ssh", *(word for option in options for word in ("-o", option))]
        words += ["-p", str(ask.port)] if ask.port else []
        words += ["-i", str(Path(ask.identity).expanduser())] if ask.identity else []
        words += ["-J", ",".join(ask.jump)] if ask.jump else []
        return [*words, str(ask.host)]


def _last(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "no reason given"
