"""Whether model files fit a configuration, found out before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lamflow.config.pretrained import RANDOM, PretrainedModel
from lamflow.config.references import files_of
from lamflow.config.section import expand
from lamflow.data import Frame
from lamflow.data.io import read_labeled
from lamflow.engines.deepmd import neighbours, toy
from lamflow.engines.deepmd.card import FROZEN, chosen_head, reach_of, read_card
from lamflow.engines.deepmd.settings import DeepmdLabels, DeepmdTraining, Phase
from lamflow.engines.protocol import HeadCard, ModelCard
from lamflow.errors import InputError

if TYPE_CHECKING:
    from lamflow.config.schema import DataStudy


def examine_training(settings: DeepmdTraining, config: DataStudy) -> list[str]:
    """Warnings; raises InputError for heads that are not there and elements that a pre-trained model does not know."""
    warnings: dict[str, None] = dict.fromkeys(_check_input(settings, config))
    _check_committee(settings, config)
    cards: dict[Path, ModelCard] = {}
    begins = sorted({1, *(phase.from_iteration for phase in settings.phases)})
    for iteration in begins:
        for phase in (settings.phase(iteration, index) for index in range(settings.n_models)):
            source = settings.source(phase)
            if phase.start_from == "scratch" or source is None or (phase.start_from == "init" and iteration > 1):
                continue
            if source.file is None:
                warnings[_not_here(source)] = None
                continue
            path = expand(source.file)
            if path not in cards:
                cards[path] = read_card(path)
            _check_phase(phase, cards[path])
            _check_elements(cards[path].path, cards[path].heads, config.elements, "pre-trained model")
            _check_heads(cards[path], source, phase, config)
    return list(warnings)


def examine_teacher(settings: DeepmdLabels, config: DataStudy) -> list[str]:
    """Warnings about what a student can see and its teacher cannot; raises InputError for what does not fit."""
    if settings.model.file is None:
        return [_not_here(settings.model)]
    card = read_card(expand(settings.model.file))
    if config.heads and settings.model.head is None and settings is getattr(config, "evaluate", None):
        return []  # each head of the study is judged by the model's head of its name
    name = chosen_head(card.path, [head.name for head in card.heads], settings.model.head)
    teacher = next(head for head in card.heads if head.name == (name or ""))
    if not config.heads:  # a head may have fewer elements than the study
        _check_elements(card.path, [teacher], config.elements, "teacher")
    warnings = []
    train = getattr(config, "train", None)
    if isinstance(train, DeepmdTraining):
        for index in range(0, train.n_models, train.models):
            cutoff, _ = reach_of(train.merged_input(index)["model"].get("descriptor", {}))
            if cutoff > teacher.receptive_field > 0:
                which = f" {train.variant(index)!r}" if train.variants else ""
                warnings.append(
                    f"train: the student{which} has a cutoff of {cutoff:g} Å, and its teacher sees no further than "
                    f"{teacher.receptive_field:g} Å: what lies between can teach it nothing"
                )
    return warnings


def _not_here(source: PretrainedModel) -> str:
    """What is said of a model that only a run fetches."""
    return f"{source.url or source.s3}: not fetched yet; its heads and elements are looked at once it is"


def _check_input(settings: DeepmdTraining, config: DataStudy) -> list[str]:
    """Warnings about neighbours in the data. Raises InputError for an input of which no model can be made."""
    from dargs.dargs import ArgumentError
    from deepmd.utils.argcheck import normalize

    warnings: dict[str, None] = {}
    for index in range(0, settings.n_models, settings.models):
        spec = settings.merged_input(index)
        if settings.starts_from_a_model(index) and "descriptor" not in spec.get("model", {}):
            continue
        model = {"fitting_net": {}, **spec.get("model", {}), "type_map": list(config.elements)}
        if "descriptor" not in model:
            raise InputError("train.input: model: there is no descriptor")
        training = {**spec.get("training", {}), "numb_steps": 1}
        data = {**training.get("training_data", {}), **training.get("data", {}), "systems": ["x"]}
        for lamflows in ("data", "validation_data", "data_dict"):
            training.pop(lamflows, None)
        training["training_data"] = data
        which = f"variant {settings.variant(index)!r}: " if settings.variant(index) else ""
        try:
            normalized = normalize({**spec, "model": model, "training": training})
        except ArgumentError as error:
            raise InputError(f"train.input: {which}DeePMD-kit refuses it: {' '.join(str(error).split())}") from error
        toy.check_widths(model)
        toy.check_rates(normalized["learning_rate"])
        toy.check_sel_lists(model, config.elements)
        toy.check_model(normalized["model"])
        warnings |= dict.fromkeys(neighbours.too_few(model["descriptor"], config.elements, _labeled_frames(config)))
    return list(warnings)


def _labeled_frames(config: DataStudy) -> list[Frame]:
    """The frames of the start and held-out data that are here; faults of files are said where data are checked."""
    frames = []
    given = [
        (file, section)
        for part in config.parts
        for section in (part.start, part.heldout)
        for file in files_of(section.data)
    ]
    for file, section in given:
        try:
            frames += [labeled.frame for labeled in read_labeled(expand(file), section.format)]
        except (InputError, OSError):
            continue
    return [frame for frame in frames if set(frame.symbols) <= set(config.elements)]


def _check_committee(settings: DeepmdTraining, config: DataStudy) -> None:
    """Models that are all the same do not disagree about anything."""
    phases = [settings.phase(1, index) for index in range(settings.n_models)]
    same = {str(settings.source(phase)) for phase in phases if phase.start_from == "as_is"}
    alike = len(same) == 1 and all(phase.start_from == "as_is" for phase in phases)
    if alike and config.has_committee:
        raise InputError(
            "train.phases: every model of the committee is the same pre-trained model as it is, so they can never "
            "disagree; fine-tune them, or give members other models or heads"
        )


def _check_phase(phase: Phase, card: ModelCard) -> None:
    if card.path.suffix == FROZEN and phase.start_from in ("finetune", "as_is"):
        raise InputError(
            f"{card.path}: a frozen model cannot be fine-tuned or taken as it is; give the checkpoint (.pt)"
        )


def _check_elements(path: Path, heads: Sequence[HeadCard], elements: list[str], what: str) -> None:
    for head in heads:
        unknown = [element for element in elements if element not in head.elements]
        if unknown:
            known = ", ".join(head.elements)
            raise InputError(f"{path}: the {what} does not know {', '.join(unknown)}; its type map is {known}")


def _check_heads(card: ModelCard, source: PretrainedModel, phase: Phase, config: DataStudy) -> None:
    heads = [head.name for head in card.heads]
    if not config.heads:
        chosen_head(card.path, heads, source.head, random=phase.start_from == "finetune")
        return
    names = ["Default"] if heads == [""] else heads
    if phase.start_from == "as_is":
        raise InputError("train.phases: as_is has none of the heads of this study; fine-tune, or leave heads out")
    if phase.start_from == "init" and {head.name for head in config.heads} != set(names):
        raise InputError(
            f"train.phases: init needs the very heads of {card.path}, {', '.join(names)}; with other heads use finetune"
        )
    for head in config.heads if phase.start_from == "finetune" else []:
        if head.pretrained_head is None and head.name not in names:
            raise InputError(
                f"heads.{head.name}: the pre-trained model {card.path} has no head of this name; say with "
                f"`pretrained_head` where it starts from: {', '.join(names)}, or {RANDOM}"
            )
        if head.pretrained_head is not None:
            chosen_head(card.path, names, head.pretrained_head, random=True)
