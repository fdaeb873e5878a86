"""What labels cost."""

from __future__ import annotations

import numpy as np
import pytest

from lamflow.data.label_work import LabelCost
from lamflow.science.costs import LabelCosts


def finished(
    count: int, exponent: float, seed: int, sizes: tuple[int, ...] = (8, 32, 128), scatter: float = 0.2
) -> list[LabelCost]:
    """Labels of copper and nickel, which takes twice as long, of isolated frames."""
    rng = np.random.default_rng(seed)
    made = []
    for natoms in rng.choice(sizes, count):
        nickel = int(rng.integers(0, natoms + 1))
        seconds = 0.5 * natoms**exponent * 2 ** (nickel / natoms) * np.exp(rng.normal(0, scatter))
        composition = {"Cu": int(natoms) - nickel, "Ni": nickel}
        made.append(LabelCost(natoms=int(natoms), composition=composition, seconds=float(seconds)))
    return made


def test_exponent_and_elements_are_learnt_from_labels_of_several_kinds() -> None:
    costs = LabelCosts.fitted(finished(60, 2.6, 1))
    assert costs is not None
    assert costs.exponent == pytest.approx(2.6, abs=0.1)
    assert np.diff(costs.coefficient[-2:])[0] == pytest.approx(np.log(2), abs=0.2)
    others = finished(200, 2.6, 2)
    assert costs.seconds(others).sum() == pytest.approx(sum(label.seconds for label in others), rel=0.15)


def test_volume_and_magnetism_count() -> None:
    """A code whose seconds are those of k-points: fewer in larger cells; and twice as many with two spins."""
    rng = np.random.default_rng(3)
    labels = []
    for _ in range(80):
        volume, magnetic = float(rng.uniform(100, 1000)), bool(rng.integers(2))
        seconds = 4000 / volume * (2.0 if magnetic else 1.0) * float(np.exp(rng.normal(0, 0.1)))
        labels.append(LabelCost(natoms=16, volume=volume, composition={"Fe": 16}, magnetic=magnetic, seconds=seconds))
    costs = LabelCosts.fitted(labels)
    assert costs is not None
    assert costs.coefficient[2] == pytest.approx(-1.0, abs=0.1)
    assert costs.coefficient[3] == pytest.approx(np.log(2), abs=0.1)


def test_labels_of_one_size_leave_the_exponent_open() -> None:
    costs = LabelCosts.fitted(finished(20, 2.6, 1, sizes=(32,)))
    assert costs is not None
    assert costs.exponent == pytest.approx(2.0, abs=0.6)
    same, larger = (LabelCost(natoms=n, composition={"Cu": n}, seconds=0.0) for n in (32, 128))
    assert costs.seconds([same])[0] == pytest.approx(0.5 * 32**2.6, rel=0.4)
    wide, narrow = (costs.at_most([frame])[0] / costs.seconds([frame])[0] for frame in (larger, same))
    assert wide > 2 * narrow, "nobody knows what other sizes take"


@pytest.mark.parametrize(("labels", "scatter"), [(5, 0.2), (15, 0.2), (15, 0.6), (40, 0.4)])
def test_what_labels_take_at_most_is_exceeded_in_5_of_100_runs(labels: int, scatter: float) -> None:
    exceeded = []
    for seed in range(400):
        costs = LabelCosts.fitted(finished(labels, 2.0, seed, scatter=scatter))
        assert costs is not None
        new = finished(10, 2.0, 1000 + seed, scatter=scatter)
        together = costs.at_most(new)
        assert (np.diff(together) > 0).all()
        exceeded.append(sum(label.seconds for label in new) > together[-1])
    assert np.mean(exceeded) < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_an_element_that_no_label_had_makes_the_bound_wide() -> None:
    costs = LabelCosts.fitted(finished(30, 2.0, 1))
    assert costs is not None
    known, unknown = (LabelCost(natoms=32, composition={e: 32}, seconds=0.0) for e in ("Cu", "Au"))
    assert costs.at_most([unknown])[0] > 2 * costs.at_most([known])[0]


def test_too_few_labels_and_cached_ones_tell_nothing() -> None:
    one = LabelCost(natoms=4, seconds=1.0)
    assert LabelCosts.fitted([one, one]) is None
    assert LabelCosts.fitted([one.model_copy(update={"seconds": 0.0})] * 3) is None
