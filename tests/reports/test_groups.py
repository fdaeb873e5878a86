"""What explore groups were judged by."""

from __future__ import annotations

from lamflow.data.selected import GroupSeen
from lamflow.reports.groups import GROUP_COLUMNS, group_rows
from tests.records import iteration

LEVELS = {"force_max": (0.1, 0.5), "virial_max": (0.02, 0.2), "force_max_relative": (0.1, 0.3)}


def test_every_group_has_a_row_with_its_levels_and_units() -> None:
    first, last = iteration(1, "label"), iteration(2, "label")
    for number, record in enumerate((first, last), 1):
        assert record.selected is not None
        seen = [
            GroupSeen(group=0, levels=LEVELS, frames=10 * number, accurate=6, failed=1, runs=2, failed_runs=0),
            GroupSeen(group=1, frames=0, accurate=0, failed=0, runs=1, failed_runs=1),
        ]
        object.__setattr__(record.selected, "groups", seen)
    rows = group_rows([iteration(0), first, last])
    levels = "force_max 0.1 to 0.5 eV/Å; virial_max 0.02 to 0.2 eV/atom; force_max_relative 0.1 to 0.3"
    assert rows == [
        ("warm", "0", levels, "20", "30.0%", "13", "1", "0"),
        ("warm", "1", "", "0", "0.0%", "0", "0", "0"),
    ]
    assert len(rows[0]) == len(GROUP_COLUMNS)
