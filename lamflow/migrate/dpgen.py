"""DP-GEN's param.json and machine.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lamflow.migrate import labels
from lamflow.migrate.dpgen_jobs import stages as stages_of
from lamflow.migrate.keys import Keys, is_comment
from lamflow.migrate.place import Place, Spec
from lamflow.migrate.training import training
from lamflow.migrate.translate import FORMATS, check_masses, command, heldout, listed, one_of_several, symbols

SIMPLIFY = (
    "init_pick_number",
    "iter_pick_number",
    "pick_data",
    "labeled",
    "true_error_f_trust_lo",
    "true_error_f_trust_hi",
)
FOREIGN = {"siesta": ("siesta/output", "siesta"), "pwmat": ("pwmat/movement", "PWmat"), "cpx": ("qe/cp/traj", "cp.x")}


def convert(keys: Keys, machines: Keys, place: Place) -> Spec:
    """A run of DP-GEN: every entry of model_devi_jobs is one iteration of a stage of its own."""
    elements = symbols(listed(keys.take("type_map", to="elements")), keys.notes, "type_map")
    place.elements = elements
    check_masses(keys, elements)
    systems = listed(keys.take("init_data_sys", to="start.data")) or listed(keys.take("pick_data", to="start.data"))
    data = [path for item in systems for path in place.files(keys.take("init_data_prefix"), item)]
    structures = _structures(keys, place)
    made: Spec = {"elements": elements}
    train, explore, fp = (machines.section(name) for name in ("train", "model_devi", "fp"))
    for section, prefix, command_key in ((explore, "model_devi", "lmp_command"), (fp, "fp", "fp_command")):
        old = {"command": machines.take(command_key), "group_size": machines.take(f"{prefix}_group_size")}
        section.raw = {**{key: value for key, value in old.items() if value is not None}, **section.raw}  # before 0.10
    stages = stages_of(keys, explore, place, structures)
    label = _label(keys, fp, place, elements)
    used = {name for stage in stages for group in stage["explore"] for name in group.get("structures", [])}
    kept = [item for item in structures if item["name"] in used] if used else structures[:1]
    for item in structures:
        if item not in kept:
            keys.notes.add("lost", f"sys_configs: {item['name']}", why="no job explores it")
    if not data and not kept:
        start: Spec = {"data": [place.path("init-data")]}
        keys.notes.add(
            "changed", "init_data_sys", "start.data", "it is empty, and so are the structures: name your labeled data"
        )
    elif not data:
        data_source = kept[:1]
        start = {"label": [item["name"] for item in data_source]}
        keys.notes.add("changed", "init_data_sys", "start", "it is empty: the first structures are labeled first")
    else:
        start = {"data": data}
    held = heldout(kept, keys.notes, data)
    made["structures"] = kept
    made |= {"start": start, "heldout": held, "train": _train(keys, train, place, elements)}
    if stages:
        made["stages"] = stages
        made["select"] = _select(keys, stages)
        jobs = sum(stage.get("max_iterations", 1) for stage in stages)
        made["converge"] = {"accurate": 1.0}
        made["budget"] = _budget(keys, jobs)
        keys.notes.add(
            "changed",
            "model_devi_jobs",
            "budget.iterations",
            "DP-GEN runs through its list without asking whether a "
            "stage has converged; lower converge.accurate to stop earlier",
        )
    made["label"] = label
    if not kept:
        del made["structures"]
    made["pods"] = {
        kind: pod
        for kind, section in (("train", train), ("explore", explore), ("label", fp))
        if (pod := _pod(kind, section))
    }
    machines.lose("api_version", "deepmd_version", "python_path", "python_test_path", "deepmd_path")
    _rest(keys)
    return {key: value for key, value in made.items() if value not in ({}, None)}


def _structures(keys: Keys, place: Place) -> list[Spec]:
    prefix, format = keys.take("sys_configs_prefix"), keys.take("sys_format", default="vasp/poscar")
    made = []
    for number, patterns in enumerate(listed(keys.take("sys_configs", to="structures"))):
        files = [path for item in listed(patterns) for path in place.files(prefix, item)]
        if files:
            made.append({"name": f"sys-{number}", "files": files, "format": FORMATS.get(str(format), str(format))})
    if "sys_configs_prefix" in keys:
        keys.notes.add("translated", "sys_configs_prefix", "structures: paths")
    if "init_data_prefix" in keys:
        keys.notes.add("translated", "init_data_prefix", "start.data: paths")
    if "sys_format" in keys:
        keys.notes.add("translated", "sys_format", "structures: format")
    keys.lose(*SIMPLIFY, why="there is no loop that selects from labeled data; all of them are trained on")
    keys.lose("shuffle_poscar", why="start structures are drawn in a seeded order")
    return made


def _select(keys: Keys, stages: Sequence[Spec]) -> Spec:
    notes = keys.notes
    levels = {}
    for key, name, guess in (("model_devi_f_trust_lo", "low", 0.05), ("model_devi_f_trust_hi", "high", 0.15)):
        jobs = [job[key] for job in listed(keys.raw.get("model_devi_jobs")) if isinstance(job, dict) and key in job]
        found = one_of_several(keys.take(key) or jobs, notes, key, f"select.window.{name}")
        if found is None:
            notes.add("changed", key, f"select.window.{name}", f"it says none; {guess} eV/Å was put in")
        levels[name] = guess if found is None else found
    low, high = levels["low"], levels["high"]
    window: Spec = {"rule": "fixed", **levels}
    if keys.take("model_devi_adapt_trust_lo", to="select.window.rule"):
        window = {"rule": "adaptive", "high": window["high"]}
        window["candidates"] = int(keys.take("model_devi_numb_candi_f", to="select.window.candidates", default=10))
        share = float(keys.take("model_devi_perc_candi_f", to="select.window.share", default=0.0))
        window["share"] = share / 100
    elif low >= high:
        window["high"] = low * 2 or 0.1
        notes.add("changed", "model_devi_f_trust_hi", "select.window.high", "it was not above the lower level")
    for level in ("model_devi_v_trust_lo", "model_devi_v_trust_hi"):
        value = keys.raw.get(level)
        keys.lose(level, why="" if value in (None, 1e10) else "the window looks at one deviation: see select.by")
    made: Spec = {"window": window}
    if keys.take("use_relative", to="select.by"):
        made["by"] = "force_max_relative"
        if float(keys.take("epsilon", to="select.by", default=1.0)) != 1.0:
            notes.add("changed", "epsilon", "select.by", "1 eV/Å is added to the size of the force")
    keys.lose("epsilon", "use_relative_v", "epsilon_v", why="only the force's deviation can be relative")
    keys.lose("model_devi_f_avg_relative", why="force_max_relative divides by each atom's own force")
    most = int(keys.take("fp_task_max", to="select.per_group", default=50))
    groups = max(len(stage["explore"]) for stage in stages)
    made |= {"limit": most * groups, "per_group": most, "pick": "random"}
    notes.add(
        "changed",
        "fp_task_max",
        "select.limit",
        "candidates are drawn at random as there; `pick: diverse` needs fewer labels",
    )
    bad = keys.take("fp_skip_bad_box", to="select.filters")
    for part in str(bad or "").split(";"):
        name, _, value = part.partition(":")
        if name.strip() == "length_ratio":
            made["filters"] = {"max_length_ratio": float(value)}
        elif name.strip():
            notes.add("changed", f"fp_skip_bad_box {name.strip()}", "select.filters", "min_angle is what there is")
    return made


def _budget(keys: Keys, jobs: int) -> Spec:
    made: Spec = {"iterations": jobs + 1}
    failed = keys.take("ratio_failed", "fp_ratio_failed", to="budget.failed_labels")
    if failed is not None:
        made["failed_labels"] = float(failed)
    return made


def _train(keys: Keys, machine: Keys, place: Place, elements: Sequence[str]) -> Spec:
    machine.take("command", to="train.engine", why="lamflow calls DeePMD-kit itself")
    given = keys.take("default_training_param", "training_param", default={})
    if isinstance(given, list):
        keys.notes.add(
            "changed", "default_training_param", "train.input", "the first of several is taken; see train.variants"
        )
        given = given[0] if given else {}
    made: Spec = {"engine": "deepmd", "models": int(keys.take("numb_models", to="train.models", default=4))}
    if made["models"] < 2 and keys.raw.get("model_devi_jobs"):
        made["models"] = 2
        keys.notes.add("changed", "numb_models", "train.models", "a committee needs two at least")
    made |= training(given, "default_training_param", place, keys.notes, elements)
    backend = keys.take("train_backend", default="tensorflow")
    if backend != "pytorch":
        keys.notes.add(
            "changed",
            "train_backend",
            "train.engine",
            f"{backend} becomes PyTorch; models of other backends cannot go on",
        )
    if keys.take("dp_compress", to="train.compress"):
        made["compress"] = True
    if keys.take("use_ele_temp", to="train.electronic_temperature"):
        made["electronic_temperature"] = True
    phases = []
    first = listed(keys.take("training_iter0_model_path"))
    tuned = keys.take("training_finetune_model") or keys.take("training_init_frozen_model")
    source = listed(tuned)[:1] or (first[:1] if keys.raw.get("training_init_model") else [])
    if source:
        how = "finetune" if "training_finetune_model" in keys and tuned else "init"
        made["pretrained"] = {"file": place.files(source[0])[0]}
        phases.append({"from_iteration": 1, "start_from": how})
        keys.notes.add(
            "changed",
            "training_iter0_model_path, training_init_frozen_model, training_finetune_model",
            "train.pretrained",
            "all models start from the first one; checkpoints of PyTorch are needed",
        )
    elif first:
        keys.notes.add(
            "lost", "training_iter0_model_path", why="training_init_model is off, so models start from scratch"
        )
    again = keys.take("training_reuse_iter", to="train.phases.from_iteration")
    steps = keys.take("training_reuse_numb_steps", "training_reuse_stop_batch", to="train.phases.steps")
    rate = keys.take("training_reuse_start_lr", to="train.phases.start_lr")
    share = keys.take("training_reuse_old_ratio", to="train.phases.old_data_share")
    loss = {f"start_pref_{x}": keys.take(f"training_reuse_start_pref_{x}", to="train.phases.loss") for x in "ef"}
    if again is not None or keys.raw.get("training_init_model"):
        phase: Spec = {"from_iteration": max(2, int(again or 1) + 1), "start_from": "init"}
        phase |= {
            name: kind(value) for name, kind, value in (("steps", int, steps), ("start_lr", float, rate)) if value
        }
        if isinstance(share, int | float):
            phase["old_data_share"] = float(share)
        elif share is not None:
            keys.notes.add(
                "lost", f"training_reuse_old_ratio = {share!r}", why="give train.phases.old_data_share a number"
            )
        chosen = {name: float(value) for name, value in loss.items() if value is not None}
        phases.append({**phase, **({"loss": chosen} if chosen else {})})
    keys.take("training_init_model", to="train.phases")
    if phases:
        made["phases"] = phases
    return made


def _label(keys: Keys, machine: Keys, place: Place, elements: Sequence[str]) -> Spec:
    """The label engine of `fp_style`."""
    style = str(keys.take("fp_style", to="label.engine", default="vasp"))
    text = machine.take("command", "fp_command", to="label.command")
    folder, files = keys.take("fp_pp_path"), listed(keys.take("fp_pp_files"))
    named = {element: str(Path(str(folder or "."), str(file))) for element, file in zip(elements, files, strict=False)}
    for element in elements[len(files) :] if files else ():
        keys.notes.add(
            "changed", "fp_pp_files", "label", f"{element} has none: {len(files)} files for {len(elements)} types"
        )
    for file in files[len(elements) :]:
        keys.notes.add("lost", f"fp_pp_files: {file}", why=f"there are {len(elements)} types")
    for key in ("fp_pp_path", "fp_pp_files"):
        if key in keys:
            keys.notes.add("translated", key, "label: potentials")
    made = _styled(keys, style, named, place, elements)
    words = command(text) if text else []
    if words:
        made["command"] = words
    elif made["engine"] == "custom":
        keys.notes.add("changed", "(command)", "label.command", "none is known: `your-code` stands for it")
    return made


def _styled(keys: Keys, style: str, named: dict[str, str], place: Place, elements: Sequence[str]) -> Spec:
    given = keys.section("user_fp_params" if "user_fp_params" in keys else "fp_params")
    if style == "vasp":
        made: Spec = {
            "engine": "vasp",
            **(labels.potcars(named, place) if named else {"potcars": "${VASP_PP_PATH}/potpaw_PBE"}),
        }
        incar = keys.take("fp_incar", to="label.incar")
        made |= {"incar": place.path(incar)} if incar else labels.vasp_keys(given)
        spacing = keys.take("fp_aniso_kspacing", to="label.kspacing")
        if spacing:
            made["kspacing"] = [float(item) for item in spacing]
        return made
    if style == "pwscf":
        return labels.qe_input(given, {element: place.path(file) for element, file in named.items()})
    if style == "cp2k":
        external = keys.take("external_input_path", to="label")
        body = place.read(external) if external else None
        if external and body is None:
            keys.notes.add(
                "changed",
                "external_input_path",
                "label",
                "the file is not here: cutoff, basis sets and potentials are guesses",
            )
        raw = labels.cp2k_sections(body) if body else given.raw
        given.used |= set(given.raw)
        return labels.cp2k_input(raw, "external_input_path" if external else given.where, elements, place, keys.notes)
    if style == "abacus":
        return _abacus(keys, given, named, place, elements)
    if style == "gaussian":
        keys.lose(
            "use_clusters",
            "cluster_cutoff",
            "cluster_cutoff_hard",
            "cluster_minify",
            "fp_cluster_vacuum",
            why="clusters are not cut out of periodic frames: explore isolated structures",
        )
        if "sys_configs" in keys:
            keys.notes.add(
                "changed",
                "(structures)",
                "structures",
                "Gaussian labels isolated systems only: as long as the structures are periodic every label is refused",
            )
        return labels.gaussian_input(given)
    if style == "custom":
        names = {
            "input_fn": "input_file",
            "input_fmt": "input_format",
            "output_fn": "output_file",
            "output_fmt": "output_format",
        }
        return {
            "engine": "custom",
            "command": ["your-code"],
            **{to: given.take(key, to=f"label.{to}") for key, to in names.items() if key in given},
        }
    given.lose(*(key for key in given.raw if not is_comment(key)), why=f"written for {style}")
    output, code = FOREIGN.get(style, ("extxyz", style))
    keys.notes.add(
        "lost",
        f"fp_style = {style!r}",
        why=f"there is no engine for it: `custom` is put in; write a script that runs {code}",
    )
    files = [place.path(file) for file in named.values()]
    return {
        "engine": "custom",
        "command": ["your-code"],
        "output_format": output,
        "output_file": "output",
        **({"files": files} if files else {}),
    }


def _abacus(keys: Keys, given: Keys, named: dict[str, str], place: Place, elements: Sequence[str]) -> Spec:
    made: Spec = {"pseudopotentials": {element: place.path(file) for element, file in named.items()}}
    folder = keys.raw.get("fp_pp_path") or "."
    orbitals = listed(keys.take("fp_orb_files", to="label.orbitals"))
    if orbitals:
        made["orbitals"] = {
            element: place.path(folder, file) for element, file in zip(elements, orbitals, strict=False)
        }
    incar = keys.take("fp_incar", to="label.input")
    text = place.read(incar) if incar and not given.raw else None
    if text is not None:
        given = keys.enter(labels.abacus_text(text), "fp_incar")
    if "k_points" in keys:
        given.raw = {**given.raw, "k_points": keys.take("k_points", to="label.kpoints")}
    mesh = keys.take("fp_kpt_file", to="label.kpoints")
    body = place.read(mesh) if mesh else None
    if body is not None:
        given.raw = {**given.raw, "k_points": body.split("\n")[3].split()[:3]}
    keys.lose("fp_dpks_descriptor", why="DeePKS is not offered")
    return labels.abacus_input(given, made)


def _pod(kind: str, section: Keys) -> Spec:
    """GPUs and tasks that share a pod; where else jobs run is said on the cluster, or is this machine."""
    resources = section.section("resources")
    made: Spec = {}
    gpus = resources.take("gpu_per_node", to=f"pods.{kind}.gpus")
    if gpus:
        made["gpus"] = int(gpus)
    if kind == "label" and resources.raw.get("cpu_per_node"):
        made["cpu"] = str(resources.take("cpu_per_node", to=f"pods.{kind}.cpu"))
    for where in (resources, section):
        if kind != "train" and where.raw.get("group_size"):
            made["tasks_per_pod"] = int(where.take("group_size", to=f"pods.{kind}.tasks_per_pod"))
    for inner in (resources, section.section("machine")):
        left = sorted(key for key in inner.raw if key not in inner.used and not is_comment(key))
        inner.used |= set(inner.raw)
        if left:
            why = "where jobs run is for `cluster:` and `pods:`, or for this machine"
            section.notes.add("lost", f"{inner.where}.{{{', '.join(left)}}}", why=why)
    section.lose("user_forward_files", "user_backward_files")
    section.lose("group_size")
    return made


def _rest(keys: Keys) -> None:
    """Keys whose reason for having no counterpart is known."""
    keys.take("model_devi_dt", to="stages: timestep")
    keys.lose("vsc", "model_devi_max_iter", "calypso_input_path", why="every search says it itself")
    keys.lose("init_batch_size", "sys_batch_size", why="one batch size holds: train.input.training.data.batch_size")
    keys.lose("model_devi_skip", why="frames are written from `every` steps on")
    keys.lose("model_devi_clean_traj", "model_devi_merge_traj", why="trajectories are never kept; candidates always")
    keys.lose("fp_task_min", why="every iteration trains on what was labeled")
    keys.lose("fp_accurate_threshold", "fp_accurate_soft_threshold", why="see converge.accurate")
    keys.lose("one_h5", "dp_train_skip_neighbor_stat", "detailed_report_make_fp", why="lamflow does it its own way")
    keys.lose("model_devi_activation_func", why="see train.variants")
    keys.lose("srtab_file_path", why="see train.files")
    keys.lose("mlp_engine", "model_devi_nopbc", "model_devi_plumed_path", "lmp_neigh_modify_one")
    keys.take("model_devi_plumed", to="stages: plumed")
    for key in ("model_devi_taut", "model_devi_taup"):
        keys.take(key, to="stages: thermostat_time, barostat_time")
