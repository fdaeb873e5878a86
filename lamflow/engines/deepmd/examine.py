"""Whether model files fit a configuration, found out before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamflow.config.pretrained import RANDOM, PretrainedModel
from lamflow.config.section import expand
from lamflow.engines.deepmd.card import FROZEN, chosen_head, reach_of, read_card
from lamflow.engines.deepmd.settings import DeepmdLabels, DeepmdTraining
from lamflow.engines.protocol import ModelCard
from lamflow.errors import InputError

if TYPE_CHECKING:
    from lamflow.config.schema import Config


def examine_training(settings: DeepmdTraining, config: Config) -> list[str]:
    """Warnings; raises InputError for heads that are not there and elements that a pre-trained model does not know."""
    cards: dict[object, ModelCard] = {}
    for phase in (settings.phase(1, index) for index in range(settings.total)):
        source = settings.source(phase)
        if phase.start_from == "scratch" or source is None or source.file is None:
            continue
        path = expand(source.file)
        card = cards.setdefault(path, read_card(path)) if path not in cards else cards[path]
        if phase.start_from == "finetune" and path.suffix == FROZEN:
            raise InputError(f"{path}: a frozen model cannot be fine-tuned; give the checkpoint (.pt)")
        _check_elements(card, config.elements, "pre-trained model")
        _check_heads(card, source, config)
    return []


def examine_teacher(settings: DeepmdLabels, config: Config) -> list[str]:
    """Warnings about what a student can see and its teacher cannot; raises InputError for what does not fit."""
    if settings.model.file is None:
        return []
    card = read_card(expand(settings.model.file))
    heads = [head.name for head in card.heads]
    name = chosen_head(card.path, heads, settings.model.head)
    teacher = next(head for head in card.heads if head.name == (name or ""))
    _check_elements(ModelCard(card.path, card.kind, (teacher,), card.size, card.sha256), config.elements, "teacher")
    warnings = []
    if isinstance(config.train, DeepmdTraining):
        for index in range(0, config.train.total, config.train.models):
            cutoff, _ = reach_of(config.train.merged_input(index)["model"].get("descriptor", {}))
            if cutoff > teacher.receptive_field > 0:
                which = f" {config.train.variant(index)!r}" if config.train.variants else ""
                warnings.append(
                    f"train: the student{which} has a cutoff of {cutoff:g} Å, and its teacher sees no further than "
                    f"{teacher.receptive_field:g} Å: what lies between can teach it nothing"
                )
    return warnings


def _check_elements(card: ModelCard, elements: list[str], what: str) -> None:
    for head in card.heads:
        unknown = [element for element in elements if element not in head.elements]
        if unknown:
            known = ", ".join(head.elements)
            raise InputError(f"{card.path}: the {what} does not know {', '.join(unknown)}; its type map is {known}")


def _check_heads(card: ModelCard, source: PretrainedModel, config: Config) -> None:
    heads = [head.name for head in card.heads]
    if not config.tasks:
        chosen_head(card.path, heads, source.head, random=True)
        return
    for task in config.tasks:
        if task.head is None and task.name not in heads:
            raise InputError(
                f"tasks.{task.name}: the pre-trained model {card.path} has no head of this name; say with `head` where "
                f"it starts from: {', '.join(heads) if heads != [''] else 'Default'}, or {RANDOM}"
            )
        if task.head is not None and not (heads == [""] and task.head == "Default"):
            chosen_head(card.path, heads, task.head, random=True)
