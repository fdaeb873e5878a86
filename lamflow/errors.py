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


class LamflowError(Exception):
    """Base of every error raised on purpose; its text is meant for the user."""


class InputError(LamflowError):
    """A file, a setting or data of the user cannot be used as it is."""


class StateError(LamflowError):
    """A run directory is in use, unreadable, or belongs to different settings."""


class EngineError(LamflowError):
    """A code failed for a reason that another try would meet again."""


class LateError(EngineError):
    """A code did not finish in its time."""


class NodeError(LamflowError):
    """The machine failed (killed process, full disk, lost device); another try can help."""


class KilledError(NodeError):
    """A program was killed at once, as a kernel does when memory runs out."""


class OutageError(NodeError):
    """The cluster or its object store does not answer, or says that it is busy.

    wait  how long it asks to be left alone, in s
    """

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class ClusterError(LamflowError):
    """The cluster or its object store refuses; asking again would not help."""


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
