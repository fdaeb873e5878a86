"""Where the time of the quickstart goes: seconds inside training steps, dynamics steps and label evaluations over
wall time × cores, and what the rest is; `lamflow/data/spent.py` defines it.

    python benchmarks/loop_efficiency.py                          runs the quickstart first
    python benchmarks/loop_efficiency.py --on slurm --elements 2  runs it on the Slurm whose commands are here, with at
                                                                  most two elements a step
    python benchmarks/loop_efficiency.py --run runs/quickstart    reads a run that has finished

Wall time and processor time of the whole run are measured from outside, the driver with it. The small mode runs a study
of seconds, whose engines do next to nothing: what it shows is the overhead.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from _bench import Cell, parse_arguments, parser, publish, spent_by

import lamflow
from lamflow.data.spent import Spent

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
    """A row for each step of each iteration, one for each iteration, and one for all."""
    rows: list[dict[str, Cell]] = []
    records = lamflow.Run.open(run).records
    for iteration in records:
        name = f"{iteration.number} · {iteration.stage}"
        rows += [_row(f"{name} · {step.name}", step.wall, step.spent) for step in iteration.steps]
        rows.append(_row(name, iteration.seconds, iteration.spent))
    whole = sum((iteration.spent for iteration in records), Spent())
    return [*rows, _row("all", sum(iteration.seconds for iteration in records), whole)]


def _row(name: str, wall: float, spent: Spent) -> dict[str, Cell]:
    parts = {"start-up" if kind == "startup" else kind: value for kind, value in spent.model_dump().items()}
    return {"round": name, "wall (s)": wall, "core-seconds": spent.total, **parts, "efficiency": spent.efficiency}


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--run", type=Path)
    options.add_argument("--on", help="batch system whose commands are here: slurm")
    options.add_argument("--elements", type=int, default=1000, help="most elements of an array there")
    settings = parse_arguments(options)
    outside: list[dict[str, Cell]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LAMFLOW_CACHE"] = str(Path(folder) / "cache")  # labels of earlier runs would be found
        study = QUICKSTART
        if settings.small:
            study = Path(folder) / "tiny.yaml"
            study.write_text(TINY, encoding="utf-8")
        if settings.run is None:
            on = ["--on", settings.on] if settings.on else []
            if settings.on:
                plain = yaml.safe_load(study.read_text(encoding="utf-8"))
                plain["pods"] = {"explore": {"parallel": 1}}  # four simulations of a second need no second start
                plain["batch"] = {"system": settings.on, "poll": 2, "array_size": settings.elements}
                plain["heldout"]["data"] = [str(study.parent / name) for name in plain["heldout"].get("data", [])]
                study = Path(folder) / "study.yaml"
                study.write_text(yaml.safe_dump(plain), encoding="utf-8")
            argv = [sys.executable, "-m", "lamflow", "run", str(study), "--dir", str(Path(folder) / "run"), *on]
            with spent_by() as seen:
                subprocess.run(argv, check=True)
            outside.append(
                {"the whole run": "from outside", "wall (s)": seen.wall, "CPU (s)": seen.cpu, "load before": seen.load}
            )
        rows = measure(settings.run or Path(folder) / "run")
    publish(settings, "loop_efficiency", "Loop efficiency", rows, outside=outside)


if __name__ == "__main__":
    main()
