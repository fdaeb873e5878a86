"""dpclean's active learning on labeled data: of it only the training has a counterpart so far."""

from __future__ import annotations

from lamflow.errors import InputError
from lamflow.migrate.keys import Keys
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.training import training
from lamflow.migrate.translate import TENTH, branch, data_files, listed


def convert(keys: Keys, machines: Keys, paths: Paths) -> Spec:
    """A run of dpclean: models that are trained once on all of its data."""
    del machines
    train = keys.section("train")
    operation = str(train.take("op", default="dpclean.dp.RunDPTrain"))
    if operation.split(".")[1:2] not in (["dp"], ["dp_pt"]):
        raise InputError(f"train.op = {operation!r}: only DeePMD-kit trains models here")
    params = train.take("params", to="train", default={})
    elements = listed((params.get("model") or {}).get("type_map"))
    if not elements:
        raise InputError(
            "train.params.model.type_map: there is none, so nobody knows which elements the models are for"
        )
    train.notes.add("translated", "train.params.model.type_map", "elements")
    data, held = (
        data_files(keys, key, [item for item in listed(keys.take(key, to=to)) if "://" not in str(item)], paths)
        for key, to in (("dataset", "start.data"), ("valid_data", "heldout.data"))
    )
    for key in ("dataset", "valid_data"):
        if any("://" in str(item) for item in listed(keys.raw.get(key))):
            keys.notes.add("lost", key, why="data at an address: download them, and name the files")
    made: Spec = {"name": keys.take("name", to="name"), "elements": elements}
    made["start"] = {"data": data or [paths.path("dataset")]}
    made["heldout"] = {"data": held} if held else dict(TENTH)
    spec: Spec = {"engine": "deepmd", "models": 1}
    spec |= training(params, "train.params", paths, keys.notes, elements, follows=True)
    backend = (train.raw.get("optional_args") or {}).get("backend", keys.take("backend", default="pt"))
    train.take("optional_args")
    if backend != "pt":
        keys.notes.add("changed", "train.optional_args.backend", "train.engine", f"{backend} becomes PyTorch")
    model = keys.take("pretrained_model", "finetune_model", to="train.pretrained")
    if model and "://" not in str(model):
        head = branch(train.take("finetune_args", to="train.pretrained.head"))
        spec["pretrained"] = {"file": paths.path(model), **({"head": head} if head else {})}
        spec["phases"] = [{"from_iteration": 1, "start_from": "finetune"}]
    elif model:
        keys.notes.add(
            "lost", "pretrained_model", why="a model at an address: download it, and give train.pretrained.file"
        )
        train.lose("finetune_args")
    made["train"] = spec
    select = keys.section("select")
    select.lose(*select.raw, why="there is no loop that selects from labeled data")
    keys.lose(
        "ratio_init",
        "resume",
        "select_type",
        "zero_shot",
        "task",
        "n_init",
        "max_selected",
        "threshold",
        why="there is no loop that selects from labeled data; all of them are trained on",
    )
    train.lose(
        "image",
        "image_pull_policy",
        "executor",
        "resume_params",
        why="images and machines are for `pods:` and `cluster:`",
    )
    keys.lose("upload_packages", "statistics", "summary", "split", "merge", "valid", why="not needed")
    return made
