"""What each explore group was judged by, and what it has brought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lamflow.config.select import UNITS
from lamflow.data.results import Iteration

GROUP_COLUMNS = ("stage", "group", "levels", "explored", "accurate", "candidates", "failed", "labels")


def group_rows(iterations: Sequence[Iteration]) -> list[tuple[str, ...]]:
    """A row for each explore group of each stage, as its last iteration saw it. Groups are counted from 0."""
    last = {it.stage: it.selected for it in iterations if it.selected is not None and it.selected.groups}
    rows: list[tuple[str, ...]] = []
    for stage, selected in last.items():
        for group in selected.groups:
            rows.append(
                (
                    stage, str(group.group), levels_in_words(group.levels), str(group.frames + group.refused),
                    f"{group.accurate_fraction:.1%}", str(group.frames - group.accurate - group.failed),
                    str(group.failed), str(sum(chosen.group == str(group.group) for chosen in selected.chosen)),
                )
            )  # fmt: skip
    return rows


def levels_in_words(levels: Mapping[str, tuple[float, float]]) -> str:
    """Levels of each quantity with their unit; empty for levels that are not fixed."""
    return "; ".join(
        f"{metric} {low:g} to {high:g} {UNITS.get(metric, 'eV/Å')}".rstrip() for metric, (low, high) in levels.items()
    )
