"""train → explore → select → label → merge, and the shorter start: label → merge."""

from __future__ import annotations

from dflow import OutputParameter, Step, Steps

from lamflow.config.schema import Config
from lamflow.data.results import Shape
from lamflow.data.store import HELDOUT, INDEX, INPUT, STRUCTURES, TRAIN, iteration_key
from lamflow.ops.explore import explore
from lamflow.ops.label import label
from lamflow.ops.merge import merge
from lamflow.ops.select import select
from lamflow.ops.train import train
from lamflow.superops.step import Place, Stored, step


def add_start(group: Steps, config: Config, shape: Shape, place: Place) -> None:
    """Label the frames of the start and write the first data sets."""
    here = iteration_key(0)
    if shape.label:
        _add_label(group, config, place, here, shape.label, when=None)
    _add_merge(group, config, place, here, shape, labeled=bool(shape.label), first=True, when=None)


def add_iteration(group: Steps, config: Config, shape: Shape, place: Place) -> None:
    """One whole iteration."""
    here, pods, number = iteration_key(shape.number), config.pods, shape.number
    inputs = Stored(INPUT)
    before = Stored(f"{iteration_key(number - 1)}/models") if number > 1 else None
    models = Stored(f"{here}/models")
    step(
        group, "train", train, pods.train, place, pods=shape.train, outputs={"models": models.key},
        input=inputs, train=Stored(TRAIN), heldout=Stored(HELDOUT), previous=before, iteration=number,
    )  # fmt: skip
    step(
        group, "explore", explore, pods.explore, place, pods=shape.explore, outputs={"explored": f"{here}/explored"},
        input=inputs, structures=Stored(STRUCTURES), models=models, iteration=number, stage=shape.stage,
    )  # fmt: skip
    chosen = step(
        group, "select", select, pods.small, place, outputs={"selected": f"{here}/selected"},
        input=inputs, explored=Stored(f"{here}/explored"), models=models, index=Stored(INDEX),
        history=Stored(f"{here}/history"), iteration=number, stage=shape.stage, pods_at_once=shape.pods_at_once,
    )  # fmt: skip
    go_on = f"{chosen.outputs.parameters['decision']} == label"
    _add_label(group, config, place, here, chosen.outputs.parameters["batches"], when=go_on)
    _add_merge(group, config, place, here, shape, labeled=True, first=False, when=go_on)


def _add_label(
    group: Steps, config: Config, place: Place, here: str, pods: int | OutputParameter, when: str | None
) -> Step:
    batches = f"{here}/selected/batches"
    alone = isinstance(pods, int) and pods == 1  # dflow's parameters overload `==`
    return step(
        group, "label", label, config.pods.label, place, pods=pods, when=when, outputs={"labeled": f"{here}/labeled"},
        input=Stored(INPUT), batch=Stored(f"{batches}/0") if alone else Stored(batches, each=True),
    )  # fmt: skip


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
) -> Step:
    number = f"{shape.number:03d}"
    return step(
        group, "merge", merge, config.pods.small, place, when=when,
        outputs={
            "train": f"{TRAIN}/{number}", "heldout": f"{HELDOUT}/{number}", "known": f"{INDEX}/{number}",
            "merged": f"{here}/merged",
        },
        input=Stored(INPUT), labeled=Stored(f"{here}/labeled") if labeled else None,
        given=Stored(f"{here}/given") if shape.given else None, index=None if first else Stored(INDEX),
        iteration=shape.number,
    )  # fmt: skip
