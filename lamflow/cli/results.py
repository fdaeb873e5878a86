"""Commands that read a run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from rich.console import Console

from lamflow.api import Run, RunStatus, iteration_row
from lamflow.cli.documents import print_document
from lamflow.cli.terminal import iterations_table
from lamflow.data.dataset import write_dataset
from lamflow.driver.contents import best_models, labeled_items, models_of_iteration, newest_models
from lamflow.driver.located import located
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import InputError, StateError, printable


def status(run: str, as_json: bool) -> None:
    """The record and the table of iterations, or both as a document."""
    opened = Run.open(run)
    standing, records = opened.status, opened.records
    if as_json:
        print_document({"run": standing, "iterations": [iteration_row(record) for record in records]})
        return
    console = Console()
    process = f" (process {standing.process})" if standing.process else ""
    console.print(f"[bold]{standing.name}[/]: {_state(standing, run, opened.is_remote)}{process}")
    if standing.message:
        console.print(printable(standing.message), markup=False)
    for failure in standing.failures:
        if failure not in standing.message:
            console.print(printable(failure), markup=False)
    console.print(iterations_table(records, console.width) if records else "nothing has finished yet")


def _state(standing: RunStatus, run: str, remote: bool) -> str:
    if standing.state == "running" and remote:
        return f"running on a cluster, by its last word; `lamflow watch {run}` looks there"
    return "killed; `lamflow resume` goes on" if standing.state == "killed" else standing.state


def report(run: str, to: Path | None) -> None:
    """Write the report and say where it is."""
    print(Run.open(run).report(to))


def fetch(run: str, what: str, to: Path, iteration: int | None) -> None:
    """Copy models or data out of a run."""
    if to.exists():
        raise InputError(f"{to} exists already; give another folder with --to")
    Run.open(run)
    place = located(run)
    if iteration is not None and what != "models":
        raise InputError(
            "--iteration is for models; data are fetched whole, with every frame's iteration in the manifest"
        )
    if what == "best":
        _copy_models(place.path, best_models(place), to, "")
    elif what == "models" and iteration is not None:
        _copy_models(place.path, models_of_iteration(place, iteration), to, f" in iteration {iteration}")
    elif what == "models":
        _copy_models(place.path, newest_models(place), to, "")
    elif what in ("data", "heldout"):
        config = RunDirectory(place.path).config()
        items = labeled_items(place, "heldout" if what == "heldout" else "train")
        kinds = sorted({int(z) for item in items for z in np.unique(item.labeled.frame.numbers)})
        elements = config.elements or [chemical_symbols[z] for z in kinds]
        manifest = write_dataset(to, items, elements, config.data_format, repeats=True)
        print(f"{to}: {len(manifest.frames)} frames in {config.data_format}")
    else:
        raise InputError(f"{what!r} cannot be fetched; choose models, best, data or heldout")


def _copy_models(run: Path, folders: Sequence[Path], to: Path, where: str) -> None:
    if not folders:
        raise StateError(f"{run}: there are no models{where} that can be used; see `lamflow status {run}`")
    for folder in folders:
        shutil.copytree(folder, to / folder.name)
    print(f"{to}: {len(folders)} models")


def why(run: str, frame: str) -> None:
    """Tell a frame's story."""
    for line in Run.open(run).why(frame):
        print(printable(line))
