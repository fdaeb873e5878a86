"""How long a person waits for a command that runs nothing: best and median of some tries, each in a fresh process.

    python benchmarks/startup.py [--tries 10]

`check` of the quickstart reads labeled frames through ASE, whose import takes half of its time; the study that
`lamflow init` makes names no files.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _bench import Cell, parse_arguments, parser, publish, timed

QUICKSTART = Path(__file__).parent.parent / "workflows" / "dpgen" / "quickstart.yaml"


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--tries", type=int, default=10)
    settings = parse_arguments(options, tries=1)
    rows: list[dict[str, Cell]] = []
    program = [sys.executable, "-m", "lamflow"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*program, "init", "study"], cwd=folder, check=True, capture_output=True)
        scaffold = str(Path(folder) / "study" / "lamflow.yaml")
        for name, words in (
            ("lamflow --help", ["--help"]),
            ("lamflow check, a study without files", ["check", scaffold]),
            ("lamflow check, the quickstart", ["check", str(QUICKSTART)]),
        ):
            seconds = []
            for _ in range(settings.tries):
                with timed() as clock:
                    subprocess.run([*program, *words], check=True, capture_output=True)
                seconds.append(clock.seconds)
            rows.append({"command": name, "best (s)": min(seconds), "median (s)": statistics.median(seconds)})
    publish(settings, "startup", "Start-up", rows)


if __name__ == "__main__":
    main()
