"""Every error that lamflow raises on purpose.

    LamflowError
    ├── InputError    what the user wrote or brought is wrong
    ├── EngineError   a code failed and would fail again: never retried
    │   └── LateError     it did not finish in its time
    ├── NodeError     the machine failed: another try can help, and is made
    │   ├── KilledError   a program was killed, most often because memory ran out
    │   └── OutageError   the cluster or its object store does not answer: tried again for a while
    ├── StateError    the run directory is locked or does not fit the request
    └── ClusterError  the cluster or its object store refuses: no permission, no such namespace, no such bucket

The type decides whether to try again; the message says what, which value with its unit, where, why, and what to do.
On the command line each is one message without a traceback and exit status 2, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

REPAIR = "`lamflow repair RUN` makes again what can be made again"
"""The way back from files of a run that are lost or damaged."""


class LamflowError(Exception):
    """Base of every error raised on purpose; its text is meant for the user."""


class InputError(LamflowError):
    """A file, a setting or data of the user cannot be used as it is.

    problems  what is wrong, a message each; one is about the setting that it begins with: `start.data[0]: …`
    """

    def __init__(self, *problems: str) -> None:
        many = f"{len(problems)} problems" if len(problems) > 1 else ""
        super().__init__("\n  ".join([many, *problems] if many else problems))
        self.problems = problems


class Problems:
    """What is wrong with several inputs, said all at once in the end."""

    def __init__(self) -> None:
        self.found: list[str] = []

    @contextmanager
    def collect(self, where: str = "") -> Iterator[None]:
        """Keep what an InputError says for later; each message is put after `where`, unless it begins with it."""
        try:
            yield
        except InputError as error:
            for message in error.problems:
                self.found.append(message if message.startswith(where) else f"{where}: {message}")

    def report(self) -> None:
        """Raise InputError if anything is wrong. What is said twice is said once."""
        if self.found:
            raise InputError(*dict.fromkeys(self.found))


class StateError(LamflowError):
    """A run directory is in use, unreadable, or belongs to different settings."""


class EngineError(LamflowError):
    """A code failed for a reason that another try would meet again."""


class LateError(EngineError):
    """A code did not finish in its time."""


class NodeError(LamflowError):
    """The machine failed (killed process, full disk, lost device); another try can help."""


class KilledError(NodeError):
    """A program was killed at once, as a kernel does when memory runs out, or was refused memory."""


class OutageError(NodeError):
    """The cluster or its object store does not answer, or says that it is busy.

    wait   how long it asks to be left alone, in s
    stale  the connection was closed before an answer came, as happens to one that was kept open for long
    """

    def __init__(self, message: str, wait: float = 0.0, *, stale: bool = False) -> None:
        super().__init__(message)
        self.wait, self.stale = wait, stale


class ClusterError(LamflowError):
    """The cluster or its object store refuses; asking again would not help."""


def printable(text: str) -> str:
    """`text` with its control characters written out: names in files of others must not drive a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


BY_NAME: dict[str, type[LamflowError]] = {
    kind.__name__: kind
    for kind in (
        LamflowError,
        InputError,
        StateError,
        EngineError,
        LateError,
        NodeError,
        KilledError,
        OutageError,
        ClusterError,
    )
}
