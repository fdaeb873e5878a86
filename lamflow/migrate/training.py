"""DeePMD-kit's input, of version 1, 2 or 3, as `train` has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamflow.config.section import json_of
from lamflow.errors import InputError
from lamflow.migrate.keys import Keys, Notes, is_comment, without_comments
from lamflow.migrate.paths import Paths, Spec

DEAD = {"coord_norm", "type_fitting_net", "_activation_function"}
EVERY_SEED = "every random number descends from the run's seed"
NAMED_FILES = (
    "disp_file", "save_ckpt", "load_ckpt", "numb_test", "stat_file", "tensorboard_log_dir", "profiling_file",
)  # fmt: skip


def training(
    raw: Any,
    where: str,
    paths: Paths,
    notes: Notes,
    elements: Sequence[str],
    *,
    fparam: bool = False,
    follows: bool = False,
) -> Spec:
    """DeePMD-kit's input, of version 1, 2 or 3, as `train` has it: `steps` and `input`.

    fparam     models learn an electronic temperature
    follows  lists of an entry for each element go by the input's own type map instead of the run's
    """
    if isinstance(raw, str):
        text = paths.read(raw)
        if text is None:
            notes.add("changed", where, "train.input_file", "the file is not here; give train.steps too")
            return {"input_file": paths.path(raw)}
        try:
            raw = json_of(text)
        except ValueError as error:
            raise InputError(f"{raw}: not JSON: {error}") from error
    keys = Keys(without_comments(raw), where, notes)
    run_map = paths.type_map if not follows else None
    model = _model(keys, elements, fparam, run_map)
    spin = _spin(model, list(run_map if run_map is not None else keys.raw["model"].get("type_map", elements)), keys)
    made: Spec = {"model": model}
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
    if spin:
        made.get("loss", {}).pop("type", None)  # of models with spins there is one
    return {"steps": int(steps), **({"checkpoint_every": int(every)} if every else {}), **spin, "input": made}


def _model(keys: Keys, elements: Sequence[str], fparam: bool, run_map: Sequence[str] | None) -> Spec:
    """The section `model` without what the run says: type map and seeds.

    run_map  the type map that lists of an entry for each element go by; the input's own if None
    """
    model = dict(keys.take("model", to="train.input.model", default={}))
    own_map = model.pop("type_map", None)
    if own_map is not None and list(own_map) != list(elements):
        keys.notes.add("changed", keys.name("model.type_map"), "elements", "the type map of the run is taken")
    type_map = list(run_map if run_map is not None else own_map or elements)
    for part in ("descriptor", "fitting_net"):
        if not isinstance(model.get(part), dict):
            continue
        section = dict(model[part])
        if section.pop("seed", None) is not None:
            keys.notes.add("changed", keys.name(f"model.{part}.seed"), "seed", EVERY_SEED)
        for dead in sorted(DEAD.intersection(section)):
            del section[dead]
            keys.notes.add("lost", keys.name(f"model.{part}.{dead}"), why="DeePMD-kit 3 does not know it")
        for name in ("sel", "atom_ener"):
            section |= _in_order(section.get(name), name, type_map, elements, keys.name(f"model.{part}"), keys.notes)
        if part == "fitting_net":
            _check_parameters(section, fparam, keys.name("model.fitting_net"), keys.notes)
        model[part] = section
    return model


def _spin(model: Spec, type_map: Sequence[str], keys: Keys) -> Spec:
    """`train.spin` from the section `spin`, which is taken out of `model`; empty for models without."""
    given = model.pop("spin", None)
    if not isinstance(given, dict):
        return {}
    flags = given.get("use_spin", [])
    if all(isinstance(flag, bool) for flag in flags):
        magnetic = [element for element, flag in zip(type_map, flags, strict=False) if flag]
    else:
        magnetic = [type_map[flag] if isinstance(flag, int) else str(flag) for flag in flags]
    spin: Spec = {"elements": magnetic, **({"scheme": given["scheme"]} if "scheme" in given else {})}
    keys.notes.add("translated", keys.name("model.spin.use_spin"), "train.spin.elements")
    scales = given.get("virtual_scale", [])
    scales = [scale for scale in (scales if isinstance(scales, list) else [scales]) if scale]
    if scales:
        spin["virtual_scale"] = float(max(scales))
        alike = len(set(scales)) == 1
        why = "" if alike else f"one number for all elements: the largest of {scales}"
        keys.notes.add("translated" if alike else "changed", keys.name("model.spin.virtual_scale"), "train.spin", why)
    for name in sorted(set(given) - {"use_spin", "scheme", "virtual_scale"}):
        keys.notes.add("lost", keys.name(f"model.spin.{name}"), why="of DeePMD-kit's TensorFlow: see train.spin")
    return {"spin": spin}


def _in_order(
    values: Any, name: str, type_map: Sequence[str], elements: Sequence[str], where: str, notes: Notes
) -> Spec:
    """A list of an entry for each element, in the order of the run's elements; empty where there is nothing to do."""
    if not isinstance(values, list) or list(type_map) == list(elements):
        return {}
    if len(values) != len(type_map) or not set(elements) <= set(type_map):
        why = f"{len(values)} numbers for the types {' '.join(type_map[:5])}: check that they fit {' '.join(elements)}"
        notes.add("changed", f"{where}.{name}", "train.input.model", why)
        return {}
    by_element = dict(zip(type_map, values, strict=True))
    notes.add("changed", f"{where}.{name}", "train.input.model", f"brought into the order {' '.join(elements)}")
    return {name: [by_element[element] for element in elements]}


def _check_parameters(section: Spec, fparam: bool, where: str, notes: Notes) -> None:
    """Take numbers of frame and atom parameters out: lamflow knows the electronic temperature alone."""
    for name in ("numb_fparam", "numb_aparam"):
        count = section.pop(name, 0)
        if not count:
            continue
        if fparam and name == "numb_fparam" and count == 1:
            notes.add("translated", f"{where}.{name} = 1", "train.electronic_temperature")
        elif fparam:
            why = f"{count} becomes one parameter of the frame, its electronic temperature"
            notes.add("changed", f"{where}.{name}", "train.electronic_temperature", why)
        else:
            why = "the one parameter that models learn here is the frame's electronic temperature"
            notes.add("lost", f"{where}.{name} = {count}", why=f"{why}; see train.electronic_temperature")


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
