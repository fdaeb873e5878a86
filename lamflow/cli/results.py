"""Commands that read a run."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console

from lamflow.cli.runs import located
from lamflow.cli.terminal import iterations_table
from lamflow.config import stored
from lamflow.config.select import Select
from lamflow.data.dataset import MANIFEST, FrameRecord, Manifest, write_dataset
from lamflow.data.results import Iteration
from lamflow.data.store import HELDOUT, INDEX, INPUT, TRAIN, iteration_key
from lamflow.driver.rundir import RunDirectory
from lamflow.driver.study import RunResult, opened
from lamflow.errors import InputError, StateError
from lamflow.ops.read import settings_hash


def status(run: str) -> None:
    """The record and the table of iterations."""
    found = located(run)
    directory = RunDirectory(found.mirrored())
    record, iterations, pid = directory.run(), directory.iterations(), directory.driver()
    state: str = record.state
    if state == "running" and found.remote is not None:
        state = f"running on a cluster, by its last word; `lamflow watch {run}` looks there"
    elif state == "running" and pid is None:
        state = "killed; `lamflow resume` goes on"
    console = Console()
    console.print(f"[bold]{record.name}[/]: {state}" + (f" (process {pid})" if pid else ""))
    if record.message:
        console.print(record.message, markup=False)
    console.print(iterations_table(iterations, console.width))


def report(run: str, to: Path | None) -> None:
    """Write the report and say where it is."""
    print(opened(located(run).mirrored()).report(to))


def fetch(run: str, what: str, to: Path, iteration: int | None) -> None:
    """Copy models or data out of a run."""
    if to.exists():
        raise InputError(f"{to} exists already; give another folder with --to")
    found = located(run)
    path = found.mirrored()
    result = opened(path)
    if iteration is not None and what != "models":
        raise InputError(
            "--iteration is for models; data are fetched whole, with every frame's iteration in the manifest"
        )
    if what == "best":
        for folder in result.chosen_folders:
            found.mirrored(f"{folder.relative_to(path).as_posix()}/", whole=True)
        _copy_models(result.chosen_folders, to)
    elif what == "models":
        for folder in result.model_folders if iteration is None else [path / iteration_key(iteration) / "models"]:
            found.mirrored(f"{folder.relative_to(path).as_posix()}/", whole=True)
        _fetch_models(result, to, iteration)
    elif what in ("data", "heldout"):
        config = RunDirectory(path).config()
        found.mirrored(f"{HELDOUT if what == 'heldout' else TRAIN}/", whole=True)
        manifest = write_dataset(to, result.data(what == "heldout"), config.elements, config.data_format)
        print(f"{to}: {len(manifest.frames)} frames in {config.data_format}")
    else:
        raise InputError(f"{what!r} cannot be fetched; choose models, best, data or heldout")


def _fetch_models(result: RunResult, to: Path, iteration: int | None) -> None:
    folders = result.model_folders
    if iteration is not None:
        folders = sorted((result.path / iteration_key(iteration) / "models").glob("[0-9]*"))
    if not folders:
        which = "yet" if iteration is None else f"in iteration {iteration}"
        raise StateError(f"{result.path}: there are no models {which}")
    _copy_models(folders, to)


def _copy_models(folders: list[Path], to: Path) -> None:
    for folder in folders:
        shutil.copytree(folder, to / folder.name)
    print(f"{to}: {len(folders)} models")


def why(run: str, frame: str) -> None:
    """Tell a frame's story."""
    path = located(run).mirrored()
    directory = RunDirectory(path)
    directory.run()
    found = [(where, record) for where, record in _records(directory) if _is(record, where, frame)]
    if not found:
        raise InputError(f"{frame}: no frame of this run's data is called so; hashes are in {path}/{INDEX}")
    if len({record.hash for _, record in found}) > 1:
        example = f"{found[0][0]}/{found[0][1].system}#{found[0][1].index}"
        raise InputError(f"{frame!r} means {len(found)} frames; give more of a hash, or a place like {example}")
    where, record = found[0]
    for line in _story(directory, where, record):
        print(line)


def _records(directory: RunDirectory) -> list[tuple[str, FrameRecord]]:
    """Every frame with its data set."""
    found = []
    for entry in sorted((directory.path / INDEX).glob("*")):
        for name, role in ((MANIFEST, "train"), (f"heldout-{MANIFEST}", "heldout")):
            manifest = Manifest.read(entry / name)
            found += [(f"data/{role}/{entry.name}", record) for record in manifest.frames]
    return found


def _is(record: FrameRecord, where: str, frame: str) -> bool:
    return record.hash.startswith(frame) or f"{where}/{record.system}#{record.index}".endswith(frame)


def _story(directory: RunDirectory, where: str, record: FrameRecord) -> list[str]:
    origin, config = record.origin, directory.config()
    lines = [
        f"frame     {record.hash}, {record.natoms} atoms",
        f"lies in   {where}/{record.system}, frame {record.index}",
        f"came from {origin.source}" + (f", step {origin.step}" if origin.step is not None else ""),
    ]
    iteration = next((item for item in directory.iterations() if item.number == origin.iteration), None)
    if origin.deviation is not None and iteration is not None and iteration.selected is not None:
        lines += _selection(iteration, record, stored(directory.path / INPUT).select, origin.deviation)
    else:
        lines.append("chosen    before the first iteration, as start or held-out data")
    if origin.settings is None:
        lines.append("labels    came with the data")
    else:
        today = settings_hash(config.labeler(origin.head))
        same = "the run's settings" if origin.settings == today else "settings that have changed since"
        lines.append(f"labels    by {config.labeler(origin.head).engine}, {same} (hash {origin.settings})")
    return lines


def _selection(iteration: Iteration, record: FrameRecord, select: Select, deviation: float) -> list[str]:
    selected = iteration.selected
    chosen = next((item for item in selected.chosen if item.hash == record.hash), None) if selected else None
    result = next((result for result in iteration.simulations if result.name == record.origin.source), None)
    lines = [f"explored  in iteration {iteration.number}, stage {iteration.stage}"]
    if result is not None:
        condition = "".join(f", {name} {value:g}" for name, value in result.condition.items())
        lines.append(f"replica   structure {result.structure}:{result.start}{condition}, seed {result.seed}")
    if selected is not None:
        window = f"{selected.low:.4g} to {selected.high:.4g} {select.unit}"
        lines.append(f"score     {select.metric} {deviation:.4f} {select.unit} in the window {window}")
    if chosen is not None:
        lines.append(f"rule      {chosen.rule}")
    return lines
