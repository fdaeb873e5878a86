"""The built-in search finds what an exhaustive enumeration knows. All ten seeds: benchmarks/structure_search.py."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.conftest import ROOT

pytest.importorskip("pyxtal", reason='PyXtal is missing: pip install "lamflow[calypso]"')
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import structure_search

        return structure_search


def test_the_enumeration_is_exhaustive() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        from _enumeration import hermite_normal_forms, orderings

        assert [len(list(hermite_normal_forms(size))) for size in (1, 2, 3, 4)] == [1, 7, 13, 35]
        # with 1, 2, 3 and 4 atoms 2, 2, 6 and 19: Hart and Forcade count 2, 3 and 12 where exchanging the elements is nothing
        assert [len(orderings(("Cu", "Au"), most)["fcc"]) for most in (1, 2, 3, 4)] == [2, 4, 10, 29]


def test_the_search_finds_every_ground_state(benchmark: ModuleType) -> None:
    states = benchmark.ground_states()
    assert [(state.fraction, state.space_group) for state in states] == [(0.0, 194), (0.25, 139), (0.5, 51), (1.0, 225)]
    assert benchmark.relaxations_needed(states, seed=8, most=120) is not None
