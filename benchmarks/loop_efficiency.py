"""Loop efficiency of the quickstart: seconds that engines work on the critical path ÷ wall time.

The critical path of a step is its slowest pod. What is left is the graph, starting processes, selection and merging.

    python benchmarks/loop_efficiency.py                      runs the quickstart first
    python benchmarks/loop_efficiency.py --run runs/quickstart    reads a run that has finished
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from measure import publish

import lamflow

QUICKSTART = Path(__file__).parent.parent / "workflows" / "dpgen" / "quickstart.yaml"


def measure(run: Path) -> list[dict[str, str | float]]:
    """A row an iteration, and one for all."""
    rows: list[dict[str, str | float]] = []
    engines = walls = 0.0
    for iteration in lamflow.opened(run).iterations:
        engine = sum(step.engine for step in iteration.steps)
        engines, walls = engines + engine, walls + iteration.seconds
        rows.append(_row(f"{iteration.number} · {iteration.stage}", engine, iteration.seconds))
    return [*rows, _row("all", engines, walls)]


def _row(name: str, engine: float, wall: float) -> dict[str, str | float]:
    return {"iteration": name, "engines (s)": engine, "wall (s)": wall, "efficiency": engine / wall}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    given = parser.parse_args()
    if given.run:
        rows = measure(given.run)
    else:
        with tempfile.TemporaryDirectory() as folder:
            lamflow.load(QUICKSTART).run(folder)
            rows = measure(Path(folder))
    publish(__file__, "Loop efficiency of the quickstart", rows)


if __name__ == "__main__":
    main()
