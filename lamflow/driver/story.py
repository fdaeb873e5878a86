"""The story of a frame: which replica, step, score, rule and settings put it into the data of a run."""

from __future__ import annotations

from lamflow.config import stored
from lamflow.config.select import Select
from lamflow.data.dataset import FrameRecord, Manifest
from lamflow.data.layout import DATA, HELDOUT_MANIFEST, INDEX, INPUT, MANIFEST
from lamflow.data.results import Iteration
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import InputError, StateError
from lamflow.ops.read import settings_hash


def frame_story(directory: RunDirectory, frame: str) -> list[str]:
    """Lines about the frame whose hash begins with `frame`, or that lies at `frame`, as SYSTEM#INDEX.

    Raises StateError for a run without data, InputError when no frame, or more than one, is called so.
    """
    directory.run()
    records = _records(directory)
    if not records:
        raise StateError(f"{directory.path}: there are no data yet; the run is still at its start")
    matches = [(folder, record) for folder, record in records if frame and _is(record, folder, frame)]
    if not matches:
        raise InputError(f"{frame}: no frame of this run's data is called so; hashes are in {directory.path}/{INDEX}")
    if len({record.hash for _, record in matches}) > 1:
        example = f"{matches[0][0]}/{matches[0][1].system}#{matches[0][1].index}"
        raise InputError(f"{frame!r} means {len(matches)} frames; give more of a hash, or a place like {example}")
    return _story(directory, *matches[0])


def _records(directory: RunDirectory) -> list[tuple[str, FrameRecord]]:
    """Every frame with its data set."""
    records = []
    for entry in sorted((directory.path / INDEX).glob("*")):
        for name, role in ((MANIFEST, "train"), (HELDOUT_MANIFEST, "heldout")):
            manifest = Manifest.read(entry / name)
            records += [(f"{DATA}/{role}/{entry.name}", record) for record in manifest.frames]
    return records


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
        engine = config.labeler(origin.head).engine
        lines.append(f"labels    by {engine}, {same} (hash {origin.settings})")
        for made_by in iteration.provenance.get("label", []) if iteration is not None else []:
            lines.append(f"made by   {made_by.title(engine)}")
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
