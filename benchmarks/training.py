"""Processor seconds of a training of the quickstart: `dp` as it comes, `dp` without data workers, and lamflow.

    python benchmarks/training.py [--steps 800]

lamflow trains without workers and keeps frames in memory: its weights are the same, bit by bit, as those of `dp` with
NUM_WORKERS=0. With workers DeePMD-kit takes the frames in another order, which depends on their number and so on the
cores of the machine. All contain importing everything and freezing the model for LAMMPS.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _bench import Cell, cores, parse_arguments, parser, publish, spent_by

WORK = Path(__file__).parent / "_training_work.py"


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=800)
    settings = parse_arguments(options, steps=20)
    default = {key: value for key, value in os.environ.items() if key != "NUM_WORKERS"}
    ways = {
        f"dp, {min(4, cores())} data workers (its default here)": ("dp", default),
        "dp, NUM_WORKERS=0": ("dp", {**default, "NUM_WORKERS": "0"}),
        "lamflow": ("lamflow", default),
    }
    rows: list[dict[str, Cell]] = []
    for name, (way, environment) in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            argv = [sys.executable, str(WORK), way, folder, str(settings.steps)]
            with spent_by() as seen:
                done = subprocess.run(argv, env=environment, capture_output=True, text=True, cwd=folder, check=False)
            if done.returncode:
                raise SystemExit(done.stderr)
            said = json.loads(done.stdout.splitlines()[-1])
        rows.append({
            "training": name, "steps": settings.steps, "CPU (s)": seen.cpu, "wall (s)": seen.wall,
            "load before": seen.load, "weights": said["weights"],
        })  # fmt: skip
    publish(settings, "training", "Training", rows)


if __name__ == "__main__":
    main()
