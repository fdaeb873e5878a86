"""Whether model files fit a configuration, found out before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lamflow.config.engines import ExaminedStudy
from lamflow.config.pretrained import RANDOM, PretrainedModel
from lamflow.config.section import expand
from lamflow.data import Frame
from lamflow.engines.deepmd import neighbours, toy
from lamflow.engines.deepmd.card import FROZEN, branches, chosen_head, is_dpa4, reach_of, read_card, read_definition
from lamflow.engines.deepmd.catalogue import generation_of, listed_models, same_head
from lamflow.engines.deepmd.phases import Phase
from lamflow.engines.deepmd.spin import Spin
from lamflow.engines.protocol import HeadCard, ModelCard
from lamflow.errors import InputError

OTHER_BACKENDS = {
    "enable_compile": "DPA-4 has model.use_compile; other models are not compiled",
    "enable_tf32": "DPA-4 has model.enable_tf32",
    "mixed_precision": "DPA-4 has model.descriptor.use_amp; other models have a precision of their own",
    "neighbor_graph_method": "leave it out",
}
"""Keys of `training` that DeePMD-kit's PyTorch backend passes over in silence, and what stands in their place."""
NATIVE_SPIN = {"dpa4", "sezm", "dpa4c"}
"""Descriptors that take spins without virtual atoms."""
VIRTUAL_SPIN = {"se_e2_a", "se_a", "se_atten", "dpa1", "se_atten_v2", "dpa2", "dpa3"} | NATIVE_SPIN
"""Descriptors that DeePMD-kit gives virtual atoms; the others fail in training, for they make no room for these."""


def check_pretrained(
    beginnings: Iterable[tuple[Phase, PretrainedModel]], study: ExaminedStudy, magnetic: Sequence[str] = ()
) -> list[str]:
    """Warnings about models that begin phases.

    magnetic  elements whose moments the models of the study learn

    Raises InputError for heads that are not there, elements that a pre-trained model does not know, and one without
    spins where spins are to be learnt, or the other way round.
    """
    warnings: dict[str, None] = {}
    cards: dict[Path, ModelCard] = {}
    for phase, source in beginnings:
        if source.file is None:
            warnings[_not_here(source)] = None
            continue
        path = expand(source.file)
        if path not in cards:
            cards[path] = read_card(path)
        _check_phase(phase, cards[path])
        _check_magnetic(phase, path, magnetic)
        _check_elements(cards[path].path, cards[path].heads, study.elements, "pre-trained model")
        _check_needs(path, cards[path].heads)
        _check_heads(cards[path], source, phase, study)
        warnings |= dict.fromkeys(_strange(cards[path], source, study))
    return list(warnings)


def check_adapters(adapters: object, beginnings: Iterable[tuple[Phase, PretrainedModel]], study: ExaminedStudy) -> None:
    """Raise InputError for low-rank adapters (`input.model.lora`) where DeePMD-kit has none or would leave them out."""
    where, started = "train.input.model.lora", list(beginnings)
    if not isinstance(adapters, dict) or not isinstance(rank := adapters.get("rank"), int) or rank < 1:
        raise InputError(f"{where}.rank: must be a whole number from 1 on, as in {{rank: 8}}; it is {adapters!r}")
    if not started:
        raise InputError(f"{where}: adapters are for a pre-trained model, and every phase starts from scratch")
    if study.heads:
        raise InputError(f"{where}: DeePMD-kit adapts models with one head only; leave heads or lora out")
    for phase, source in started:
        if phase.freeze_descriptor:
            raise InputError(f"{where}: adapters change the descriptor, which freeze_descriptor forbids; leave one out")
        if source.file is not None and not all(map(is_dpa4, branches(read_definition(expand(source.file))).values())):
            raise InputError(
                f"{where}: {source.file} is no DPA-4 model, and DeePMD-kit has adapters for no other; "
                "phases have freeze_descriptor: true for these"
            )


def check_teacher(
    model: PretrainedModel, students: Mapping[str, dict[str, Any]], study: ExaminedStudy, *, judged: bool = False
) -> list[str]:
    """Warnings about what a student can see and its teacher cannot; raises InputError for what does not fit.

    students  the descriptor of each student's input, by the name of its architecture
    judged    nobody learns from the model: it is only looked at how wrong it is
    """
    if model.file is None:
        return [_not_here(model)]
    card = read_card(expand(model.file))
    name = chosen_head(card.path, [head.name for head in card.heads], model.head, aliases=card.aliases)
    teacher = next(head for head in card.heads if head.name == (name or ""))
    _check_needs(card.path, [teacher])
    warnings = []
    if not study.heads:  # a head may have fewer elements than the study
        _check_elements(card.path, [teacher], study.elements, "teacher")
        strangers = _unseen([teacher], study.elements)
        if strangers:
            what = "model" if judged else "teacher"
            said = (
                f"{card.path}: the {what} has never seen {', '.join(strangers)}, though its "
                f"type map has them: what it says of them is noise; it was trained on {', '.join(teacher.observed)}"
            )
            if not judged:
                raise InputError(said)
            warnings.append(said)
    for variant, descriptor in students.items():
        cutoff, _ = reach_of(descriptor)
        if cutoff > teacher.receptive_field > 0:
            which = f" {variant!r}" if variant else ""
            warnings.append(
                f"train: the student{which} has a cutoff of {cutoff:g} Å, and its teacher sees no further than "
                f"{teacher.receptive_field:g} Å: what lies between can teach it nothing"
            )
    return warnings


