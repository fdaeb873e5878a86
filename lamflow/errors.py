"""Every error that lamflow raises on purpose.

    LamflowError
    ├── InputError    what the user wrote or brought is wrong
    ├── EngineError   a code failed and would fail again: never retried
    ├── NodeError     the machine failed: another try can help, and is made
    └── StateError    the run directory is locked or does not fit the request

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


class NodeError(LamflowError):
    """The machine failed (killed process, full disk, lost device); another try can help."""


BY_NAME: dict[str, type[LamflowError]] = {
    kind.__name__: kind for kind in (LamflowError, InputError, StateError, EngineError, NodeError)
}
