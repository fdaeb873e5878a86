from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lamflow.config.seeds import child_seed


@given(st.integers(0, 2**40), st.text(), st.integers(0, 100))
def test_children_are_repeatable_and_in_the_range_of_every_code(seed: int, name: str, number: int) -> None:
    child = child_seed(seed, name, number)
    assert 0 < child < 2**31 - 1
    assert child == child_seed(seed, name, number)


def test_names_tell_children_apart() -> None:
    names = [("train", 1, 0), ("train", 1, 1), ("train", 2, 0), ("explore", 1, 0)]
    assert len({child_seed(7, *name) for name in names}) == len(names)
