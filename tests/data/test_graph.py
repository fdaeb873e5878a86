"""The graph of a round as a value."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow.data.graph import Condition, Graph, Output, Step
from lamflow.errors import StateError

DECISION = Output(step="select", name="decision")
GRAPH = Graph(
    kind="learning", round=3, name="iteration-3", stage="warm",
    steps=[
        Step(name="select", op="", writes={}, records=["selected.json"]),
        Step(name="label", op="", writes={}, when=Condition(output=DECISION, equals="label")),
    ],
)  # fmt: skip


@pytest.mark.parametrize(
    "text", ['{"decision": "la', "{}", "[]", "3"], ids=["cut off", "without it", "a list", "a number"]
)
def test_a_record_that_cannot_be_read_is_named_with_the_way_back(text: str, tmp_path: Path) -> None:
    assert not GRAPH.is_complete(tmp_path)
    (tmp_path / "selected.json").write_text(text)
    with pytest.raises(StateError, match=r"selected\.json: .* step select .* --redo begins iteration 3 again"):
        GRAPH.again({"select": [0]}, tmp_path)
