"""dpgen2's input.json."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lamflow.migrate.fp import fp_engine
from lamflow.migrate.keys import Keys, is_comment
from lamflow.migrate.place import Place, Spec
from lamflow.migrate.task_groups import group
from lamflow.migrate.training import training
from lamflow.migrate.translate import FORMATS, check_masses, heldout, lammps_command, listed, symbols

SITE = (
    "dflow_config",
    "dflow_s3_config",
    "bohrium_config",
    "default_step_config",
    "upload_python_packages",
    "upload_python_package",
    "parallelism",
    "lebesgue_context_config",
)
ALLOYS = {"fcc": "fcc", "bcc": "bcc", "sc": "sc", "diamond": "diamond", "hcp": "hcp"}


def convert(keys: Keys, machines: Keys, place: Place) -> Spec:
    """A run of dpgen2."""
    del machines
    inputs, train, explore, fp = (keys.section(name) for name in ("inputs", "train", "explore", "fp"))
    elements = symbols(listed(inputs.take("type_map", to="elements")), keys.notes, "inputs.type_map")
    place.elements = elements
    check_masses(inputs, elements)
    made: Spec = {"name": keys.take("name", to="name"), "elements": elements}
    structures = configurations(explore, place, elements)
    parts = _data(inputs, place, structures)
    if inputs.take("mixed_type", to="data_format"):
        made["data_format"] = "deepmd/npy/mixed"
    made["structures"] = structures
    label = fp_engine(fp, place, elements)
    distilled = train.take("type", default="dp") == "dp-dist"
    made["train"] = trained(train, inputs, place, elements)
    made |= _tasks(inputs, parts, label, place) if inputs.raw.get("multitask") else {**parts, "label": label}
    stages, converge, window = _explored(keys, explore, place, structures)
    made["stages"] = stages
    made["select"] = {"window": window, "limit": int(fp.take("task_max", to="select.limit", default=10))}
    if distilled:
        made["train"] |= {"models": 1}
        made["select"]["score"] = "teacher"
        keys.notes.add(
            "changed",
            "train.type = 'dp-dist'",
            "select.score",
            "frames are chosen by the student's true error against the teacher",
        )
    made["converge"] = converge
    count = sum(stage.get("max_iterations", 10) for stage in stages)
    made["budget"] = {"iterations": count + 1}
    made["pods"] = pods(keys)
    keys.lose(*SITE, why="where pods run is for `cluster:` and `pods:`")
    return {key: value for key, value in made.items() if value not in ({}, None, [])}


def _data(inputs: Keys, place: Place, structures: list[Spec]) -> Spec:
    prefix = inputs.take("init_data_prefix", to="start.data: paths")
    data = [
        path for item in listed(inputs.take("init_data_sys", to="start.data")) for path in place.files(prefix, item)
    ]
    inputs.lose("init_data_uri", "valid_data_uri", "multi_init_data_uri", "multi_valid_data_uri", why="give files")
    valid = listed(inputs.take("valid_data_sys", to="heldout.data"))
    before = inputs.take("valid_data_prefix", to="heldout.data: paths")
    if not data and not structures:
        data = [place.path("init-data")]
        inputs.notes.add("changed", "inputs.init_data_sys", "start.data", "it is empty: name your labeled data")
    start: Spec = {"data": data} if data else {"label": [structures[0]["name"]]}
    if valid:
        return {"start": start, "heldout": {"data": [path for item in valid for path in place.files(before, item)]}}
    return {"start": start, "heldout": heldout(structures, inputs.notes, data)}


def _tasks(inputs: Keys, parts: Spec, label: Spec, place: Place) -> Spec:
    """Multi-task: every head is a task, the one that is explored is labeled."""
    head = inputs.take("head", to="tasks")
    several = inputs.take("multi_init_data", to="tasks", default={}) or {}
    valid = inputs.take("multi_valid_data", default={}) or {}
    inputs.take("multitask", to="tasks")
    made = []
    for name, item in several.items():
        own, held = _systems(item, place), _systems(valid.get(name), place)
        kept: Spec = {"data": held} if held else {"share": 0.1}
        start = {"data": own} if own else parts["start"]
        made.append({"name": name, "start": start, "heldout": kept, **({"label": label} if name == head else {})})
    if not made:
        made = [{"name": head or "main", **parts, "label": label}]
    if not any("label" in item for item in made):
        made[0]["label"] = label
    return {"tasks": made}


def _systems(item: Any, place: Place) -> list[str]:
    """Data of one task, as a list or with a prefix."""
    prefix, systems = (item.get("prefix"), item.get("sys")) if isinstance(item, dict) else (None, item)
    return [path for each in listed(systems) for path in place.files(prefix, each)]


def configurations(explore: Keys, place: Place, elements: Sequence[str]) -> list[Spec]:
    """Structure sets of the generators, called conf-0, conf-1, …; an alloy is one for each concentration."""
    made: list[Spec] = []
    given = listed(explore.take("configurations", "configuration", to="structures"))
    explore.lose("configuration_prefix", why="dpgen2 does not read it: it belongs into the entries")
    for number, raw in enumerate(given):
        own = explore.enter(raw, f"configurations[{number}]")
        kind = own.take("type", default="file")
        if kind == "alloy":
            made += _alloys(own, number, elements)
            continue
        prefix = own.take("prefix")
        files = [
            path for item in listed(own.take("files", to="structures: files")) for path in place.files(prefix, item)
        ]
        format = own.take("fmt", to="structures: format", default="auto")
        spec: Spec = {"name": f"conf-{number}", "files": files or [place.path("confs")]}
        if format not in ("auto", None):
            spec["format"] = FORMATS.get(str(format), str(format))
        if own.take("remove_pbc"):
            own.notes.add("lost", own.name("remove_pbc"), why="give files without a cell, in extxyz for example")
        made.append(spec)
    return made


def _alloys(own: Keys, number: int, elements: Sequence[str]) -> list[Spec]:
    lattice = own.take("lattice", to="structures: crystal", default=["fcc", 4.0])
    kind, constants = str(lattice[0]), listed(lattice[1])
    crystal: Spec = {"formula": elements[0], "lattice": ALLOYS.get(kind, "fcc"), "a": float(constants[0])}
    if kind == "hcp":
        crystal["c"] = float(
            constants[1] if len(constants) > 1 else lattice[2] if len(lattice) > 2 else 1.633 * constants[0]
        )
    else:
        crystal["cubic"] = True
    replicate = own.take("replicate", to="structures: supercell", default=[1, 1, 1])
    concentrations = own.take("concentration", to="structures: composition") or [[1 / len(elements)] * len(elements)]
    if not isinstance(concentrations[0], list):
        concentrations = [concentrations]
    common: Spec = {
        "crystal": crystal,
        "supercell": [int(n) for n in (replicate if isinstance(replicate, list) else [replicate] * 3)],
        "copies": int(own.take("numb_confs", to="structures: copies", default=1)),
    }
    strain = float(own.take("cell_pert_frac", to="structures: strain", default=0.0))
    rattle = float(
        own.take(
            "atom_pert_dist",
            to="structures: rattle",
            why="a standard deviation instead of a largest distance",
            default=0.0,
        )
    )
    common |= {name: value for name, value in (("strain", strain), ("rattle", rattle)) if value}
    made = []
    for place, shares in enumerate(concentrations):
        total = sum(shares)
        mixed = {element: share / total for element, share in zip(elements, shares, strict=False) if share}
        name = f"conf-{number}" if len(concentrations) == 1 else f"conf-{number}-{place}"
        made.append({"name": name, **common, "composition": mixed})
    return made


def trained(train: Keys, inputs: Keys, place: Place, elements: Sequence[str]) -> Spec:
    """The training."""
    config = train.section("config")
    made: Spec = {"engine": "deepmd", "models": int(train.take("numb_models", to="train.models", default=4))}
    scripts = listed(train.take("template_script", to="train.input"))
    if len(scripts) > 1:
        train.notes.add(
            "changed", "train.template_script", "train.input", "the first of several is taken; see train.variants"
        )
    made |= training(scripts[0] if scripts else {}, "train.template_script", place, train.notes, elements)
    backend = config.take("impl", "backend", default="tensorflow")
    if backend != "pytorch":
        train.notes.add(
            "changed",
            "train.config.impl",
            "train.engine",
            f"{backend} becomes PyTorch; models of other backends cannot go on",
        )
    files = [place.path(file) for file in listed(train.take("optional_files", to="train.files"))]
    if files:
        made["files"] = files
    if inputs.take("use_ele_temp", to="train.electronic_temperature"):
        made["electronic_temperature"] = True
    first = listed(
        train.take("init_models_paths", "training_iter0_model_path", "student_model_path", to="train.pretrained")
    )
    train.lose("init_models_uri", "student_model_uri", why="give a file, or train.pretrained.s3")
    tuned = inputs.take("do_finetune", to="train.phases")
    config.lose("init_model_with_finetune", "multitask", "command", "train_args", "split_last_iter_valid_ratio")
    head = re.search(
        r"--model-branch\s+(\S+)", str(config.take("finetune_args", to="train.pretrained.head", default="") or "")
    )
    head_name = head.group(1) if head else config.take("head", to="train.pretrained.head")
    policy = str(config.take("init_model_policy", to="train.phases", default="no"))
    phases: list[Spec] = []
    if first and (tuned or policy != "no"):
        made["pretrained"] = {"file": place.path(first[0]), **({"head": head_name} if head_name and tuned else {})}
        phases.append({"from_iteration": 1, "start_from": "finetune" if tuned else "init"})
        if len(set(first)) > 1:
            train.notes.add(
                "changed", "train.init_models_paths", "train.pretrained", "all models start from the first one"
            )
    elif first:
        train.notes.add("lost", "train.init_models_paths", why="init_model_policy is 'no'")
    elif tuned:
        train.notes.add("lost", "inputs.do_finetune", why="no model is named")
    if policy != "no" or tuned:
        phases.append(_again(config, policy))
    for key in ("old_ratio", "numb_steps", "stop_batch", "start_lr", "start_pref_e", "start_pref_f", "start_pref_v"):
        config.lose(
            f"init_model_{key}", why="init_model_policy is 'no'"
        ) if f"init_model_{key}" not in config.used else None
    if phases:
        made["phases"] = phases
    return made


def _again(config: Keys, policy: str) -> Spec:
    """How models go on with those of the iteration before."""
    phase: Spec = {"from_iteration": 2, "start_from": "init"}
    names: tuple[tuple[str, str, type], ...] = (
        ("init_model_numb_steps", "steps", int),
        ("init_model_stop_batch", "steps", int),
        ("init_model_start_lr", "start_lr", float),
        ("init_model_old_ratio", "old_data_share", float),
    )
    for key, name, kind in names:
        value = config.take(key, to=f"train.phases.{name}")
        if value is not None:
            phase[name] = kind(value)
    loss = {f"start_pref_{x}": config.take(f"init_model_start_pref_{x}", to="train.phases.loss") for x in "efv"}
    chosen = {name: float(value) for name, value in loss.items() if value is not None}
    if chosen:
        phase["loss"] = chosen
    if policy.startswith("old_data_larger_than"):
        config.notes.add(
            "changed", "train.config.init_model_policy", "train.phases", f"{policy}: from the second iteration on"
        )
    return phase


def _explored(keys: Keys, explore: Keys, place: Place, structures: list[Spec]) -> tuple[list[Spec], Spec, Spec]:
    notes = keys.notes
    kind = explore.take("type", default="lmp")
    config = explore.section("config")
    lmp = lammps_command(config.take("command", to="stages: command", default="lmp"))
    config.lose(
        "teacher_model_path",
        "head",
        "model_frozen_head",
        "shuffle_models",
        "use_hdf5",
        "extra_output_files",
        "run_calypso_command",
        "run_opt_command",
        "model_devi_group_size",
        why="lamflow does it its own way",
    )
    most = int(explore.take("max_numb_iter", to="stages.max_iterations", default=10))
    explore.lose("fatal_at_max", why="the next stage follows")
    explore.lose("output_nopbc", why="frames stay as they were explored")
    converge, window = _convergence(explore.section("convergence"))
    for number, raw in enumerate(listed(explore.take("filters"))):
        own = explore.enter(raw, f"filters[{number}]")
        own.lose(*own.raw, why="see select.filters")
    made = []
    for number, groups in enumerate(listed(explore.take("stages", to="stages"))):
        entries = []
        for place_of, raw in enumerate(listed(groups)):
            own = explore.enter(raw, f"stages[{number}][{place_of}]")
            entries += group(own, place, structures, f"stage-{number}-{place_of}", lmp, str(kind))
        if entries:
            made.append({"name": f"stage-{number}", "max_iterations": most, "explore": entries})
    if not made:
        notes.add("lost", f"explore.type = {kind!r}", why="no stage could be translated: models are trained once")
    return made, converge, window


def _convergence(own: Keys) -> tuple[Spec, Spec]:
    kind = str(own.take("type", to="select.window.rule", default="fixed-levels"))
    high = own.take("level_f_hi", to="select.window.high", default=0.5)
    for key in ("level_v_lo", "level_v_hi", "numb_candi_v", "rate_candi_v"):
        own.lose(key, why="the window looks at one deviation: see select.by")
    if kind == "adaptive-lower":
        window = {
            "rule": "adaptive",
            "high": float(high),
            "candidates": int(own.take("numb_candi_f", to="select.window.candidates", default=200)),
            "share": float(own.take("rate_candi_f", to="select.window.share", default=0.01)),
            "settled": float(own.take("conv_tolerance", to="select.window.settled", default=0.05)),
            "over": int(own.take("n_checked_steps", to="select.window.over", default=2)),
        }
        own.lose("candi_sel_prob", why="see select.pick")
        return {}, window
    low = own.take("level_f_lo", to="select.window.low", default=0.05)
    accurate = float(own.take("conv_accuracy", to="converge.accurate", default=0.9))
    return {"accurate": accurate}, {"rule": "fixed", "low": float(low), "high": float(high)}


def pods(keys: Keys) -> Spec:
    """What step_configs say that lamflow can say too."""
    made: Spec = {}
    steps = keys.section("step_configs")
    for name in list(steps.raw):
        if is_comment(name):
            continue
        kind = next(
            (k for word, k in (("train", "train"), ("explore", "explore"), ("fp", "label")) if word in name), None
        )
        config = steps.raw[name] if isinstance(steps.raw[name], dict) else {}
        steps.used.add(name)
        pod: Spec = {}
        template, slices = config.get("template_config") or {}, config.get("template_slice_config") or {}
        if kind and name.startswith("run"):
            if slices.get("group_size") and kind != "train":
                pod["tasks_per_pod"] = int(slices["group_size"])
            if template.get("timeout"):
                pod["timeout"] = float(template["timeout"])
            text = str(config.get("executor"))
            gpu = re.search(r"(\d*)\s*\*?\s*NVIDIA", text)
            if gpu and kind != "label":
                pod["gpus"] = int(gpu.group(1) or 1)
        if pod and kind:
            made[kind] = pod
            steps.notes.add("translated", f"step_configs.{name}", f"pods.{kind}: {', '.join(pod)}")
        left = [key for key in config if not is_comment(key) and key != "template_slice_config"]
        if left:
            steps.notes.add(
                "lost",
                f"step_configs.{name}.{{{', '.join(left)}}}",
                why="images and machines are for `pods:` and `cluster:`",
            )
    return made