def _not_here(source: PretrainedModel) -> str:
    """What is said of a model that only a run fetches.

    Raises InputError for a head that other public models have and this one, by the list of models, has not.
    """
    said = f"{source.name or source.url or source.s3}: not fetched yet; its heads and elements are looked at once it is"
    listed = {name.lower(): model for name, model in listed_models().items()}.get((source.name or "").lower())
    if listed is None:
        return said
    elsewhere = generation_of(source.head or "")
    if listed.heads and elsewhere and source.head and same_head(source.head, listed.heads) is None:
        raise InputError(
            f"{source.name}: there is no head {source.head!r}; the model has {', '.join(listed.heads)}; "
            f"{source.head} is a head of {elsewhere}"
        )
    needs = f"; it takes {' and '.join(listed.inputs)}, which lamflow's frames have not" if listed.inputs else ""
    return f"{said}{needs}"


def check_inputs(inputs: Mapping[str, dict[str, Any]], elements: list[str]) -> None:
    """Raise InputError for an input of which no model can be made.

    inputs  of DeePMD-kit, by the name of the architecture
    """
    for variant, spec in inputs.items():
        _check_input(spec, f"variant {variant!r}: " if variant else "", elements)


def check_losses(phases: Sequence[Phase], spec: Mapping[str, Any], elements: list[str]) -> None:
    """Raise InputError for prefactors of a phase that the loss of the input `spec` has not."""
    for number, phase in enumerate(phases):
        if phase.loss:
            _normalized({**spec, "loss": {**spec["loss"], **phase.loss}}, f"train.phases[{number}].loss: ", elements)


def check_spin(spin: Spin, descriptors: Iterable[Mapping[str, Any]], study: ExaminedStudy) -> None:
    """Raise InputError for what learns no spins."""
    if study.heads:
        raise InputError("train.spin: models with several heads learn no spins; leave heads or spin out")
    kinds = {str(descriptor["type"]).lower() for descriptor in descriptors if "type" in descriptor}
    if not kinds <= VIRTUAL_SPIN:
        others = ", ".join(sorted(kinds - VIRTUAL_SPIN))
        raise InputError(
            f"train.spin: DeePMD-kit trains no model with spins by the descriptor {others}; take one of "
            f"{', '.join(sorted(VIRTUAL_SPIN))}"
        )
    if spin.scheme == "native" and not kinds <= NATIVE_SPIN:
        raise InputError(
            f"train.spin.scheme: native is for {', '.join(sorted(NATIVE_SPIN))}, and the descriptor is "
            f"{', '.join(sorted(kinds - NATIVE_SPIN))}; use deepspin"
        )


def check_neighbours(
    descriptors: Iterable[Mapping[str, Any]], elements: Sequence[str], frames: Sequence[Frame], *, doubled: bool = False
) -> list[str]:
    """Warnings where an atom of `frames` has more neighbours than the models look at.

    doubled  every neighbour has a virtual one beside it
    """
    counts = neighbours.Counts(elements, frames, doubled=doubled)
    return list(dict.fromkeys(warning for each in descriptors for warning in counts.too_few(each)))


def _check_input(spec: dict[str, Any], which: str, elements: list[str]) -> None:
    """Raise InputError for an input of which no model can be made."""
    normalized = _normalized(spec, f"train.input: {which}", elements)
    model = {"fitting_net": {}, **spec.get("model", {}), "type_map": list(elements)}
    toy.check_widths(model)
    toy.check_rates(normalized["learning_rate"])
    toy.check_sel_lists(model, elements)
    toy.check_model(normalized["model"])


def _normalized(spec: Mapping[str, Any], where: str, elements: list[str]) -> dict[str, Any]:
    """The input with DeePMD-kit's defaults. Raises InputError for one that it refuses."""
    from dargs.dargs import ArgumentError
    from deepmd.utils.argcheck import normalize

    for key in OTHER_BACKENDS.keys() & spec.get("training", {}).keys():
        raise InputError(
            f"{where}training.{key}: DeePMD-kit heeds it in other backends than PyTorch only; {OTHER_BACKENDS[key]}"
        )
    model = {"fitting_net": {}, **spec.get("model", {}), "type_map": list(elements)}
    if "descriptor" not in model:
        raise InputError("train.input: model: there is no descriptor")
    training = {**spec.get("training", {}), "numb_steps": 1}
    data = {**training.get("training_data", {}), **training.get("data", {}), "systems": ["x"]}
    for replaced in ("data", "validation_data", "data_dict"):
        training.pop(replaced, None)
    training["training_data"] = data
    try:
        normalized: dict[str, Any] = normalize({**spec, "model": model, "training": training})
    except ArgumentError as error:
        raise InputError(f"{where}DeePMD-kit refuses it: {' '.join(str(error).split())}") from error
    return normalized


