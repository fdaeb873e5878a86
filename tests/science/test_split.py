from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamflow.science.split import blocks, heldout_groups, joined


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


def split(sizes: dict[str, int], fraction: float, seed: int) -> tuple[dict[str, int], list[str], set[str]]:
    """Held-out frames of each file, of which each has its own element."""
    groups = [name for name, size in sizes.items() for _ in range(size)]
    order = [number for size in sizes.values() for number in range(size)]
    units = blocks(groups, order, fraction)
    held = heldout_groups(units, fraction, seed, [(name, f"{name}4") for name in groups])
    counts = {name: sum(u in held for u, g in zip(units, groups, strict=True) if g == name) for name in sizes}
    return counts, units, held


@pytest.mark.parametrize("seed", range(30))
def test_a_fraction_is_one_of_frames(seed: int) -> None:
    counts, _, _ = split({"long": 1000, "short": 10, "other": 10}, 0.1, seed)
    assert 0.09 <= sum(counts.values()) / 1020 <= 0.11


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("seed", range(10))
def test_no_element_is_held_out_whole(seed: int, fraction: float) -> None:
    counts, _, _ = split({"al": 20, "cu": 20}, fraction, seed)
    assert sum(counts.values()) / 40 == pytest.approx(fraction, abs=0.06)
    assert counts["al"] < 20
    assert counts["cu"] < 20


def test_blocks_are_of_consecutive_frames() -> None:
    order = np.random.default_rng(1).permutation(100).tolist()
    units = blocks(["a"] * 100, order, 0.2)
    assert len(set(units)) > 10
    for unit in set(units):
        places = sorted(order[index] for index, name in enumerate(units) if name == unit)
        assert places == list(range(places[0], places[0] + len(places)))
        assert len(places) >= 3


def test_short_files_and_those_that_are_few_frames_of_many_stay_whole() -> None:
    assert blocks(["a"] * 19, list(range(19)), 0.1) == ["a"] * 19
    many = [str(number // 20) for number in range(2000)]
    assert blocks(many, [number % 20 for number in range(2000)], 0.1) == many


def test_what_cannot_be_held_out() -> None:
    assert heldout_groups(["a", "b"], 0.5, 1, [("Cu", "Cu4"), ("Al", "Al4")]) == set(), "an element would vanish"
    assert len(heldout_groups(["a", "b"], 0.5, 1, [("Cu", "Cu4"), ("Cu", "Cu8")])) == 1, "all compositions are single"
    for seed in range(10):
        held = heldout_groups(list("abcd"), 0.5, seed, [("Cu", "Cu4")] * 3 + [("Cu", "Cu8")])
        assert held
        assert "d" not in held, "the only frame of its composition"


def test_single_frames_are_those_of_earlier_versions() -> None:
    groups = [f"0/rattled:{number}" for number in range(10)]
    assert blocks(groups, [0] * 10, 0.2) == groups
    held = heldout_groups(groups, 0.2, 3, [("Cu", "Cu8")] * 10)
    assert held == {"0/rattled:6", "0/rattled:9"}


def test_what_is_decided_is_counted_and_never_undone() -> None:
    groups = [str(n // 2) for n in range(200)]
    decided = {str(n): n < 10 for n in range(60)}
    held = heldout_groups(groups, 0.2, 1, decided=decided)
    assert {name for name in held if name in decided} == {str(n) for n in range(10)}
    assert 0.17 <= sum(group in held for group in groups) / 200 <= 0.23
    assert heldout_groups(groups, 0.05, 1, decided=decided) == {str(n) for n in range(10)}, "more than asked for"
    assert heldout_groups(["a", "a"], 0.5, 1, decided={"a": True}) == {"a"}


def test_groups_are_joined_by_any_partition() -> None:
    assert joined([0, 0, 1, 1, 2, 7]).tolist() == [0, 0, 1, 1, 2, 3]
    assert joined([0, 0, 1, 1, 2, 7], [5, 3, 3, 4, 9, 9]).tolist() == [0, 0, 0, 0, 1, 1]
