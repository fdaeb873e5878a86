"""Processor seconds and memory of the select and the merge step by the number of frames; straight lines are wanted.

    python benchmarks/scale.py [--explored 1000000] [--labeled 100000]

Frames have 8 atoms and come from 10 jobs; one explored frame in a hundred is a candidate. Each count is measured in a
process of its own, reading and writing included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from _bench import Cell, parse_arguments, parser, publish

WORK = Path(__file__).parent / "_scale_work.py"


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--explored", type=int, default=1_000_000)
    options.add_argument("--labeled", type=int, default=100_000)
    settings = parse_arguments(options, explored=10_000, labeled=1_000)
    rows: list[dict[str, Cell]] = []
    for work, most in (("select", settings.explored), ("merge", settings.labeled)):
        for count in (most // 10, most):
            with tempfile.TemporaryDirectory() as folder:
                argv = [sys.executable, str(WORK), work, str(count), folder]
                done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr)
            said = json.loads(done.stdout.splitlines()[-1])
            rows.append({"step": work, "frames": count, **said, "CPU (ms) a frame": 1000 * said["CPU (s)"] / count})
    publish(settings, "scale", "Scale", rows)


if __name__ == "__main__":
    main()
