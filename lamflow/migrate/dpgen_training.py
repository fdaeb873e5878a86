"""DP-GEN's training keys, and from which models its trainings start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lamflow.migrate.dpgen2_training import started
from lamflow.migrate.keys import Keys
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.training import training
from lamflow.migrate.translate import learns_electronic_temperature, listed


def trained(keys: Keys, machine: Keys, paths: Paths, elements: Sequence[str]) -> Spec:
    """The training."""
    machine.take("command", to="train.engine", why="lamflow calls DeePMD-kit itself")
    raw = keys.take("default_training_param", "training_param", default={})
    if isinstance(raw, list):
        why = "the first of several is taken; see train.variants"
        keys.notes.add("changed", "default_training_param", "train.input", why)
        raw = raw[0] if raw else {}
    made: Spec = {"engine": "deepmd", "models": int(keys.take("numb_models", to="train.models", default=4))}
    if made["models"] < 2 and keys.raw.get("model_devi_jobs"):
        made["models"] = 2
        keys.notes.add("changed", "numb_models", "train.models", "a committee needs two at least")
    fparam = learns_electronic_temperature(keys)
    made |= training(raw, "default_training_param", paths, keys.notes, elements, fparam=fparam)
    backend = keys.take("train_backend", default="tensorflow")
    if backend != "pytorch":
        why = f"{backend} becomes PyTorch; models of other backends cannot go on"
        keys.notes.add("changed", "train_backend", "train.engine", why)
    if "spin" in made and keys.raw.get("dp_compress"):
        keys.lose("dp_compress", why="DeePMD-kit compresses no model with spins")
    elif keys.take("dp_compress", to="train.compress"):
        made["compress"] = True
    if fparam:
        made["electronic_temperature"] = True
    return made | _phases(keys, paths, made["models"], magnetic="spin" in made)


def _phases(keys: Keys, paths: Paths, models: int, *, magnetic: bool) -> Spec:
    """`pretrained` and `phases`."""
    phases: list[Spec] = []
    made: Spec = {}
    first = listed(keys.take("training_iter0_model_path"))
    frozen, tuned = (listed(keys.take(f"training_{name}_model")) for name in ("init_frozen", "finetune"))
    always = bool(keys.take("training_init_model", to="train.phases"))
    sources = tuned or frozen or (first if always else [])
    if sources:
        begin = {"from_iteration": 1, "start_from": "finetune" if tuned else "init"}
        files = [_checkpoint(file, paths) for source in sources for file in paths.files(source)]
        shared, phases = started([{"file": file} for file in files], begin, models)
        made |= shared
        key = "training_finetune_model" if tuned else "training_init_frozen_model" if frozen else ""
        why = "checkpoints of PyTorch are needed, and folders become the checkpoint in them"
        keys.notes.add("changed", key or "training_iter0_model_path", "train.pretrained", why)
    elif first:
        why = "training_init_model is off, so models start from scratch"
        keys.notes.add("lost", "training_iter0_model_path", why=why)
    again = keys.take("training_reuse_iter", to="train.phases.from_iteration")
    continued = _continued(keys, again is not None, magnetic=magnetic)
    if always:
        later = max(2, int(again) + 1) if again is not None else 2
        phases.append({"from_iteration": 2, "start_from": "init", **(continued if later == 2 else {})})
        if later > 2:
            phases.append({"from_iteration": later, "start_from": "init", **continued})
    elif again is not None:
        if sources:
            phases.append({"from_iteration": 2, "start_from": "scratch"})
        phases.append({"from_iteration": max(2, int(again) + 1), "start_from": "init", **continued})
    elif sources:
        phases.append({"from_iteration": 2, "start_from": "scratch"})
    if phases:
        made["phases"] = phases
    return made


def _checkpoint(file: str, paths: Paths) -> str:
    """A model's file; iterations of DP-GEN are named by the folder that holds `model.ckpt.pt`."""
    is_folder = (paths.target / file).is_dir() or not Path(file).suffix
    return str(Path(file, "model.ckpt.pt")) if is_folder else file


def _continued(keys: Keys, reused: bool, *, magnetic: bool) -> Spec:
    """What differs in trainings that go on from the iteration before; nothing without training_reuse_iter."""
    to = "train.phases"
    names = ("stop_batch", "numb_steps", "start_lr", "old_ratio", "start_pref_e", "start_pref_f")
    if not reused:
        why = "training_reuse_iter is not given, so nothing goes by it"
        keys.lose(*(f"training_reuse_{name}" for name in names), why=why)
        return {}
    phase: Spec = {}
    steps = keys.take("training_reuse_stop_batch", "training_reuse_numb_steps", to=f"{to}.steps")
    rate = keys.take("training_reuse_start_lr", to=f"{to}.start_lr")
    if steps:
        phase["steps"] = int(steps)
    if rate:
        phase["start_lr"] = float(rate)
    share = keys.take("training_reuse_old_ratio", default="auto")
    if isinstance(share, int | float):
        phase["old_data_fraction"] = float(share)
        keys.notes.add("translated", keys.name("training_reuse_old_ratio"), f"{to}.old_data_fraction")
    else:
        _, _, weight = str(share).partition(":")
        why = (
            f"every new frame counts {weight or 10} times an old one there, in proportion to the frames here: give "
            "train.phases.old_data_fraction a number"
        )
        keys.notes.add("lost", f"{keys.name('training_reuse_old_ratio')} = {share!r}", why=why)
    loss = {}
    for name, own in (
        ("start_pref_e", "start_pref_e"),
        ("start_pref_f", "start_pref_fr" if magnetic else "start_pref_f"),
    ):
        value = keys.take(f"training_reuse_{name}", to=f"{to}.loss.{own}")
        if value is not None:
            loss[own] = float(value)
    return {**phase, **({"loss": loss} if loss else {})}
