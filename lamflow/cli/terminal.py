"""What a person sees while a run goes on: a live table in a terminal, one line a step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from lamflow.config.schema import DataStudy
from lamflow.data.graph import Graph
from lamflow.data.results import Iteration
from lamflow.driver.listener import Lines, Listener
from lamflow.errors import printable
from lamflow.reports.tables import iteration_row

SHORT = ("#", "stage", "trained on", "force RMSE\neV/Å", "energy RMSE\nmeV/atom", "explored", "accurate", "cand.",
         "failed", "labels", "wall\ns", "then")  # fmt: skip


NARROW = (0, 1, 2, 3, 6, 9, 11)
"""Columns that are left in a narrow terminal."""
WIDE_ENOUGH = 118


def iterations_table(iterations: list[Iteration], width: int) -> Table:
    """The iterations, with fewer columns where there is little room."""
    kept = range(len(SHORT)) if width >= WIDE_ENOUGH else NARROW
    table = Table(*(SHORT[place] for place in kept))
    for column in table.columns[2:-1]:
        column.justify = "right"
    for iteration in iterations:
        cells = iteration_row(iteration)
        table.add_row(*(cells[place] for place in kept))
    return table


@contextmanager
def terminal(config: DataStudy) -> Iterator[Listener]:
    """A listener for wherever standard output goes."""
    console = Console()
    if not console.is_terminal:
        yield Lines()
        return
    listener = _Table(config, console)
    with Live(listener, console=console, refresh_per_second=4):
        yield listener


class _Table(Listener):
    """The iterations so far, and a bar for each step of the running one."""

    def __init__(self, config: DataStudy, console: Console) -> None:
        self.config, self.console, self.finished_ones = config, console, list[Iteration]()
        self.graph: Graph | None = None
        self.done: dict[str, float] = {}
        self.begun = time.monotonic()

    def resumes(self, done: list[Iteration]) -> None:
        """See Listener."""
        self.finished_ones = list(done)

    def begins(self, graph: Graph) -> None:
        """See Listener."""
        self.graph, self.done, self.begun = graph, {}, time.monotonic()

    def progress(self, done: dict[str, float]) -> None:
        """See Listener."""
        self.done = done

    def finished(self, iteration: Iteration) -> None:
        """See Listener."""
        self.finished_ones.append(iteration)
        super().finished(iteration)
        self.graph = None

    def says(self, text: str) -> None:
        """See Listener. It is printed above the table."""
        self.console.print(f"{time.strftime('%H:%M:%S')}  {printable(text)}", markup=False, highlight=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = iterations_table(self.finished_ones, options.max_width)
        table.title, table.title_justify, table.title_style = f"lamflow · {self.config.name}", "left", "bold"
        yield table
        if self.graph is None:
            return
        bars = Table.grid(padding=(0, 2))
        seconds = time.monotonic() - self.begun
        bars.add_row(f"iteration {self.graph.round} · {self.graph.stage}", "", f"{seconds:.0f} s")
        for step in (step.name for step in self.graph.steps):
            share = self.done.get(step)
            state = "waiting" if share is None else "done" if share >= 1 else f"{share:.0%}"
            bars.add_row(f"  {step}", ProgressBar(total=1.0, completed=share or 0.0, width=40), state)
        yield bars
