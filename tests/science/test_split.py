from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lamflow.science.split import heldout_groups


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60), st.floats(0.01, 0.99), st.integers(0, 99))
def test_groups_are_held_out_whole_and_never_all(groups: list[str], fraction: float, seed: int) -> None:
    held = heldout_groups(groups, fraction, seed)
    assert held == heldout_groups(groups, fraction, seed)
    if len(set(groups)) < 2:
        assert held == set()
    else:
        assert held
        assert set(groups) - held


def test_about_the_share_that_was_asked_for() -> None:
    groups = [str(n // 2) for n in range(200)]
    held = heldout_groups(groups, 0.2, 1)
    assert 0.17 <= sum(group in held for group in groups) / 200 <= 0.23
