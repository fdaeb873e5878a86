"""Where the seconds of jobs go."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamflow.data import spent
from lamflow.data.document import Result
from lamflow.data.spent import Spent, making, move, of_round, spending, spent_on, take


class Clock:
    """A clock that goes by what a test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def work(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """The clock of a job that has just begun."""
    clock = Clock()
    with monkeypatch.context() as patch:
        patch.setattr("time.monotonic", lambda: clock.now)
        spent.begin(threads=1)
        take()
        yield clock
    spent.begin(threads=1)


def test_a_job_has_begun_when_its_process_has() -> None:
    program = "from lamflow.data.spent import begin, take; begin(threads=1); print(take().startup)"
    started = time.monotonic()
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    there = time.monotonic() - started
    assert 0 < float(said) <= there + 0.01, "no longer than somebody waited for it; the kernel counts hundredths"


def test_what_is_done_inside_counts_once_and_for_the_innermost(clock: Clock) -> None:
    with spending("physics"):
        clock.work(5)
        with spending("data"):
            clock.work(3)
        clock.work(2)
    assert take() == Spent(physics=7, data=3)
    assert take() == Spent(), "taken once"


def test_what_fails_is_counted_too_and_goes_back_to_what_was_before(clock: Clock) -> None:
    @spending("physics")
    def fails() -> None:
        clock.work(2)
        raise ValueError("gone")

    with pytest.raises(ValueError, match="gone"):
        fails()
    clock.work(1)
    assert take() == Spent(physics=2, lamflow=1)


def test_what_is_done_between_items_is_not_theirs(clock: Clock) -> None:
    def made() -> Iterator[int]:
        for number in range(2):
            clock.work(2)
            yield number

    numbers = []
    for number in making("physics", made()):
        clock.work(3)
        numbers.append(number)
    assert numbers == [0, 1]
    assert take() == Spent(physics=4, lamflow=6)


def test_a_program_says_itself_what_it_did(clock: Clock) -> None:
    with spending("startup"):
        clock.work(5)
    move(3, "startup", "physics")
    assert take() == Spent(physics=3, startup=2)
    move(100, "startup", "physics")
    assert take() == Spent(), "no more than was spent"


def test_a_job_with_threads_has_so_many_cores_and_has_begun_with_its_process(clock: Clock) -> None:
    spent.begin(threads=4)
    with spending("physics"):
        clock.work(2)
    found = take()
    assert found.physics == 8
    assert found.startup > 0.1, "this process runs since some time"


def test_a_round_is_all_of_its_cores() -> None:
    jobs = Spent(physics=10.0, startup=2.0)
    found = of_round(jobs, [(100.0, 106.0), (106.5, 108.5), (107.0, 108.0)], 9.0, cores=2)
    assert found.physics == 10.0
    assert found.lamflow == pytest.approx(2.0), "0.5 s between steps and 0.5 s after them, on both cores"
    assert found.waiting == pytest.approx(16.0 - 12.0)
    assert found.total == pytest.approx(2 * 9.0)
    assert found.efficiency == pytest.approx(10 / 18)
    assert of_round(jobs, [(0.0, 6.0)], 9.0, cores=None) == jobs, "others use what is idle on a cluster"


def test_records_say_it_or_nothing(tmp_path: Path) -> None:
    class Record(Result):
        spent: Spent | None = None

    Record(spent=Spent(data=1.0)).save(tmp_path / "one.json")
    Record().save(tmp_path / "other.json")
    assert spent_on(tmp_path / "one.json") + spent_on(tmp_path / "other.json") == Spent(data=1.0)
    assert Spent().efficiency == 0.0
