"""Frames with moments beyond those trained on."""

from __future__ import annotations

from lamflow.reports.moments import MOMENT_COLUMNS, moment_rows
from tests.records import iteration, model


def test_every_iteration_says_what_lies_beyond() -> None:
    trained = model(moments={"longest": 2.5, "collinear": True, "heldout": 3})
    visited = {
        "number": 0, "name": "a", "group": "0", "structure": "x", "start": 0, "condition": {}, "seed": 1, "frames": 9,
        "beyond": 4,
    }  # fmt: skip
    record = iteration(1, "label", models=[trained], simulations=[visited])
    rows = moment_rows([iteration(0), record, iteration(2, "label", models=[model()])])
    assert rows == [("1", "collinear moments", "2.50", "3", "4", "0")]
    assert len(rows[0]) == len(MOMENT_COLUMNS)
