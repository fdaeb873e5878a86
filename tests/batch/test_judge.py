"""Which tries of a job are worth another one."""

from __future__ import annotations

import pytest

from lamflow.batch.documents import BEGAN, ENDED, LATE, STOPPED, SUCCEEDED, Try
from lamflow.batch.judge import how_it_ended, verdict
from lamflow.config.pods import Pod
from lamflow.errors import ClusterError, EngineError, NodeError

POD = Pod(retries=1, losses=2)


def tries(*kinds: str, kept: tuple[str, ...] = ()) -> dict[int, Try]:
    """Tries that ended so, each with what it kept."""
    return {
        number: Try(kind=kind, message="because", host="n1", element=f"8_{number}", begin=0.0, end=9.0,
                    kept=kept[number] if kept else "")
        for number, kind in enumerate(kinds)
    }  # fmt: skip


def judged(its: dict[int, Try], *reasons: str | None, pod: Pod = POD) -> BaseException | None:
    why = dict(enumerate(reasons)) if reasons else dict.fromkeys(its, "gone")
    return verdict("train 0", its, why, pod)


@pytest.mark.parametrize(
    ("kind", "reason", "end"),
    [
        (SUCCEEDED, None, SUCCEEDED), (BEGAN, None, ""), (ENDED, None, ""), (BEGAN, "NODE_FAIL", "lost"),
        (ENDED, "PREEMPTED", "lost"), (BEGAN, STOPPED, "stopped"), (BEGAN, "OUT_OF_MEMORY", "killed"),
        (BEGAN, "EXIT (TERM_MEMLIMIT: job killed after reaching LSF memory usage limit)", "killed"),
        (BEGAN, "it is not in the queue any more: qmaster enforced h_rt, h_cpu, or h_vmem limit, exit status 137", "killed"),
        ("KilledError", None, "killed"), (LATE, None, LATE), ("EngineError", None, "EngineError"),
    ],
)  # fmt: skip
def test_ends(kind: str, reason: str | None, end: str) -> None:
    assert how_it_ended(tries(kind)[0], reason) == end


def test_a_code_that_failed_is_not_tried_again() -> None:
    error = judged(tries("EngineError"), None)
    assert isinstance(error, EngineError)
    assert str(error) == "train 0 (8_0 on n1): because"


def test_a_machine_that_failed_is_tried_again_as_often_as_retries_say() -> None:
    assert judged(tries("NodeError")) is None
    assert isinstance(judged(tries("NodeError", "NodeError")), NodeError)
    assert judged(tries("NodeError", SUCCEEDED)) is None


def test_losses_have_a_bound_that_checkpoints_lift() -> None:
    assert judged(tries(BEGAN, BEGAN)) is None
    assert isinstance(judged(tries(BEGAN, BEGAN, BEGAN)), ClusterError)
    assert judged(tries(ENDED, ENDED, ENDED, kept=("a", "b", "c"))) is None
    assert isinstance(judged(tries(*[ENDED] * 4, kept=("a", "b", "b", "b"))), ClusterError)
    assert judged(tries(BEGAN, BEGAN, BEGAN), STOPPED, STOPPED, STOPPED) is None


def test_memory_is_raised_once() -> None:
    assert judged(tries("KilledError")) is None
    error = judged(tries("KilledError", BEGAN), "x", "OUT_OF_MEMORY")
    assert isinstance(error, EngineError)
    assert "raise memory under `pods:`, or set memory_max" in str(error)
    assert "with 8Gi (memory_max)" in str(judged(tries(*["KilledError"] * 2), pod=Pod(memory_max="8Gi")))


def test_wall_time_needs_newer_checkpoints() -> None:
    assert judged(tries(LATE, LATE, kept=("a", "b"))) is None
    assert "keeps no checkpoint" in str(judged(tries(LATE)))
    assert "keeps no checkpoint" in str(judged(tries(LATE, LATE, kept=("a", "a"))))
