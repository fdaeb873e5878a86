"""Rounds of cleaning: read the sources, ask models, label again what is asked for, then check and write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lamflow.config.cleaning import CleaningStudy
from lamflow.data import layout
from lamflow.data.cleaning import CheckRecord, Cleaning, ReadRecord
from lamflow.data.graph import Condition, EngineUse, Graph, Key, Output, Step
from lamflow.data.layout import HELDOUT, INPUT, TRAIN, iteration_key
from lamflow.errors import REPAIR, StateError
from lamflow.ops.check_frames import check_frames
from lamflow.ops.choose_relabel import choose_relabel
from lamflow.ops.learning_curve import learning_curve
from lamflow.ops.predict_folds import predict_folds
from lamflow.ops.predict_frames import predict_frames
from lamflow.ops.read_sources import read_sources
from lamflow.ops.write_card import write_card
from lamflow.ops.write_frames import WrittenRecord, write_frames
from lamflow.policy.curves import LINES
from lamflow.superops.gather import Timing, gather_round
from lamflow.superops.state import RunState
from lamflow.superops.steps import TOOLS, add, label_step

SHARDS = f"{iteration_key(0)}/{layout.SHARDS}"


def stage_names(study: CleaningStudy) -> list[str]:
    """Names of the rounds after the start."""
    models = ["models"] if study.models is not None else []
    folds = ["folds"] if study.folds is not None else []
    relabel = ["relabel"] if study.relabel is not None else []
    return [*models, *folds, *relabel, *(["curve"] if study.curve is not None else []), "clean"]


def redone_from(study: CleaningStudy, changed: set[str]) -> int:
    """The first round that reads one of the sections that have changed: opinions depend on whoever has them alone."""
    names = stage_names(study)
    for name in ("models", "folds"):
        if name in changed:
            return names.index(name) + 1 if name in names else 1
    return 1 + min(names.index(name) for name in ("relabel", "curve", "clean") if name in names)


def next_graph(study: CleaningStudy, state: RunState) -> Graph | None:
    """The graph of the round that comes next; None when the run has ended."""
    number = len(state.finished)
    return round_graph(study, state, number, number - 1) if number <= len(stage_names(study)) else None


def round_graph(study: CleaningStudy, state: RunState, number: int, stage: int) -> Graph:
    """The graph of a round; `stage` is the place of its name among `stage_names`."""
    if number == 0:
        return Graph(kind=study.workflow, round=0, name="start", stage="read", steps=[_read_step(state)])
    name = stage_names(study)[stage]
    if name == "models":
        steps = [_predict_step(study, state, number)]
    elif name == "folds":
        steps = [_folds_step(study, state, number)]
    elif name == "curve":
        steps = [_check_step(study, state, number), _curve_step(study, state, number)]
    elif name == "relabel":
        steps = _relabel_steps(study, state, number)
    else:
        steps = _clean_steps(study, state, number)
    return Graph(kind=study.workflow, round=number, name=name, stage=name, steps=steps)


def gather(study: CleaningStudy, graph: Graph, folder: Path, past: Sequence[Cleaning], timing: Timing) -> Cleaning:
    """The record of a round that has been carried out, from the run's `folder`."""
    files = folder / iteration_key(graph.round)
    read = sorted((files / layout.SHARDS).glob(f"*/{layout.READ_RECORD}"))
    checked = files / layout.CHECKED / layout.CHECKED_RECORD
    common = dict(gather_round(graph, folder, past, timing))
    records = [ReadRecord.read(file) for file in read]
    if graph.round == 0:
        _require_all(study, records, files)
    found = CheckRecord.read(checked) if checked.is_file() else None
    frames = sum(file.frames for record in records for file in record.files) or (
        past[-1].training_frames if past else 0
    )
    written = [WrittenRecord.read(file) for file in sorted((files / layout.CLEANED).glob(f"*/{layout.WRITTEN_RECORD}"))]
    again = sum(part.relabeled for part in written)
    common |= {
        "training_frames": found.train + again if found else frames, "heldout_frames": found.heldout if found else 0
    }  # fmt: skip
    return Cleaning(**common, reads=records, checked=found, relabeled=again)


def _require_all(study: CleaningStudy, records: Sequence[ReadRecord], files: Path) -> None:
    """Raise StateError unless every file that the study names was read."""
    wanted = sum(len(source.data) for source in study.sources)
    read = sum(len(record.files) for record in records)
    if read != wanted:
        raise StateError(f"{files}: {read} of the {wanted} files of the study were read; {REPAIR}")


def _jobs(study: CleaningStudy, state: RunState, resources: str) -> int:
    """Jobs that share the shards."""
    pod = getattr(study.pods, resources)
    slots = state.capacity.slots(resources, pod)  # type: ignore[arg-type]  # one of two words
    shards = state.finished[0].shards if state.finished and isinstance(state.finished[0], Cleaning) else slots
    return max(1, min(slots, shards))


def _read_step(state: RunState) -> Step:
    jobs = max(1, state.sources)
    sources = f"{iteration_key(0)}/{layout.SOURCES}"
    return add(
        "read", read_sources, writes={"shards": SHARDS}, jobs=jobs, most_jobs=jobs, work=jobs, resources="small",
        records=[f"{SHARDS}/*/{layout.READ_RECORD}"], image=TOOLS, input=Key(key=INPUT),
        sources=Key(key=f"{sources}/0") if jobs == 1 else Key(key=sources, per_job=True),
    )  # fmt: skip


