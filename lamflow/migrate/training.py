"""DeePMD-kit's input, of version 1, 2 or 3, as `train` has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lamflow.errors import InputError
from lamflow.migrate.keys import Keys, Notes, is_comment, without_comments
from lamflow.migrate.place import Place, Spec

DEAD = {"coord_norm", "type_fitting_net", "_activation_function"}
EVERY_SEED = "every random number descends from the run's seed"
NAMED_FILES = (
    "disp_file", "save_ckpt", "load_ckpt", "numb_test", "stat_file", "tensorboard_log_dir", "profiling_file",
)  # fmt: skip


def training(raw: Any, where: str, place: Place, notes: Notes, elements: Sequence[str]) -> Spec:
    """DeePMD-kit's input, of version 1, 2 or 3, as `train` has it: `steps` and `input`."""
    if isinstance(raw, str):
        text = place.read(raw)
        if text is None:
            notes.add("changed", where, "train.input_file", "the file is not here; give train.steps too")
            return {"input_file": place.path(raw)}
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise InputError(f"{raw}: not JSON: {error}") from error
    keys = Keys(without_comments(raw), where, notes)
    made: Spec = {"model": _model(keys, elements)}
    for name in ("learning_rate", "loss", "optimizer", "validating"):
        given = keys.take(name, to=f"train.input.{name}", default={})
        if given:
            made[name] = {key: value for key, value in given.items() if not _is_formula(value)}
            for key in sorted(set(given) - set(made[name])):
                notes.add("lost", f"{where}.{name}.{key}", why="a formula: write the number")
    section = keys.section("training")
    steps = section.take("numb_steps", "stop_batch", to="train.steps", default=400_000)
    if _is_formula(steps):
        notes.add("lost", section.name("numb_steps"), why=f"{steps!r} is a formula: write train.steps or train.epochs")
        steps = 400_000
    every = section.take("save_freq", to="train.checkpoint_every")
    kept = _training_section(section)
    if kept:
        made["training"] = kept
    keys.finish()
    return {"steps": int(steps), **({"checkpoint_every": int(every)} if every else {}), "input": made}


def _model(keys: Keys, elements: Sequence[str]) -> Spec:
    """The section `model` without what the run says: type map and seeds."""
    model = dict(keys.take("model", to="train.input.model", default={}))
    given = model.pop("type_map", None)
    if given is not None and list(given) != list(elements):
        keys.notes.add("changed", keys.name("model.type_map"), "elements", "the type map of the run is taken")
    for part in ("descriptor", "fitting_net"):
        if isinstance(model.get(part), dict) and "seed" in model[part]:
            model[part] = {key: value for key, value in model[part].items() if key != "seed"}
            keys.notes.add("changed", keys.name(f"model.{part}.seed"), "seed", EVERY_SEED)
        for dead in DEAD.intersection(model[part] if isinstance(model.get(part), dict) else ()):
            model[part] = {key: value for key, value in model[part].items() if key != dead}
            keys.notes.add("lost", keys.name(f"model.{part}.{dead}"), why="DeePMD-kit 3 does not know it")
    return model


def _training_section(section: Keys) -> Spec:
    """The section `training` without the data, which lamflow supplies."""
    data = section.section("training_data")
    batch = data.take("batch_size", to="train.input.training.data.batch_size")
    batch = section.take("batch_size", to="train.input.training.data.batch_size", default=batch)
    data.lose("systems", "set_prefix", "auto_prob", "sys_probs", why="lamflow supplies the data")
    section.lose("systems", "set_prefix", "validation_data", why="lamflow supplies the data and judges on `heldout`")
    section.take("seed", to="seed", why=EVERY_SEED)
    section.lose(*NAMED_FILES, why="lamflow names the files")
    left = [key for key in section.raw if key not in section.used and not is_comment(key)]
    kept: Spec = {key: section.take(key, to=f"train.input.training.{key}") for key in left}
    if batch is not None:
        kept["data"] = {"batch_size": batch}
    return kept


def _is_formula(value: Any) -> bool:
    """dpclean evaluates texts like "math.ceil(133.0*n)"; lamflow evaluates nothing."""
    return isinstance(value, str) and "(" in value
