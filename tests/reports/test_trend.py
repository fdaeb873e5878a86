"""Properties over the iterations of learning."""

from __future__ import annotations

from lamflow.data.comparisons import Comparison, TrackedValues
from lamflow.data.results import Iteration
from lamflow.reports.trend import figure, rows
from tests.records import iteration


def said(number: int, **values: float) -> Iteration:
    """An iteration whose model says these values, whose reference is 100 GPa."""
    made = [
        Comparison(structure="copper", potential="model", property="elastic", name=name, where="", value=value,
                   unit="GPa", uncertainty=None, reference=100.0)
        for name, value in values.items()
    ]  # fmt: skip
    return iteration(number, "label", tracked=TrackedValues(comparisons=made))


def test_what_has_become_worse_stands_first_and_says_since_when() -> None:
    past = [iteration(0), said(1, C11=140, C12=90, C44=130), said(2, C11=110, C12=101), said(3, C11=104, C12=130)]
    first, second, third = rows(past)
    assert first[2:7] == ["C12", "model", "90", "101", "130"]
    assert first[-1] == "worse: it was 1 GPa off in iteration 2, and is 30 now"
    assert second[-1] == "no value since iteration 1"
    assert third[2:] == ["C11", "model", "140", "110", "104", "GPa", "100", "+4.00", ""]
    assert figure(past) is not None
    assert figure(past[:1]) is None