def _check_phase(phase: Phase, card: ModelCard) -> None:
    if card.path.suffix == FROZEN and phase.start_from in ("finetune", "as_is"):
        raise InputError(
            f"{card.path}: a frozen model cannot be fine-tuned or taken as it is; give the checkpoint (.pt)"
        )


def _check_magnetic(phase: Phase, path: Path, magnetic: Sequence[str]) -> None:
    """Raise InputError where moments are to be learnt and the model knows none, or knows some and none are given.

    DeePMD-kit fine-tunes none of its models without spins to one with: it stops, and `--init-model` leaves spins out.
    """
    knows = any("spin" in branch for branch in branches(read_definition(path)).values())
    if magnetic and not knows:
        raise InputError(
            f"{path}: train.phases: {phase.start_from}: the pre-trained model knows no spins, and DeePMD-kit makes "
            "none with spins of it; give a model that was trained with spins, or start from scratch"
        )
    if knows and not magnetic:
        raise InputError(f"{path}: the pre-trained model knows spins; give train.spin, or another model")


def _check_elements(path: Path, heads: Sequence[HeadCard], elements: list[str], what: str) -> None:
    for head in heads:
        unknown = [element for element in elements if element not in head.elements]
        if unknown:
            known = ", ".join(head.elements)
            raise InputError(f"{path}: the {what} does not know {', '.join(unknown)}; its type map is {known}")


def _check_needs(path: Path, heads: Sequence[HeadCard]) -> None:
    """Raise InputError for a model that needs more than structures; frames have no such fields."""
    for head in heads:
        if head.inputs:
            raise InputError(
                f"{path}: {f'the head {head.name}' if head.name else 'the model'} needs {', '.join(head.inputs)} with "
                "every structure, has no defaults for it, and lamflow's frames have none; take a model without"
            )


def _unseen(heads: Sequence[HeadCard], elements: Sequence[str]) -> list[str]:
    """The elements that none of the heads has seen, as far as they say what they have."""
    seen = {element for head in heads for element in head.observed}
    return [element for element in elements if seen and element not in seen]


def _strange(card: ModelCard, source: PretrainedModel, study: ExaminedStudy) -> list[str]:
    """A warning about elements that fine-tuning must learn from nothing, or that the chosen head must."""
    strangers = _unseen(card.heads, study.elements)
    if strangers:
        return [
            f"{card.path}: the pre-trained model has never seen {', '.join(strangers)}, though its type map has them; "
            "it must learn them from your data alone"
        ]
    names = [head.name for head in card.heads]
    chosen = None if study.heads else chosen_head(card.path, names, source.head, random=True, aliases=card.aliases)
    strangers = _unseen([head for head in card.heads if head.name == chosen], study.elements)
    if not strangers:
        return []
    others = [head.name for head in card.heads if not _unseen([head], strangers)]
    return [
        f"{card.path}: the head {chosen} has never seen {', '.join(strangers)}: it must learn them from your data "
        f"alone, with a descriptor that knows them by other heads{' (' + ', '.join(others) + ')' if others else ''}"
    ]


def replaced_architecture(descriptor: Mapping[str, Any], path: Path) -> list[str]:
    """A warning about a descriptor of the input for which that of a pre-trained model stands in."""
    own = next(iter(branches(read_definition(path)).values())).get("descriptor", {})
    other = [
        f"{key} {value} (the model's is {own[key]})"
        for key, value in descriptor.items()
        if own.get(key, value) != value
    ]
    if not other:
        return []
    return [
        f"train.input.model.descriptor: not used, for models that start from {path} have its descriptor; yours differs "
        f"in {', '.join(other)}; leave it out, or start from scratch"
    ]


def _check_heads(card: ModelCard, source: PretrainedModel, phase: Phase, study: ExaminedStudy) -> None:
    heads = [head.name for head in card.heads]
    if not study.heads:
        random = phase.start_from == "finetune"
        chosen_head(card.path, heads, source.head, random=random, aliases=card.aliases)
        return
    names = ["Default"] if heads == [""] else heads
    if phase.start_from == "as_is":
        raise InputError("train.phases: as_is has none of the heads of this study; fine-tune, or leave heads out")
    if phase.start_from == "init" and {head.name for head in study.heads} != set(names):
        raise InputError(
            f"train.phases: init needs the very heads of {card.path}, {', '.join(names)}; with other heads use finetune"
        )
    for head in study.heads if phase.start_from == "finetune" else []:
        if head.pretrained_head is None and same_head(head.name, names, card.aliases) is None:
            raise InputError(
                f"heads.{head.name}: the pre-trained model {card.path} has no head of this name; say with "
                f"`pretrained_head` where it starts from: {', '.join(names)}, or {RANDOM}"
            )
        if head.pretrained_head is not None:
            chosen_head(card.path, names, head.pretrained_head, random=True, aliases=card.aliases)
