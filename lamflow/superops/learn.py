"""train → explore → select → label → merge, and the shorter start: label → merge. What is done already is left out."""

from __future__ import annotations

from typing import Any

from dflow import OutputParameter, Steps

from lamflow.config.engines import WalkerSettings
from lamflow.config.schema import Config
from lamflow.data.cache import CACHE
from lamflow.data.results import Shape
from lamflow.data.store import HELDOUT, INDEX, INPUT, STRUCTURES, TRAIN, iteration_key
from lamflow.ops.explore import explore
from lamflow.ops.label import label
from lamflow.ops.merge import merge
from lamflow.ops.search import propose, relax
from lamflow.ops.select import select
from lamflow.ops.train import train
from lamflow.superops.step import Place, Stored, step


def add_start(group: Steps, config: Config, shape: Shape, place: Place) -> None:
    """Label the frames of the start and write the first data sets."""
    here = iteration_key(0)
    if shape.label:
        _add_label(group, config, place, here, shape, when=None)
    _add_merge(group, config, place, here, shape, labeled=bool(shape.label), first=True, when=None)


def add_iteration(group: Steps, config: Config, shape: Shape, place: Place) -> None:
    """One whole iteration."""
    here, pods, number = iteration_key(shape.number), config.pods, shape.number
    inputs = Stored(INPUT)
    before = Stored(f"{iteration_key(number - 1)}/models") if number > 1 else None
    models = Stored(f"{here}/models")
    if left := shape.left("train", shape.train):
        step(
            group, "train", train, pods.train, place, pods=shape.train, left=left, outputs={"models": models.key},
            checkpoints=f"{here}/checkpoints",
            input=inputs, train=Stored(TRAIN), heldout=Stored(HELDOUT), previous=before, iteration=number,
        )  # fmt: skip
    if not shape.explores:
        return
    if shape.explore and (left := shape.left("explore", shape.explore)):
        step(
            group, "explore", explore, pods.explore, place, pods=shape.explore, left=left,
            outputs={"explored": f"{here}/explored"},
            input=inputs, structures=Stored(STRUCTURES), models=models,
            history=Stored(f"{here}/history") if _climbs(config, shape.stage) else None,
            iteration=number, stage=shape.stage,
        )  # fmt: skip
    _add_searches(group, config, place, here, shape, models)
    if "select" in shape.done:  # it had decided to label
        _add_label(group, config, place, here, shape, when=None)
        _add_merge(group, config, place, here, shape, labeled=True, first=False, when=None)
        return
    chosen = step(
        group, "select", select, pods.small, place, outputs={"selected": f"{here}/selected"},
        input=inputs, explored=Stored(f"{here}/explored"), queued=Stored(f"{here}/queued") if shape.queued else None,
        models=models, index=Stored(INDEX),
        history=Stored(f"{here}/history"), iteration=number, stage=shape.stage, pods_at_once=shape.pods_at_once,
    )  # fmt: skip
    go_on = f"{chosen.outputs.parameters['decision']} == label"
    _add_label(group, config, place, here, shape, when=go_on, batches=chosen.outputs.parameters["batches"])
    _add_merge(group, config, place, here, shape, labeled=True, first=False, when=go_on)


def _add_searches(group: Steps, config: Config, place: Place, here: str, shape: Shape, models: Stored) -> None:
    """Searches that are split: for each generation a pod that proposes it and pods that relax it."""
    common: dict[str, Any] = {"input": Stored(INPUT), "iteration": shape.number, "stage": shape.stage}
    before, relaxed = None, None
    for generation in range(1, shape.generations + 2 if shape.generations else 1):
        proposed, name = Stored(f"{here}/searches/{generation}/proposed"), f"propose{generation}"
        if shape.left(name, 1):
            step(
                group, name, propose, config.pods.small, place, outputs={"proposed": proposed.key},
                before=before, relaxed=relaxed, generation=generation, **common,
            )  # fmt: skip
        before, relaxed = proposed, Stored(f"{here}/searches/{generation}/relaxed")
        name = f"relax{generation}"
        if generation <= shape.generations and (left := shape.left(name, shape.relax)):
            step(
                group, name, relax, config.pods.explore, place, pods=shape.relax, left=left,
                outputs={"explored": f"{here}/explored", "relaxed": relaxed.key},
                models=models, proposed=proposed, generation=generation, **common,
            )  # fmt: skip


def _add_label(
    group: Steps, config: Config, place: Place, here: str, shape: Shape, *,
    when: str | None, batches: OutputParameter | None = None,
) -> None:  # fmt: skip
    """One pod a batch; how many there are select says, or the shape where that is known."""
    key, left = f"{here}/selected/batches", shape.left("label", shape.label)
    if batches is None and not left:
        return
    alone = batches is None and shape.label == 1
    step(
        group, "label", label, config.pods.label, place, pods=shape.label if batches is None else batches, left=left,
        when=when, outputs={"labeled": f"{here}/labeled"}, labels=_label_cache(config),
        input=Stored(INPUT), batch=Stored(f"{key}/0") if alone else Stored(key, each=True),
    )  # fmt: skip


def _climbs(config: Config, stage: int) -> bool:
    """Some group of the stage asks where its ladder stands."""
    return any(isinstance(group, WalkerSettings) and group.climb is not None for group in config.stages[stage].explore)


def _label_cache(config: Config) -> str | None:
    """Key of the label cache in a cluster's object store, if any engine of the run wants one."""
    wanted = any(part.label is not None and part.label.cached for part in config.parts)
    return f"{config.cluster.prefix}{CACHE}" if config.label_cache and wanted else None


def _add_merge(
    group: Steps,
    config: Config,
    place: Place,
    here: str,
    shape: Shape,
    *,
    labeled: bool,
    first: bool,
    when: str | None,
) -> None:
    number = f"{shape.number:03d}"
    step(
        group, "merge", merge, config.pods.small, place, when=when,
        outputs={
            "train": f"{TRAIN}/{number}", "heldout": f"{HELDOUT}/{number}", "known": f"{INDEX}/{number}",
            "merged": f"{here}/merged",
        },
        input=Stored(INPUT), labeled=Stored(f"{here}/labeled") if labeled else None,
        given=Stored(f"{here}/given") if shape.given else None, index=None if first else Stored(INDEX),
        iteration=shape.number,
    )  # fmt: skip
