"""Steps that several kinds of workflow have, each made in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from lamflow.config.engines import SearcherSettings
from lamflow.config.learning import Config
from lamflow.config.schema import DataStudy, TrainingStudy
from lamflow.data import layout
from lamflow.data.cache import CACHE
from lamflow.data.graph import Condition, EngineUse, Graph, Key, Output, Step
from lamflow.data.layout import HELDOUT, INDEX, INPUT, TRAIN, iteration_key
from lamflow.ops.label import label
from lamflow.ops.merge import merge
from lamflow.ops.operation import Operation
from lamflow.ops.train import train
from lamflow.policy.jobs import jobs_needed, seconds_per_unit
from lamflow.superops.state import RunState

S = TypeVar("S", bound=DataStudy)


TOOLS = "tools"
"""The image for operations that need the packages of the extras properties, transport and cleaning."""


def add(name: str, operation: Operation, *, writes: dict[str, str], **more: Any) -> Step:
    """A step of an operation: keywords that are its input ports are wired, the others are fields of the Step.

    Ports that are None are left out. Raises TypeError for a port that is neither, and for one that is missing.
    """
    ports = {port: more.pop(port, None) for port in operation.inputs}
    lacking = [port for port, (_, optional) in operation.inputs.items() if ports[port] is None and not optional]
    if lacking or set(writes) != set(operation.artifacts):
        raise TypeError(f"step {name}: {operation.reference} needs {lacking or sorted(operation.artifacts)}")
    return Step(
        name=name,
        op=operation.reference,
        reads={port: value for port, value in ports.items() if isinstance(value, Key)},
        parameters={port: value for port, value in ports.items() if isinstance(value, int)},
        writes=writes,
        **more,
    )


def start_then_one(study: S, state: RunState, round_graph: Callable[[S, RunState, int], Graph]) -> Graph | None:
    """The graph of the start, then that of round 1; None when both have ended."""
    number = len(state.finished)
    return round_graph(study, state, number) if number <= 1 else None


def start_graph(study: DataStudy, state: RunState) -> Graph:
    """Label what is labeled first, and write the first data sets."""
    structures = sum(state.structures.get(name, 0) for names in study.labeled_first.values() for name in names)
    steps = []
    if state.batches:
        slots = state.capacity.slots("label", study.pods.label)
        steps.append(label_step(study, 0, state.batches, work=structures, slots=slots))
    steps.append(merge_step(0, labeled=bool(state.batches), start_data=state.labeled_data))
    return Graph(kind=study.workflow, round=0, name="start", stage="start", steps=steps)


def train_step(study: TrainingStudy, number: int, state: RunState) -> Step:
    """Train the models of a round on all data that there are, and judge them."""
    folder, pod = iteration_key(number), study.pods.train
    slots, models = state.capacity.slots("train", pod), study.train.n_models
    before = Key(key=f"{iteration_key(number - 1)}/{layout.MODELS}") if number > 1 else None
    return add(
        "train", train, writes={"models": f"{folder}/{layout.MODELS}"},
        records=[f"{folder}/{layout.MODELS}/{index}/{layout.MODEL}" for index in range(models)],
        details=[f"{folder}/{layout.MODELS}/*/{name}" for name in (layout.MODEL_PREDICTIONS, layout.CURVE)],
        jobs=jobs_needed(models, slots, pod.work_per_job, seconds_per_unit(state.finished).get("train")),
        at_once=slots if isinstance(pod.work_per_job, int) else None, work=models, resources="train",
        engines=[EngineUse(role="train", name=study.train.engine)], checkpoints=f"{folder}/{layout.CHECKPOINTS}",
        input=Key(key=INPUT), train=Key(key=TRAIN), heldout=Key(key=HELDOUT), previous=before, iteration=number,
    )  # fmt: skip


def label_step(
    study: DataStudy, number: int, jobs: int | Output, *, work: int, slots: int, when: Condition | None = None,
    enough: float = 1.0,
) -> Step:  # fmt: skip
    """One job a batch; how many batches there are select says, or the graph where that is known.

    work    structures to label, at most
    slots   label jobs that run at once
    enough  see Step
    """
    folder, pod = iteration_key(number), study.pods.label
    batches = f"{folder}/{layout.SELECTED}/{layout.BATCHES}"
    alone = jobs == 1
    engines = dict.fromkeys(part.label.engine for part in study.all_heads if part.label is not None)
    return add(
        "label", label, writes={"labeled": f"{folder}/{layout.LABELED}"},
        records=[f"{folder}/{layout.LABELED}/*/{layout.LABELED_RECORD}"],
        jobs=jobs, most_jobs=jobs_needed(work, slots, pod.work_per_job) if isinstance(jobs, Output) else jobs,
        at_once=slots if isinstance(pod.work_per_job, int) else None, work=work, enough=enough,
        resources="label", engines=[EngineUse(role="label", name=engine) for engine in engines], when=when,
        label_cache=label_cache(study),
        input=Key(key=INPUT), batch=Key(key=f"{batches}/0") if alone else Key(key=batches, per_job=True),
    )  # fmt: skip


def merge_step(number: int, *, labeled: bool, start_data: bool, when: Condition | None = None) -> Step:
    """Add the labels of a round to the data."""
    folder, part = iteration_key(number), layout.round_name(number)
    return add(
        "merge", merge, when=when,
        writes={
            "train": f"{TRAIN}/{part}", "heldout": f"{HELDOUT}/{part}", "known": f"{INDEX}/{part}",
            "merged": f"{folder}/{layout.MERGED}",
        },
        records=[f"{folder}/{layout.MERGED}/{layout.MERGED_RECORD}"],
        input=Key(key=INPUT), labeled=Key(key=f"{folder}/{layout.LABELED}") if labeled else None,
        start_data=Key(key=f"{folder}/{layout.GIVEN}") if start_data else None,
        index=Key(key=INDEX) if number else None, iteration=number,
    )  # fmt: skip


def late_step(number: int) -> Step:
    """Add the labels that were late in the round before to the data."""
    folder, before, part = iteration_key(number), iteration_key(number - 1), layout.late_name(number - 1)
    return add(
        "late", merge,
        writes={
            "train": f"{TRAIN}/{part}", "heldout": f"{HELDOUT}/{part}", "known": f"{INDEX}/{part}",
            "merged": f"{folder}/{layout.LATE}",
        },
        records=[f"{folder}/{layout.LATE}/{layout.MERGED_RECORD}"],
        input=Key(key=INPUT), labeled=Key(key=f"{before}/{layout.LABELED}"),
        before=Key(key=f"{before}/{layout.MERGED}"), index=Key(key=INDEX), iteration=number,
    )  # fmt: skip


def committee_engines(study: Config, stage: int) -> list[EngineUse]:
    """Engines that explore jobs run: those that explore, the trainer's for its models, and those that teach."""
    uses = [
        EngineUse(role="search" if isinstance(group, SearcherSettings) else "explore", name=group.engine)
        for group in study.stages[stage].explore
    ]
    uses.append(EngineUse(role="train", name=study.train.engine))
    if study.select.score == "teacher":
        uses += [EngineUse(role="label", name=part.label.engine) for part in study.all_heads if part.label is not None]
    return list({(use.role, use.name): use for use in uses}.values())


def label_cache(study: DataStudy) -> str | None:
    """Key of the label cache in a cluster's object store, if any engine of the study wants one."""
    wanted = any(part.label is not None and part.label.cached for part in study.all_heads)
    return f"{study.cluster.prefix}{CACHE}" if study.label_cache and wanted else None
