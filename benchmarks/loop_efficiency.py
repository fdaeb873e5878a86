"""Loop efficiency of the quickstart: seconds that engines work on the critical path ÷ wall time.

The critical path of a step is its slowest pod. What is left is the graph, starting processes, selection and merging.

    python benchmarks/loop_efficiency.py                          runs the quickstart first
    python benchmarks/loop_efficiency.py --on slurm               runs it on the Slurm whose commands are here
    python benchmarks/loop_efficiency.py --run runs/quickstart    reads a run that has finished

The small mode runs a study of seconds, whose engines do next to nothing: what it shows is the overhead.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from _bench import Cell, parse_arguments, parser, publish

import lamflow

QUICKSTART = Path(__file__).parent.parent / "workflows" / "dpgen" / "quickstart.yaml"
TINY = """\
name: tiny
elements: [Cu]
structures:
  - {name: rattled, crystal: {formula: Cu, lattice: fcc, a: 3.6, cubic: true}, copies: 8, strain: 0.02, rattle: 0.05}
start: {label: [rattled]}
heldout: {fraction: 0.25}
train: {engine: pair, models: 2, functions: 6}
stages:
  - name: warm
    explore: [{engine: ase, structures: [rattled], method: langevin, temperatures: [300], steps: 20, every: 4}]
select: {window: {rule: fixed, low: 0.001, high: 2.0}, limit: 4}
label: {engine: emt}
converge: {accurate: 0.999}
budget: {iterations: 1}
"""


def measure(run: Path) -> list[dict[str, Cell]]:
    """A row an iteration, and one for all."""
    rows: list[dict[str, Cell]] = []
    engines = walls = 0.0
    for iteration in lamflow.Run.open(run).records:
        engine = sum(step.engine for step in iteration.steps)
        engines, walls = engines + engine, walls + iteration.seconds
        rows.append(_row(f"{iteration.number} · {iteration.stage}", engine, iteration.seconds))
    return [*rows, _row("all", engines, walls)]


def _row(name: str, engine: float, wall: float) -> dict[str, Cell]:
    return {"iteration": name, "engines (s)": engine, "wall (s)": wall, "efficiency": engine / wall}


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--run", type=Path)
    options.add_argument("--on", help="batch system whose commands are here: slurm")
    settings = parse_arguments(options)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LAMFLOW_CACHE"] = str(Path(folder) / "cache")  # labels of earlier runs would be found
        study = QUICKSTART
        if settings.small:
            study = Path(folder) / "tiny.yaml"
            study.write_text(TINY, encoding="utf-8")
        if settings.run is None:
            lamflow.Study.load(study).run(Path(folder) / "run", on=settings.on)
        rows = measure(settings.run or Path(folder) / "run")
    publish(settings, "loop_efficiency", "Loop efficiency", rows)


if __name__ == "__main__":
    main()
