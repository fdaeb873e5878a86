"""Convex hulls of searches from iteration to iteration, and by their labels."""

from __future__ import annotations

import pytest

from lamflow.data.hulls import Hull, HullEntry
from lamflow.data.results import Iteration
from lamflow.data.selected import Selected
from lamflow.policy.hulls import ground_state_error, hull_shift


def entry(formula: dict[str, int], enthalpy: float, above: float = 0.0, name: str = "") -> HullEntry:
    return HullEntry(
        search=0, generation=1, number=1, formula="x", counts=formula, energy=enthalpy, enthalpy=enthalpy, volume=10.0,
        above_hull=above, space_group=225, hash=name or f"{formula}{enthalpy}",
    )  # fmt: skip


def hull(*entries: HullEntry) -> Hull:
    return Hull(
        condition={"pressure": 0.0}, elements=["Cu", "Au"], entries=list(entries), generations=[], structures=9,
        failed=0, unfinished=0, duplicates=0,
    )  # fmt: skip


class TestHulls:
    ENDS = ({"Cu": 1}, {"Au": 1})

    def made(self, middle: float, shift: tuple[float, float] = (0.0, 0.0)) -> Hull:
        copper, gold = shift
        return hull(
            entry({"Cu": 1}, copper), entry({"Au": 1}, gold), entry({"Cu": 1, "Au": 1}, middle + (copper + gold) / 2)
        )

    def test_a_shift_that_is_linear_in_the_composition_is_no_change(self) -> None:
        assert hull_shift([self.made(-0.1)], [self.made(-0.1, (0.5, -0.3))]) == pytest.approx(0.0, abs=1e-9)

    def test_a_deeper_compound_is_a_change(self) -> None:
        found = hull_shift([self.made(-0.1)], [self.made(-0.13)])
        assert found is not None
        assert 0.01 < found <= 0.03

    def test_one_composition_is_compared_as_it_is(self) -> None:
        one, other = (hull(entry({"Cu": 1, "Au": 1}, value)) for value in (-0.1, -0.15))
        assert hull_shift([one], [other]) == pytest.approx(0.05)

    def test_without_a_counterpart_nothing_is_said(self) -> None:
        assert hull_shift([], [self.made(0.0)]) is None
        assert hull_shift([self.made(0.0)], []) is None
        assert hull_shift([hull(entry({"Cu": 1}, 0.0))], [self.made(0.0)]) is None

    def test_the_ground_state_error_is_what_the_labels_say_of_the_models_ground_states(self) -> None:
        models = hull(
            entry({"Cu": 1}, 0.0, name="cu"), entry({"Au": 1}, 0.0, name="au"),
            entry({"Cu": 1, "Au": 1}, -0.1, name="wrong"), entry({"Cu": 1, "Au": 1}, -0.09, 0.01, name="right"),
        )  # fmt: skip
        plain = {"frames": 1, "accurate": 1, "candidates": 0, "failed": 0, "dropped": {}, "low": 0, "high": 1}
        found = Selected.model_validate(
            {**plain, "chosen": [], "batches": 1, "decision": "label", "reason": "", "hulls": [models]}
        )
        labels = {"cu": 0.0, "au": 0.0, "wrong": -0.10, "right": -0.16}  # eV a cell of two atoms
        past = Iteration(
            number=1, stage="s", selected=found, hull_labels=labels, training_frames=1, heldout_frames=1, labels=4
        )
        assert ground_state_error([past]) == pytest.approx(0.03)
        assert ground_state_error([past.model_copy(update={"hull_labels": {}})]) is None
