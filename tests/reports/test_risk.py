"""Stated against found."""

from __future__ import annotations

import pytest

from lamflow.data.calibration import RiskCheck
from lamflow.reports.risk import RISK_COLUMNS, likely, risk_rows
from tests.records import iteration


def check(frames: int, above_bound: int) -> RiskCheck:
    return RiskCheck(frames=frames, stated=0.05, above_bound=above_bound, stated_above=0.5 * frames, above=frames // 4)


def test_every_check_has_a_row_and_all_together_one() -> None:
    records = [
        iteration(1, "label", risk_checks={"labels": check(20, 2)}),
        iteration(2, "label", risk_checks={"labels": check(20, 0), "audit": check(4, 0)}),
    ]
    rows = risk_rows(records)
    assert [row[0] for row in rows] == ["1", "2", "2", "all"]
    assert all(len(row) == len(RISK_COLUMNS) for row in rows)
    assert rows[-1][2:6] == ("labels", "40", "5.0%", "5.0% (0.6% to 16.9%)")
    assert rows[-1][6:] == ("50.0%", "25.0%")


def test_runs_without_calibration_have_no_rows() -> None:
    assert risk_rows([iteration(0), iteration(1, "label")]) == []


def test_an_interval_holds_what_is_likely() -> None:
    assert likely(0, 20) == (0.0, pytest.approx(0.168, abs=1e-3))