def _predict_step(study: CleaningStudy, state: RunState, number: int) -> Step:
    assert study.models is not None  # noqa: S101  there is no such stage then
    predictions = f"{iteration_key(number)}/{layout.PREDICTIONS}"
    jobs = _jobs(study, state, "explore")
    return add(
        "predict", predict_frames, writes={"predictions": predictions}, resources="explore", jobs=jobs, most_jobs=jobs,
        records=[f"{predictions}/*/{layout.PREDICTIONS_RECORD}"], work=max(1, state.frames),
        engines=[EngineUse(role="evaluate", name=engine.engine) for engine in study.models.engines],
        input=Key(key=INPUT), shards=Key(key=SHARDS),
    )  # fmt: skip


def _folds_step(study: CleaningStudy, state: RunState, number: int) -> Step:
    """One job trains the models of one fold, or of several where there are fewer slots."""
    assert study.folds is not None  # noqa: S101  there is no such stage then
    predictions, slots = (
        f"{iteration_key(number)}/{layout.PREDICTIONS}",
        state.capacity.slots("train", study.pods.train),
    )
    jobs = max(1, min(slots, study.folds.n))
    return add(
        "folds", predict_folds, writes={"predictions": predictions}, resources="train", jobs=jobs, most_jobs=jobs,
        records=[f"{predictions}/*/{layout.PREDICTIONS_RECORD}"], work=study.folds.n,
        engines=[EngineUse(role="train", name=study.folds.train.engine)], input=Key(key=INPUT), shards=Key(key=SHARDS),
    )  # fmt: skip


def _check_step(study: CleaningStudy, state: RunState, number: int) -> Step:
    checked = f"{iteration_key(number)}/{layout.CHECKED}"
    names = stage_names(study)
    asked = {
        name: Key(key=f"{iteration_key(names.index(name) + 1)}/{layout.PREDICTIONS}") if name in names else None
        for name in ("models", "folds")
    }
    curves = f"{iteration_key(number - 1)}/{layout.LEARNING_CURVE}"
    clean = study.curve is not None and names[number - 1] == "clean"
    return add(
        "check", check_frames, writes={"checked": checked}, work=max(1, state.frames),
        records=[f"{checked}/{layout.CHECKED_RECORD}"],
        details=[f"{checked}/{name}" for name in (layout.VERDICTS, layout.QUARANTINE)],
        predictions=asked["models"], folds=asked["folds"],
        curves=Key(key=curves) if clean else None, image=TOOLS, input=Key(key=INPUT),
        shards=Key(key=SHARDS),
    )  # fmt: skip


def _curve_step(study: CleaningStudy, state: RunState, number: int) -> Step:
    """One job a line: its models follow from each other."""
    assert study.curve is not None  # noqa: S101  there is no such stage then
    folder, slots = iteration_key(number), state.capacity.slots("train", study.pods.train)
    curves, jobs = f"{folder}/{layout.LEARNING_CURVE}", max(1, min(slots, len(LINES)))
    return add(
        "curve", learning_curve, writes={"curves": curves}, resources="train", jobs=jobs, most_jobs=jobs,
        records=[f"{curves}/{line}/{layout.LEARNING_CURVE_RECORD}" for line in LINES], work=len(LINES),
        engines=[EngineUse(role="train", name=study.curve.train.engine)], input=Key(key=INPUT), shards=Key(key=SHARDS),
        checked=Key(key=f"{folder}/{layout.CHECKED}"),
    )  # fmt: skip


def _relabel_steps(study: CleaningStudy, state: RunState, number: int) -> list[Step]:
    folder, slots = iteration_key(number), state.capacity.slots("label", study.pods.label)
    assert study.relabel is not None  # noqa: S101  there is no such stage then
    choose = add(
        "choose", choose_relabel, writes={"selected": f"{folder}/{layout.SELECTED}"},
        records=[f"{folder}/{layout.SELECTED}/{layout.RELABEL_RECORD}"], jobs_at_once=slots, image=TOOLS,
        input=Key(key=INPUT), shards=Key(key=SHARDS), checked=Key(key=f"{folder}/{layout.CHECKED}"),
    )  # fmt: skip
    wanted = Condition(output=Output(step="choose", name="decision"), equals="label")
    batches = Output(step="choose", name="batches")
    label = label_step(study, number, batches, work=study.relabel.limit, slots=slots, when=wanted)
    return [_check_step(study, state, number), choose, label]


def _clean_steps(study: CleaningStudy, state: RunState, number: int) -> list[Step]:
    folder, jobs = iteration_key(number), _jobs(study, state, "small")
    checked, cleaned, cards = (f"{folder}/{name}" for name in (layout.CHECKED, layout.CLEANED, layout.CARDS))
    data = {"input": Key(key=INPUT), "shards": Key(key=SHARDS), "checked": Key(key=checked)}
    names = stage_names(study)
    relabel = names.index("relabel") + 1 if "relabel" in names else 0
    relabeled = relabel and len(state.finished) > relabel and state.finished[relabel].labels
    return [
        _check_step(study, state, number),
        add(
            "write", write_frames, writes={"train": TRAIN, "heldout": HELDOUT, "cleaned": cleaned}, jobs=jobs,
            most_jobs=jobs, work=jobs, records=[f"{cleaned}/*/{layout.WRITTEN_RECORD}"],
            details=[f"{cleaned}/*/{layout.QUARANTINED}/*"], image=TOOLS,
            labeled=Key(key=f"{iteration_key(relabel)}/{layout.LABELED}") if relabeled else None, **data,
        ),
        add(
            "card", write_card, writes={"card": cards}, records=[f"{cards}/{layout.CARD}"], details=[f"{cards}/*"],
            image=TOOLS,
            cleaned=Key(key=cleaned), **data,
        ),
    ]  # fmt: skip
