"""Every file of a run that it still needs, looked at: what is missing or damaged is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lamflow.config.kinds import kind_named
from lamflow.config.schema import DataStudy
from lamflow.config.section import Section
from lamflow.data.arrays import read_array, read_arrays
from lamflow.data.batch import Batch
from lamflow.data.dataset import verify, verify_as_known
from lamflow.data.files import content_hash
from lamflow.data.layout import (
    BATCHES,
    DESCRIPTORS,
    EVALUATION,
    FILES,
    FRAMES,
    GIVEN,
    GRAPH,
    HELDOUT,
    HELDOUT_MANIFEST,
    INDEX,
    INPUT,
    MANIFEST,
    MERGED,
    MERGED_RECORD,
    MODEL,
    MODEL_PREDICTIONS,
    MODELS,
    PARITY,
    RECORD,
    ROUND_DIGITS,
    ROUNDS,
    SELECTED,
    STRUCTURES,
    TRAIN,
    late_name,
    round_name,
)
from lamflow.data.manifest import Manifest
from lamflow.data.packed import PackedFrames
from lamflow.data.results import Iteration, ModelResult
from lamflow.data.trained import verify_model
from lamflow.data.walk import files_below
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import REPAIR, InputError, StateError


@dataclass(frozen=True)
class Damage:
    """A file that is missing, or not what it was.

    kind   run, settings, structures, graph, record, data, model, start, round (its whole folder), step (of a round that
           has not finished), or picture (what only reports show)
    path   the file, or the folder of what belongs together
    round  that it belongs to
    """

    kind: str
    path: Path
    message: str
    round: int = 0


def damages(directory: RunDirectory, *, whole: bool = False) -> list[Damage]:
    """What is missing or damaged of what a run needs to go on, in its folder, the causes of other damages first.

    The `whole` is also what reports show, and what the steps of an unfinished round have left: a kill may have cut
    that off, which is no damage when the run goes on.
    """
    found = list(_asked("run", directory.record, directory.run))
    settings = list(_asked("settings", directory.path / INPUT, directory.config))
    if settings:
        return [*found, *settings]
    study = directory.config()
    found += _lost_input(study, directory.path / INPUT)
    for each in study.structures:
        file = directory.path / STRUCTURES / f"{each.name}.npz"
        found += _asked("structures", file, partial(PackedFrames.load, file))
    if any(damage.kind == "run" for damage in found):
        return found
    count = directory.finished_rounds()
    for number in range(count):
        found += _of_round(directory, study, number, newest=number == count - 1)
    for number, entry in lost_rounds(directory, count):
        folder = directory.round(number)
        said = f"{folder}: this folder of the run is missing, though the data that it added are there ({entry})"
        kind = "round" if number else "start"  # of which what was prepared is gone as well
        found.append(Damage(kind, folder, f"{said}; {REPAIR}", number))
    if not any(damage.kind in ("start", "round") for damage in found):
        found += _asked("start", directory.path / ROUNDS, directory.require_rounds)
    if count == 0:
        found += _lost_start(directory.round(0))
    if directory.has_graph(count):
        graph = list(_asked("graph", directory.round(count) / GRAPH, partial(directory.graph, count), count))
        found += graph or (_lost_steps(directory, count) if whole else [])
    return [*found, *(_lost_pictures(directory) if whole else [])]


def refuse_damage(directory: RunDirectory) -> None:
    """Raise StateError that names every damage of a run."""
    found = damages(directory)
    if found:
        raise StateError("\n  ".join(dict.fromkeys(damage.message for damage in found)))


def _of_round(directory: RunDirectory, study: DataStudy, number: int, *, newest: bool) -> Iterator[Damage]:
    """Of a round that has finished; only of the newest models are needed and not only their records."""
    folder = directory.round(number)
    yield from _asked("graph", folder / GRAPH, partial(directory.graph, number), number)
    file, kind = folder / RECORD, kind_named(study.workflow)
    lost = list(_asked("record", file, partial(kind.record.read, file), number))
    yield from lost
    record: Iteration | None = None if lost else kind.record.read(file)
    if _adds_data(directory, number) and (number == 0 or record is None or record.merged is not None):
        needed = record is not None or (folder / MERGED / MERGED_RECORD).is_file()
        yield from _lost_data(directory, study, number, round_name(number), needed=needed)
    if record is not None and record.merged_late is not None:
        yield from _lost_data(directory, study, number, late_name(number - 1), needed=True)
    for model in record.models if record is not None else []:
        place = folder / MODELS / str(model.index)
        yield from _asked("model", place, partial(ModelResult.read, place / MODEL), number)
        if newest:
            yield from _asked("model", place, partial(verify_model, place, model), number)
    if newest and (folder / EVALUATION).is_dir():
        place = folder / EVALUATION
        yield from _asked("model", place, partial(read_arrays, place / PARITY), number)


def _adds_data(directory: RunDirectory, number: int) -> bool:
    """The round's graph adds to the run's index; one whose graph is lost may have."""
    try:
        return any(key.startswith(INDEX) for key in directory.graph(number).written)
    except StateError:
        return True


def _lost_data(directory: RunDirectory, study: DataStudy, number: int, part: str, *, needed: bool) -> Iterator[Damage]:
    """Of a part of the data that a round has added; where its record is lost too, only what is there can be seen."""
    entry = directory.path / INDEX / part
    if not needed and not entry.is_dir():
        return
    for key, name in ((TRAIN, MANIFEST), (HELDOUT, HELDOUT_MANIFEST)):
        yield from _asked("data", entry, partial(_verify_part, directory.path / key / part, entry / name), number)
    for head in study.all_heads:
        yield from _asked("data", entry, partial(read_array, entry / f"{head.name}{DESCRIPTORS}"), number)


def _verify_part(dataset: Path, entry: Path) -> None:
    known = Manifest.read(entry)
    if known.frames or dataset.is_dir():
        verify_as_known(dataset, known)


def lost_rounds(directory: RunDirectory, first: int) -> list[tuple[int, Path]]:
    """Rounds from number `first` on of which only the data that they added are left, and the entries of these."""
    entries = sorted((directory.path / INDEX).glob("[0-9]" * ROUND_DIGITS + "*"))
    numbered = [(int(entry.name[:ROUND_DIGITS]), entry) for entry in entries]
    return [(number, entry) for number, entry in numbered if number >= first and not directory.has_graph(number)]


def _lost_start(folder: Path) -> Iterator[Damage]:
    """Of what was prepared for the start, while it has not finished."""
    for given in sorted((folder / GIVEN).glob("*/")):
        yield from _asked("start", given, partial(verify, given))
    for batch in sorted((folder / SELECTED / BATCHES).glob("*/")):
        yield from _asked("start", batch, partial(Batch.read, batch))


def _lost_steps(directory: RunDirectory, number: int) -> Iterator[Damage]:
    readers: dict[str, Callable[[Path], object]] = {
        ".npz": read_arrays, ".npy": read_array, ".json": _read_json
    }  # fmt: skip
    for key in directory.graph(number).written:
        for file in files_below(directory.path / key):
            if file.suffix in readers:
                yield from _asked("step", file, partial(readers[file.suffix], file), number)
        for file in (directory.path / key).glob(f"*/{MODEL}"):
            if not list(_asked("step", file, partial(ModelResult.read, file))):
                yield from _asked("step", file, partial(verify_model, file.parent, ModelResult.read(file)), number)


def _lost_pictures(directory: RunDirectory) -> Iterator[Damage]:
    rounds = directory.path / ROUNDS
    for file in [*rounds.glob(f"*/{MODELS}/*/{MODEL_PREDICTIONS}"), *rounds.glob(f"*/{SELECTED}/{BATCHES}/*/{FRAMES}")]:
        number = int(file.relative_to(rounds).parts[0])
        if number < directory.finished_rounds():
            yield from _asked("picture", file, partial(read_arrays, file), number)


def _read_json(file: Path) -> None:
    try:
        json.loads(file.read_bytes())
    except ValueError as error:
        raise StateError(f"{file}: this file of the run is damaged ({error}); {REPAIR}") from error


def _lost_input(study: DataStudy, folder: Path) -> Iterator[Damage]:
    """Files that engines open: each lies in a folder that is called by the hash of its content."""
    for path in sorted(set(_paths(study))):
        if path.is_relative_to(folder / FILES):
            if not path.exists():
                yield Damage("settings", folder, f"{path}: this file of the run is missing; {REPAIR}")
            elif content_hash(path)[:8] != path.relative_to(folder / FILES).parts[0]:
                yield Damage("settings", folder, f"{path}: changed since the run began; {REPAIR}")


def _paths(value: object) -> Iterator[Path]:
    """Every path in settings."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, Section):
        yield from (path for name in type(value).model_fields for path in _paths(getattr(value, name)))
    elif isinstance(value, dict):
        yield from (path for item in value.values() for path in _paths(item))
    elif isinstance(value, list | tuple):
        yield from (path for item in value for path in _paths(item))


def _asked(kind: str, path: Path, question: Callable[[], object], number: int = 0) -> Iterator[Damage]:
    """The damage that an attempt to read something meets, if any."""
    try:
        question()
    except (StateError, InputError) as error:
        yield Damage(kind, path, str(error), number)
