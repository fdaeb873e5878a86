"""A model judged on the data of a configuration as it is: zero-shot errors, system by system."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from lamflow.config.installed import engine_named
from lamflow.config.pretrained import RANDOM, PretrainedModel
from lamflow.config.schema import TrainingStudy
from lamflow.config.section import expand
from lamflow.data import LabeledFrame, Labels
from lamflow.data.dataset import Item, Origin
from lamflow.data.frames import Floats
from lamflow.data.results import Errors, Evaluation, SystemErrors
from lamflow.data.store import file_hash
from lamflow.driver.prepare import frames_of, start_items
from lamflow.driver.pretrained import fetched
from lamflow.engines import registry
from lamflow.engines.protocol import Evaluator, ModelCard
from lamflow.errors import InputError
from lamflow.science.metrics import energy_shift, errors, parity_points, shifted


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What was found, and the held-out predictions beside their reference for parity plots.

    energies  (F, 2)  eV/atom, energies shifted
    forces    (K, 2)  eV/Å
    """

    found: Evaluation
    energies: Floats
    forces: Floats


def evaluate(config: TrainingStudy, model: Path | None = None, head: str | None = None) -> Evaluated:
    """Errors of the pre-trained model of `config`, or of the file `model`, on the labeled data that `config` names.

    The energies are shifted to the start data of each task, as fine-tuning would begin. Raises InputError when there is
    no model or no data.
    """
    config = cast(TrainingStudy, fetched(config))
    source = PretrainedModel(file=model, head=head) if model else _own(config, head)
    path = expand(source.file) if source.file else Path()
    heads = _heads(config, source, path)
    given = _labeled(config)
    started = time.monotonic()
    judged: dict[str, _Judged] = {}
    for part in config.parts:
        mine = {role: [item for item in items if item.origin.task == part.name] for role, items in given.items()}
        if (mine["train"] or mine["heldout"]) and part.name in heads:
            judge = _evaluator(config, source.model_copy(update={"head": heads[part.name]}))
            judged[part.name] = _judge(part.name, judge, mine, config.elements)
    if not judged:
        raise InputError(
            "there are no labeled data to judge on: give start.data or heldout.data; structure sets "
            "are labeled for this by engines like deepmd, ase and emt only"
        )
    named = ", ".join(dict.fromkeys(head for head in heads.values() if head))
    name = str(path) + (f", head {named}" if named else "")
    found = Evaluation(
        model=name, sha256=file_hash(path), shift={task: each.shift for task, each in judged.items()},
        systems=[system for each in judged.values() for system in each.systems],
        overall={task: each.overall for task, each in judged.items()}, seconds=time.monotonic() - started,
    )  # fmt: skip
    energies = np.concatenate([each.energies for each in judged.values()])
    return Evaluated(found, energies, np.concatenate([each.forces for each in judged.values()]))


@dataclass(frozen=True, eq=False)
class _Judged:
    """What is found for one task; `energies` and `forces` as in Evaluated."""

    shift: dict[str, float]
    systems: list[SystemErrors]
    overall: Errors
    energies: Floats
    forces: Floats


def _judge(task: str, judge: Evaluator, items: dict[str, list[Item]], elements: Sequence[str]) -> _Judged:
    """Errors on a task's items by role; the energies are shifted to those of the start, if there are any."""
    predicted = {role: judge.evaluate([item.labeled.frame for item in own]) for role, own in items.items()}
    base = "train" if items["train"] else "heldout"
    frames = [item.labeled.frame for item in items[base]]
    shift = energy_shift(predicted[base], _labels(items[base]), frames, elements)
    moved = {
        role: [shifted(p, item.labeled.frame, shift) for p, item in zip(predicted[role], own, strict=True)]
        for role, own in items.items()
    }
    shown = "heldout" if items["heldout"] else "train"
    energies, forces = parity_points(moved[shown], _labels(items[shown]))
    return _Judged(
        shift=shift,
        systems=[
            row for role, own in items.items() for row in _by_system(task, role, own, predicted[role], moved[role])
        ],
        overall=errors(moved[shown], _labels(items[shown])),
        energies=energies,
        forces=forces,
    )


def _labeled(config: TrainingStudy) -> dict[str, list[Item]]:
    """Labeled data that the user brought, and structure sets where the label engine takes milliseconds."""
    items = start_items(config)
    sets = {settings.name: settings for settings in config.structures}
    for (task, role), names in config.labeled_first.items():
        settings = config.labeler(task)
        if "evaluate" not in engine_named(settings.engine).roles:
            continue
        for name in names:
            frames = frames_of(sets[name], config)
            answers = registry.evaluator(settings).evaluate(frames)
            items[role] += [
                Item(LabeledFrame(frame, labels), Origin(iteration=0, source=f"{name}#{number}", task=task))
                for number, (frame, labels) in enumerate(zip(frames, answers, strict=True))
            ]
    return items


def card_of(path: Path) -> ModelCard:
    """What the model file at `path` says about itself. Raises InputError for a file that no engine knows."""
    return cast(ModelCard, registry.read_card(path))


def _own(config: TrainingStudy, head: str | None) -> PretrainedModel:
    source = config.train.pretrained_model
    if source is None:
        raise InputError("there is no model to judge: give train.pretrained in the file, or --model PATH")
    head = head or (None if config.tasks else source.head)
    if head == RANDOM:
        raise InputError("a RANDOM head predicts nothing before it is trained; name a head with --head")
    return source.model_copy(update={"head": head})


def _heads(config: TrainingStudy, source: PretrainedModel, path: Path) -> dict[str, str | None]:
    """The head that judges each task: the one that was named, else the task's own, else the one that it starts from.

    A task whose head is new has none. Raises InputError where no task has any.
    """
    card = registry.read_card(path, config.train.engine)
    known = [head.name for head in card.heads] if card is not None else [""]
    if not config.tasks:
        return {"": source.head}
    found: dict[str, str | None] = {}
    for task in config.tasks:
        wanted = [source.head] if source.head else [task.name, task.head]
        match = next((head for head in wanted if head in known), None)
        if match is not None or known == [""]:
            found[task.name] = match
    if not found:
        raise InputError(f"{path}: no task of this file has a head there; the model has {', '.join(known)}")
    return found


def _evaluator(config: TrainingStudy, source: PretrainedModel) -> Evaluator:
    """The model with the head that was chosen."""
    settings = config.train.evaluator_settings(source)
    if settings is None:
        raise InputError(f"engine {config.train.engine!r} has no models that can be judged by themselves")
    return registry.evaluator(settings)


def _labels(items: Sequence[Item]) -> list[Labels]:
    return [item.labeled.labels for item in items]


def _by_system(
    task: str, role: str, items: Sequence[Item], predicted: Sequence[Labels], moved: Sequence[Labels]
) -> list[SystemErrors]:
    """Errors of the frames of each composition of each file."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place, item in enumerate(items):
        formula = item.labeled.frame.to_ase().get_chemical_formula()
        groups.setdefault((item.origin.source.rsplit("#", 1)[0], formula), []).append(place)
    found = []
    for (source, formula), places in sorted(groups.items()):
        true = [items[place].labeled.labels for place in places]
        found.append(
            SystemErrors(
                task=task,
                name=f"{Path(source).name} {formula}",
                role="start" if role == "train" else "heldout",
                natoms=items[places[0]].labeled.frame.natoms,
                errors=errors([moved[place] for place in places], true),
                unshifted_energy_rmse=errors([predicted[place] for place in places], true).energy_rmse,
            )
        )
    return found
