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


def publish(
    script: str, title: str, rows: list[dict[str, str | float]], checks: list[dict[str, str | float]] | None = None
) -> None:
    """Print a table of `rows`, and of `checks` if there are any, and write them to results/NAME.json."""
    for name, shown in ((title, rows), ("Checks", checks or [])):
        if shown:
            table = Table(*shown[0], title=name)
            for row in shown:
                table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
            Console().print(table)
    document: dict[str, object] = {"title": title, "machine": machine(), "versions": versions(), "rows": rows}
    if checks:
        document["checks"] = checks
    target = Path(script).parent / "results" / f"{Path(script).stem}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(document, indent=1) + "\n")
