"""How figures go from run to run: _trend.py RUNS OUTPUT, where RUNS holds a folder of NAME.json for each run.

Writes trend.md, a row for each figure, those on top that moved most against the median of the runs before, and
trend.png, those figures by date. Figures of other processors, numbers of cores and sizes are other figures: they are
not compared.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

RUNS = 30
"""Newest runs that are looked at."""
DRAWN = 12
"""Figures that are drawn."""
NOTABLE = 0.2
"""Change against the median of the runs before that is marked; shared machines vary by as much as 10 %."""


@dataclass(frozen=True)
class Figure:
    """What a number is: its benchmark, its row, its column, and the machine and the sizes that it belongs to."""

    benchmark: str
    row: str
    column: str
    machine: str
    sizes: str

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.benchmark}: {self.row}, {self.column}"


Series = list[tuple[datetime, float]]


def figures(runs: Path) -> dict[Figure, Series]:
    """Every number of every run, oldest first. Results without a date are passed over."""
    found: dict[Figure, Series] = defaultdict(list)
    for file in sorted(runs.glob("*/*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        if "date" not in result:
            continue
        when = datetime.fromisoformat(result["date"]).astimezone(UTC).replace(tzinfo=None)
        tables = [value for value in result.values() if isinstance(value, list)]
        for row in (row for table in tables for row in table if isinstance(row, Mapping)):
            (_, name), *values = row.items()
            for column, value in values:
                if isinstance(value, int | float) and not isinstance(value, bool):
                    figure = Figure(file.stem, str(name), column, _machine(result), json.dumps(result.get("settings")))
                    found[figure].append((when, float(value)))
    return {figure: sorted(series)[-RUNS:] for figure, series in found.items()}


def _machine(result: Mapping[str, Any]) -> str:
    machine = result.get("machine", {})
    return f"{machine.get('cpu')}, {machine.get('cores')} cores"


def change(series: Series) -> float:
    """The last value against the median of those before, as a share of it; 0 where there are none."""
    before = [value for _, value in series[:-1]]
    median = statistics.median(before) if before else 0.0
    return series[-1][1] / median - 1 if median else 0.0


def table(found: Mapping[Figure, Series]) -> str:
    """Markdown, the largest change first."""
    lines = ["| figure | last | median before | change | runs | machine |", "| --- | --- | --- | --- | --- | --- |"]
    for figure in by_change(found):
        series = found[figure]
        before = [value for _, value in series[:-1]]
        median = f"{statistics.median(before):.4g}" if before else ""
        moved = change(series)
        mark = " **!**" if abs(moved) >= NOTABLE else ""
        said = f"{moved:+.0%}{mark}" if before else ""
        lines.append(f"| {figure.title} | {series[-1][1]:.4g} | {median} | {said} | {len(series)} | {figure.machine} |")
    return "\n".join(lines) + "\n"


def by_change(found: Mapping[Figure, Series]) -> list[Figure]:
    """Figures, those that moved most first."""
    return sorted(found, key=lambda figure: (-abs(change(found[figure])), figure.title, figure.machine, figure.sizes))


def draw(found: Mapping[Figure, Series], file: Path) -> None:
    """The figures that moved most, each against the date."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    chosen = [figure for figure in by_change(found) if len(found[figure]) > 1][:DRAWN]
    canvas = Canvas(figsize=(12, 2.4 * max(1, -(-len(chosen) // 3))), layout="constrained")
    FigureCanvasAgg(canvas)
    for place, figure in enumerate(chosen):
        axes = canvas.add_subplot(-(-len(chosen) // 3), 3, place + 1)
        days, values = zip(*found[figure], strict=True)
        axes.plot(np.array(days, dtype="datetime64[s]"), values, "o-", markersize=3)
        axes.set_title(figure.title, fontsize=7)
        axes.set_ylim(bottom=min(0.0, *values))
        axes.tick_params(labelsize=6)
    canvas.savefig(file, dpi=120)


def main(runs: Path, output: Path) -> None:
    """Write both."""
    found = figures(runs)
    output.mkdir(parents=True, exist_ok=True)
    (output / "trend.md").write_text(table(found), encoding="utf-8")
    draw(found, output / "trend.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
