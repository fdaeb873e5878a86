"""Where the seconds of jobs go."""

import time

import pytest

from lamflow.data import spent
from lamflow.data.document import Result
from lamflow.data.spent import Spent, each, move, of_round, spending, spent_on, take


@pytest.fixture(autouse=True)
def fresh():
    """A clock that has just begun, as in a job."""
    spent.begin(threads=1)
    take()
    yield
    spent.begin(threads=1)


def test_what_is_done_inside_counts_once_and_for_the_innermost():
    with spending("physics"):
        time.sleep(0.05)
        with spending("data"):
            time.sleep(0.03)
        time.sleep(0.02)
    found = take()
    assert found.physics == pytest.approx(0.07, abs=0.02)
    assert found.data == pytest.approx(0.03, abs=0.02)
    assert found.lamflow < 0.02
    assert take().total < 0.02, "taken once"


def test_what_fails_is_counted_too_and_goes_back_to_what_was_before():
    with pytest.raises(ValueError, match="gone"), spending("physics"):
        time.sleep(0.02)
        raise ValueError("gone")
    time.sleep(0.02)
    found = take()
    assert found.physics >= 0.02
    assert found.lamflow >= 0.02


def test_what_is_done_between_items_is_not_theirs():
    def made():
        for number in range(2):
            time.sleep(0.02)
            yield number

    numbers = []
    for number in each("physics", made()):
        time.sleep(0.03)
        numbers.append(number)
    found = take()
    assert numbers == [0, 1]
    assert found.physics == pytest.approx(0.04, abs=0.02)
    assert found.lamflow == pytest.approx(0.06, abs=0.02)


def test_a_program_says_itself_what_it_did():
    with spending("startup"):
        time.sleep(0.05)
    move(0.03, "startup", "physics")
    found = take()
    assert (found.physics, found.startup) == (pytest.approx(0.03), pytest.approx(0.02, abs=0.015))
    move(100.0, "startup", "physics")
    assert take().physics == 0.0, "no more than was spent"


def test_a_job_with_threads_has_so_many_cores_and_has_begun_with_its_process():
    spent.begin(threads=4)
    with spending("physics"):
        time.sleep(0.02)
    found = take()
    assert found.physics >= 0.08
    assert found.startup > 0.1, "this process runs since some time"


def test_a_round_is_all_of_its_cores():
    jobs = Spent(physics=10.0, startup=2.0)
    found = of_round(jobs, [(100.0, 106.0), (106.5, 108.5), (107.0, 108.0)], 9.0, cores=2)
    assert found.physics == 10.0
    assert found.lamflow == pytest.approx(2.0), "0.5 s between steps and 0.5 s after them, on both cores"
    assert found.waiting == pytest.approx(16.0 - 12.0)
    assert found.total == pytest.approx(2 * 9.0)
    assert found.efficiency == pytest.approx(10 / 18)
    assert of_round(jobs, [(0.0, 6.0)], 9.0, cores=None) == jobs, "others use what is idle on a cluster"


def test_records_say_it_or_nothing(tmp_path):
    class Record(Result):
        spent: Spent | None = None

    Record(spent=Spent(data=1.0)).save(tmp_path / "one.json")
    Record().save(tmp_path / "other.json")
    assert spent_on(tmp_path / "one.json") + spent_on(tmp_path / "other.json") == Spent(data=1.0)
    assert Spent().efficiency == 0.0
