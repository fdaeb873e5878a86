"""dpclean's active learning on labeled data: of it only the training has a counterpart so far."""

from __future__ import annotations

import re

from lamflow.migrate.keys import Keys
from lamflow.migrate.place import Place, Spec
from lamflow.migrate.training import training
from lamflow.migrate.translate import listed


def convert(keys: Keys, machines: Keys, place: Place) -> Spec:
    """A run of dpclean: models that are trained once on all of its data."""
    del machines
    train = keys.section("train")
    params = train.take("params", to="train", default={})
    elements = listed((params.get("model") or {}).get("type_map")) or ["H"]
    train.notes.add("translated", "train.params.model.type_map", "elements")
    data = [place.path(item) for item in listed(keys.take("dataset", to="start.data")) if "://" not in str(item)]
    held = [place.path(item) for item in listed(keys.take("valid_data", to="heldout.data")) if "://" not in str(item)]
    for key in ("dataset", "valid_data"):
        if any("://" in str(item) for item in listed(keys.raw.get(key))):
            keys.notes.add("lost", key, why="data at an address: download them, and name the files")
    made: Spec = {"name": keys.take("name", to="name"), "elements": elements}
    made["start"] = {"data": data or [place.path("dataset")]}
    made["heldout"] = {"data": held} if held else {"share": 0.1}
    spec: Spec = {"engine": "deepmd", "models": 1}
    spec |= training(params, "train.params", place, keys.notes, elements)
    backend = (train.raw.get("optional_args") or {}).get("backend", keys.take("backend", default="pt"))
    train.take("optional_args")
    if backend != "pt":
        keys.notes.add("changed", "train.optional_args.backend", "train.engine", f"{backend} becomes PyTorch")
    operation = str(train.take("op", default="dpclean.dp.RunDPTrain"))
    if "dp" not in operation.split(".")[1:2][0:1] and ".dp" not in operation:
        keys.notes.add("lost", f"train.op = {operation!r}", why="only DeePMD-kit trains models here")
    model = keys.take("pretrained_model", "finetune_model", to="train.pretrained")
    if model and "://" not in str(model):
        head = re.search(
            r"--model-branch\s+(\S+)", str(train.take("finetune_args", to="train.pretrained.head", default=""))
        )
        spec["pretrained"] = {"file": place.path(model), **({"head": head.group(1)} if head else {})}
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
