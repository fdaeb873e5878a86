"""How long a person waits for a command that runs nothing, and what the beginning of a job imports.

Best and median of some tries, each in a fresh process.

    python benchmarks/startup.py [--tries 10]

`check` of the quickstart reads labeled frames through ASE, whose import takes half of its time; the study that
`lamflow init` makes names no files.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from _bench import Cell, parse_arguments, parser, publish, timed

ENTRIES = ("lamflow.ops.job", "lamflow.cluster.job", "lamflow.driver.pod")
"""What a job imports first: a plain one, one that opens the object store itself, and the driver's pod."""
QUICKSTART = Path(__file__).parent.parent / "workflows" / "dpgen" / "quickstart.yaml"


def imported(entry: str, tries: int) -> dict[str, Cell]:
    """What importing a module takes, as Python's own `-X importtime` says it: the best of some tries, s."""
    best: dict[str, Cell] = {}
    for _ in range(tries):
        argv = [sys.executable, "-X", "importtime", "-c", f"import {entry}"]
        said = subprocess.run(argv, check=True, capture_output=True, text=True).stderr
        own = re.findall(r"^import time: +(\d+) \| +\d+ \| +(\S+)$", said, re.MULTILINE)
        packages = Counter[str]()
        for microseconds, module in own:
            packages[module.partition(".")[0]] += int(microseconds)
        seconds = sum(packages.values()) / 1e6
        if not best or seconds < float(best["best (s)"] or 0):
            most = ", ".join(f"{name} {value / 1e6:.2f}" for name, value in packages.most_common(3))
            best = {"entry": entry, "best (s)": seconds, "modules": len(own), "most of it (s)": most}
    return best


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
    entries = [imported(entry, settings.tries) for entry in ENTRIES]
    publish(settings, "startup", "Start-up", rows, imports=entries)


if __name__ == "__main__":
    main()
