"""What is held out of the data of several heads."""

from __future__ import annotations

import numpy as np
import pytest

from lamflow.config import parse
from lamflow.config.schema import TrainingStudy
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.dataset import Item, Origin
from lamflow.errors import InputError
from lamflow.policy.heldout import hold_out

STUDY = """
workflow: training
name: two
seed: {seed}
elements: [Cu]
structures: [{{name: c, crystal: {{formula: Cu, lattice: fcc, a: 3.6}}, copies: 4}}]
heads:
  - {{name: a, start: {{label: [c]}}, heldout: {first}, label: {{engine: emt}}}}
  - {{name: b, start: {{label: [c]}}, heldout: {{fraction: 0.2}}, label: {{engine: emt}}}}
train: {{engine: deepmd, models: 1, steps: 10}}
"""


def study(seed: int, first: str = "{fraction: 0.2}") -> TrainingStudy:
    return parse(STUDY.format(seed=seed, first=first), kind=TrainingStudy)


def items(head: str, numbers: range) -> list[Item]:
    """Frames that are told apart by their cell, each of an origin of its own."""
    made = []
    for number in numbers:
        frame = Frame(np.array([29]), np.zeros((1, 3)), np.eye(3) * (3 + number / 100), True)
        labeled = LabeledFrame(frame, Labels(-1.0, np.zeros((1, 3))))
        made.append(Item(labeled, Origin(iteration=0, source=f"{head}{number}", head=head)))
    return made


def hashes(found: list[Item], head: str) -> set[str]:
    return {item.hash for item in found if item.origin.head == head}


@pytest.mark.parametrize("seed", range(5))
def test_heads_with_the_same_frames_hold_out_the_same_ones(seed: int) -> None:
    """The second head has more of them than the first."""
    train, heldout = hold_out(study(seed), items("a", range(20)) + items("b", range(40)), [])
    assert len(hashes(heldout, "a")) == 4
    assert len(hashes(heldout, "b")) == 8
    assert hashes(heldout, "a").isdisjoint(hashes(train, "b"))
    assert hashes(heldout, "b").isdisjoint(hashes(train, "a"))


def test_what_a_head_is_judged_by_is_held_out_of_the_other() -> None:
    given = items("a", range(20, 25))
    train, heldout = hold_out(study(1, "{label: [c]}"), items("a", range(20)) + items("b", range(40)), given)
    assert hashes(heldout, "b") >= hashes(given, "a")
    assert hashes(heldout, "b").isdisjoint(hashes(train, "a"))
    assert len(hashes(heldout, "b")) == 8


def test_a_head_whose_frames_are_all_trained_on_elsewhere_still_has_some_held_out() -> None:
    train, heldout = hold_out(study(1, "{label: [c]}"), items("a", range(20)) + items("b", range(20)), [])
    assert len(hashes(heldout, "b")) == 4
    assert len(hashes(train, "b")) == 16


def test_one_origin_cannot_be_parted() -> None:
    with pytest.raises(InputError, match="none of it can be held out"):
        hold_out(study(1), items("a", range(1)) + items("b", range(20)), [])
