"""The machine that has the commands of a batch system: this one, or a login node over ssh."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from lamflow.config.batch import BatchSystem
from lamflow.config.pods import SSH_MOUNT
from lamflow.data.cache import cache_folder
from lamflow.engines import process
from lamflow.errors import ClusterError, LateError, OutageError

LOST = 255
"""What ssh exits with when it is ssh that failed."""
HOST_KEY = re.compile(r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed")


TRANSFER = 4 * 3600.0
"""s that files may take to go there or to come; an answer to a command takes two minutes at most."""
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

    def remove(self, keys: Iterable[str]) -> None:
        """Remove files and folders of the run, by their keys, where the nodes see them and there alone."""
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

    def remove(self, keys: Iterable[str]) -> None:
        """See Host. Nowhere but here."""


class Ssh:
    """A login node. A folder of its own there holds what jobs read and write of the run.

    run  says what that folder is called
    """

    is_local = False

    def __init__(self, store: Path, settings: BatchSystem, run: Callable[[], str]) -> None:
        assert settings.host is not None and settings.root is not None  # noqa: S101, PT018  the settings are checked
        self.store, self.settings, self._run = store, settings, run
        self.sent: dict[str, tuple[int, int]] = {}

    @property
    def root(self) -> PurePosixPath:
        """The folder there."""
        return PurePosixPath(self.settings.root or "") / self._run()

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
        """See Host. What is no file, or was not asked for, is refused."""
        wanted = list(keys)
        words, root = " ".join(map(shlex.quote, wanted)), shlex.quote(str(self.root))
        there = f'for key in {words}; do [ ! -e "$key" ] || echo "$key"; done'
        packed = self._done(f"mkdir -p {root} && cd {root} && {{ {there}; }} | tar -czf - -T -")
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
            for member in tar:
                if not member.isdir():
                    self._take(tar, member, wanted)

    def _take(self, tar: tarfile.TarFile, member: tarfile.TarInfo, wanted: Sequence[str]) -> None:
        """Write a file that came. Python before 3.11.4 has no filter for that."""
        content = tar.extractfile(member) if member.isfile() else None
        below = any(f"{member.name}/".startswith(f"{key}/") for key in wanted)
        if content is None or not below or ".." in PurePosixPath(member.name).parts:
            raise ClusterError(f"{self.settings.host}: {self.root} holds {member.name}, which no job of lamflow leaves")
        file = self.store / member.name
        file.parent.mkdir(parents=True, exist_ok=True)
        with content, file.open("wb") as stream:
            shutil.copyfileobj(content, stream)
        state = file.stat()
        self.sent[member.name] = state.st_size, state.st_mtime_ns

    def make(self, keys: Iterable[str]) -> None:
        """See Host. LocalHost, too."""
        names = list(keys)
        for key in names:
            (self.store / key).mkdir(parents=True, exist_ok=True)
        self._done("mkdir -p " + " ".join(shlex.quote(str(self.root / key)) for key in names))

    def remove(self, keys: Iterable[str]) -> None:
        """See Host."""
        gone = list(keys)
        self._done("rm -rf -- " + " ".join(shlex.quote(str(self.root / key)) for key in gone))
        self.sent = {
            name: stamp
            for name, stamp in self.sent.items()
            if not any(f"{name}/".startswith(f"{key}/") for key in gone)
        }

    def _done(self, command: str, stdin: bytes = b"") -> bytes:
        code, output, errors = self._ssh(command, stdin, TRANSFER)
        if code != 0:
            raise ClusterError(f"{self.settings.host}: `{command[:80]}` failed: {errors or f'exit status {code}'}")
        return output

    def _ssh(self, command: str, stdin: bytes, seconds: float = 120.0) -> tuple[int, bytes, str]:
        host = self.settings.host
        try:
            lines = "\n".join([*self.settings.login, "(", command, f") || exit $(($? == {LOST} ? {LOST - 1} : $?))"])
            code, output, errors = process.answer(
                [*self._argv(), f"bash -lc {shlex.quote(lines)}"], stdin, timeout=seconds
            )
        except LateError as error:
            raise OutageError(f"{host}: no answer over ssh: {error}") from error
        if code != LOST:
            return code, output, errors
        if self.settings.jump:  # ssh hides what jump hosts say from a connection that it may keep
            with contextlib.suppress(LateError):
                errors = process.answer([*self._argv(keeps=False), "true"], b"", timeout=seconds)[2] or errors
        if HOST_KEY.search(errors):
            which = re.search(r"ost key (?:is known )?for (\S+) .*strict checking", errors)
            raise ClusterError(
                f"{host}: ssh refuses: the key of {which[1] if which else 'the host'} is not the one that is known, or "
                "none is known. If that host was set up anew, ask its operators for the new key's fingerprint, then "
                f"`ssh-keygen -R` the old one and connect once by hand; ssh says: {_last(errors)}"
            )
        if "No user exists for uid" in errors:
            raise ClusterError(f"{host}: ssh: {_last(errors)}: the image of this container must name that user")
        if "Permission denied" in errors:
            raise ClusterError(
                f"{host}: ssh is not let in: {_last(errors)}. `identity` under `batch:` names the private key; a key "
                "with a passphrase belongs into ssh-agent"
            )
        raise OutageError(f"{host}: no connection: {_last(errors)}")

    def _argv(self, *, keeps: bool = True) -> Sequence[str]:
        """One connection serves every command of some minutes if it `keeps`; nothing is ever asked of a person."""
        ask, proxy = self.settings, ""
        for hop in ask.jump:
            name, _, port = hop.partition(":")
            has_port = port.isdigit()
            inner = proxy.replace("%", "%%")  # what ssh fills into a command that is part of another
            words = _ssh_words(ask.identity, int(port) if has_port else None, inner)
            proxy = shlex.join([*words, "-W", "%h:%p", name if has_port else hop])
        folder = cache_folder() / "ssh"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        socket = f"{folder}/%C" if len(str(folder)) <= LONGEST_FOLDER else "none"
        kept = () if not keeps else ("ControlMaster=auto", f"ControlPath={socket}", "ControlPersist=300")
        return [*_ssh_words(ask.identity, ask.port, proxy), *_options(kept), str(ask.host)]


def _ssh_words(identity: str | None, port: int | None, proxy: str) -> list[str]:
    """ssh with the options that every host on the way is reached with.

    proxy  the command through which it is reached
    """
    options = [
        "BatchMode=yes", "ConnectTimeout=20", "ServerAliveInterval=15", "ServerAliveCountMax=4",
        "StrictHostKeyChecking=yes", *OPTIONS,
    ]  # fmt: skip
    secret = Path(os.environ.get("LAMFLOW_SSH_SECRET", SSH_MOUNT))
    if secret.is_dir():
        identity = str(secret / "identity")
        options += ["IdentitiesOnly=yes", f"UserKnownHostsFile={secret}/known_hosts"]
    if proxy:
        options.append(f"ProxyCommand={proxy}")
    words = ["ssh", *_options(options)]
    words += ["-p", str(port)] if port else []
    return [*words, "-i", str(Path(identity).expanduser())] if identity else words


def _options(options: Iterable[str]) -> list[str]:
    return [word for option in options for word in ("-o", option)]


def _last(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "no reason given"
