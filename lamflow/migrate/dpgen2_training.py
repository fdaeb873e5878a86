"""dpgen2's section `train`, and from which models its trainings start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamflow.migrate.keys import Keys
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.training import training
from lamflow.migrate.translate import branch, learns_electronic_temperature, listed

CONTINUED: tuple[tuple[tuple[str, ...], str, type, float], ...] = (
    (("init_model_numb_steps", "init_model_stop_batch"), "steps", int, 400_000),
    (("init_model_start_lr",), "start_lr", float, 1e-4),
    (("init_model_old_ratio",), "old_data_fraction", float, 0.9),
    (("init_model_start_pref_e",), "loss.start_pref_e", float, 0.1),
    (("init_model_start_pref_f",), "loss.start_pref_f", float, 100.0),
    (("init_model_start_pref_v",), "loss.start_pref_v", float, 0.0),
)
"""dpgen2's keys of trainings that go on from a model, lamflow's in `train.phases`, and dpgen2's defaults."""


def trained(train: Keys, inputs: Keys, paths: Paths, elements: Sequence[str]) -> Spec:
    """The training."""
    config = train.section("config")
    made: Spec = {"engine": "deepmd", "models": int(train.take("numb_models", to="train.models", default=4))}
    scripts = listed(train.take("template_script", to="train.input"))
    if len(scripts) > 1:
        why = "the first of several is taken; see train.variants"
        train.notes.add("changed", "train.template_script", "train.input", why)
    fparam = learns_electronic_temperature(inputs)
    made |= training(
        scripts[0] if scripts else {},
        "train.template_script",
        paths,
        train.notes,
        elements,
        fparam=fparam,
        follows=True,
    )
    backend = config.take("impl", "backend", default="tensorflow")
    if backend != "pytorch":
        why = f"{backend} becomes PyTorch; models of other backends cannot go on"
        train.notes.add("changed", "train.config.impl", "train.engine", why)
    files = [paths.path(file) for file in listed(train.take("optional_files", to="train.files"))]
    if files:
        made["files"] = files
    if fparam:
        made["electronic_temperature"] = True
    config.lose("multitask", "command", "train_args", "split_last_iter_valid_ratio", why="lamflow does it its own way")
    return made | _phases(train, inputs, config, paths, made["models"])


def _phases(train: Keys, inputs: Keys, config: Keys, paths: Paths, models: int) -> Spec:
    """`pretrained` and `phases`. With given models dpgen2 trains nothing before there are data of its own."""
    names = ("init_models_paths", "training_iter0_model_path", "student_model_path")
    first = listed(train.take(*names, to="train.pretrained"))
    train.lose("init_models_uri", "student_model_uri", why="give a file, or train.pretrained.s3")
    tuned = bool(inputs.take("do_finetune", to="train.phases"))
    policy = str(config.take("init_model_policy", to="train.phases", default="no"))
    head = _head(config) if tuned else None
    phases: list[Spec] = []
    made: Spec = {}
    if first:
        begin: Spec = {"from_iteration": 1, "start_from": "finetune" if tuned else "as_is"}
        if not tuned:
            begin["shift_energies"] = False
            why = "given models explore as they are in the first iteration, and are trained from the second on"
            train.notes.add("changed", train.name("init_models_paths"), "train.phases", why)
        shared, phases = started([{"file": paths.path(file)} for file in first], begin, models, head)
        made |= shared
    elif tuned:
        train.notes.add("lost", "inputs.do_finetune", why="no model is named")
    if policy != "no" or tuned:
        phases.append(_continued(config, policy))
    elif first:
        phases.append({"from_iteration": 2, "start_from": "scratch"})
    config.lose(*(key for keys, *_ in CONTINUED for key in keys), why="init_model_policy is 'no'")
    if phases:
        made["phases"] = phases
    return made


def started(sources: list[Spec], begin: Spec, models: int, head: Any = None) -> tuple[Spec, list[Spec]]:
    """`pretrained` for all models and one phase, or a phase for each model that starts from a file of its own."""
    sources = [{**source, **({"head": head} if head else {})} for source in sources]
    if all(source == sources[0] for source in sources):
        return {"pretrained": sources[0]}, [begin]
    members: list[Spec] = []
    for index in range(models):
        members.append({**begin, "members": [index + 1], "pretrained": sources[index % len(sources)]})
    return {}, members


def _head(config: Keys) -> Any:
    arguments = str(config.take("finetune_args", to="train.pretrained.head", default="") or "")
    return branch(arguments) or config.take("head", to="train.pretrained.head")


def _continued(config: Keys, policy: str) -> Spec:
    """How models go on with those of the iteration before, with dpgen2's defaults."""
    phase: Spec = {"from_iteration": 2, "start_from": "init"}
    for keys, name, kind, default in CONTINUED:
        value = config.take(*keys, to=f"train.phases.{name}")
        if value is None:
            value = default
            why = f"{config.name(keys[0])} = {default:g} (dpgen2's default)"
            config.notes.add("translated", why, f"train.phases.{name}")
        section, _, key = name.rpartition(".")
        (phase.setdefault(section, {}) if section else phase)[key] = kind(value)
    if config.take("init_model_with_finetune"):
        why = "trainings go on from the weights of the iteration before, without new energy shifts"
        config.notes.add("changed", config.name("init_model_with_finetune"), "train.phases", why)
    if policy.startswith("old_data_larger_than"):
        why = f"{policy}: from the second iteration on"
        config.notes.add("changed", config.name("init_model_policy"), "train.phases", why)
    return phase
