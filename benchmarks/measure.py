"""What every benchmark says about itself: the machine, the versions, a table, and a JSON file beside the script."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lamflow.driver.rundir import versions


class Clock:
    """Seconds of a `with timed()` block."""

    seconds = 0.0


@contextmanager
def timed() -> Iterator[Clock]:
    """Measure the wall time of a block."""
    clock, started = Clock(), time.perf_counter()
    yield clock
    clock.seconds = time.perf_counter() - started


def machine() -> dict[str, str | int]:
    """What it was measured on."""
    model = "unknown"
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "system": platform.platform(terse=True)}


def published(script: str) -> list[dict[str, str | float]]:
    """Rows that were written by an earlier run of the script on this machine with these versions."""
    target = Path(script).parent / "results" / f"{Path(script).stem}.json"
    found = json.loads(target.read_text()) if target.is_file() else {}
    same = found.get("machine") == machine() and found.get("versions") == versions()
    return list(found["rows"]) if same else []


def publish(script: str, title: str, rows: list[dict[str, str | float]]) -> None:
    """Print a table of `rows` and write them to results/NAME.json."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console().print(table)
    document = {"title": title, "machine": machine(), "versions": versions(), "rows": rows}
    target = Path(script).parent / "results" / f"{Path(script).stem}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(document, indent=1) + "\n")
