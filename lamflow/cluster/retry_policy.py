"""Waiting for a server that does not answer: how long, how often, and what is said meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import urllib3
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_before_delay, wait_exponential_jitter

from lamflow.errors import OutageError

T = TypeVar("T")
LONGEST_PAUSE = 60.0


def is_stale(error: BaseException) -> bool:
    """A request went over a connection that was kept open and that the other side has closed meanwhile."""
    return isinstance(error, (urllib3.exceptions.ProtocolError, ConnectionResetError, BrokenPipeError))


def silent(message: str) -> None:
    """Say nothing."""
    del message


@dataclass(frozen=True)
class RetryPolicy:
    """How long an OutageError is met with another try. After a stale connection it is made at once and silently.

    seconds  in all, for one request
    first    pause before the second try, in s; each further one is twice as long, at most a minute
    say      is told about every failed try
    """

    seconds: float = 20.0
    first: float = 0.5
    say: Callable[[str], None] = field(default=silent)

    def call(self, request: Callable[[], T]) -> T:
        """What `request` returns. Raises its last OutageError when retry is at its end; other errors at once."""
        retrying = Retrying(
            retry=retry_if_exception_type(OutageError),
            wait=self._pause,
            stop=stop_before_delay(self.seconds),
            before_sleep=self._tell,
            reraise=True,
        )
        return retrying(request)

    def _pause(self, state: RetryCallState) -> float:
        if _was_stale(state):
            return 0.0
        asked = getattr(state.outcome.exception(), "wait", 0.0) if state.outcome else 0.0
        backoff = wait_exponential_jitter(multiplier=self.first, max=LONGEST_PAUSE, jitter=self.first)
        return max(min(asked, LONGEST_PAUSE), backoff(state))

    def _tell(self, state: RetryCallState) -> None:
        if state.outcome and state.next_action and not _was_stale(state):
            self.say(f"{state.outcome.exception()}; trying again in {state.next_action.sleep:.0f} s")


def _was_stale(state: RetryCallState) -> bool:
    """The first try met a connection that was no longer open."""
    found = state.outcome.exception() if state.outcome else None
    return state.attempt_number == 1 and isinstance(found, OutageError) and found.stale


DRIVER = RetryPolicy(seconds=12 * 3600.0, say=lambda text: print(text, flush=True))
"""A driver outlives outages of hours."""
