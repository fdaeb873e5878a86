"""PFD-kit's fine-tuning and distillation, in the three forms that its files have had."""

from __future__ import annotations

import re
from typing import Any

from ase.data import chemical_symbols

from lamflow.migrate.crystals import NORMAL
from lamflow.migrate.fp import fp_engine
from lamflow.migrate.keys import Keys
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.pfd_stages import stages as stages_of
from lamflow.migrate.selection import dpgen2_filters, filters
from lamflow.migrate.step_configs import SITE, tolerated, where
from lamflow.migrate.structures import with_format
from lamflow.migrate.training import training
from lamflow.migrate.translate import branch, data_files, heldout, listed
from lamflow.migrate.typemap import check_masses, of_study, symbols

CALCULATORS = {
    "mattersim": "mattersim.forcefield.MatterSimCalculator",
    "mace": "mace.calculators.MACECalculator",
    "emt": "ase.calculators.emt.EMT",
    "lj": "ase.calculators.lj.LennardJones",
}
PERT = {"atom_pert_distance": "rattle", "cell_pert_fraction": "strain", "pert_num": "copies"}


def convert(keys: Keys, machines: Keys, paths: Paths) -> Spec:
    """A run of PFD-kit."""
    del machines
    notes, task, inputs = keys.notes, keys.section("task"), keys.section("inputs")
    explored = keys.section("exploration" if "exploration" in keys else "explore")
    if not explored.raw and "conf_generation" in keys:
        notes.add("changed", "conf_generation.expl_tasks", "stages", "the oldest form: its tasks become one stage")
    kind = str(task.take("type", to="select.score", default="dist" if "teacher_model" in inputs else "finetune"))
    distilled = kind.startswith("dist")
    structures = _structures(keys, inputs, paths)
    elements = symbols(listed(inputs.take("type_map", to="elements")), notes, "inputs.type_map") or _elements(
        structures, paths, keys
    )
    paths.elements = paths.type_map = elements
    check_masses(inputs, elements)
    start = _start(inputs, task, paths, structures, notes)
    model = inputs.take(
        "base_model_path",
        "teacher_model_path",
        "pretrain_model_path",
        "teacher_models_paths",
        "teacher_model",
        to="label.model" if distilled else "train.pretrained",
        default="model.pt",
    )
    inputs.lose(
        "base_model_uri",
        "teacher_model_uri",
        "pretrain_model_uri",
        "base_model_style",
        "teacher_model_style",
        why="give a file, or `s3:`",
    )
    file = paths.path(listed(model)[0])
    fp = keys.section("fp")
    label = _label(keys, fp, distilled, file, paths, elements)
    elements = paths.elements = of_study(keys, elements, label, structures, start.get("data", []), paths)
    made: Spec = {"name": keys.take("name", to="name"), "elements": elements, "structures": structures, "start": start}
    data = start.get("data", [])
    made["heldout"] = heldout(structures, notes, data)
    made["train"] = _train(keys, distilled, file, paths, elements)
    stages, most = stages_of(keys, explored, task, structures, paths)
    made |= {"stages": stages, "select": _select(keys, fp, explored, distilled), "label": label}
    made["converge"] = _converge(keys, explored)
    made["budget"] = {"iterations": most + 1}
    failed = tolerated(keys)
    made["budget"] |= {"failed_labels": failed["fp"]} if "fp" in failed else {}
    made["select"] |= {"max_failed": failed["explore"]} if "explore" in failed else {}
    made |= where(keys)
    task.lose(
        "init_ft",
        "init_train",
        "init_training",
        "skip_aimd",
        "recursive",
        "init_fp",
        why="models start from `phases`, and start structures are labeled where there are no start data",
    )
    keys.lose("init_fp", "aimd", "inference", "validation", why="not offered")
    keys.lose(*SITE, why="where pods run is for `cluster:` and `pods:`")
    return {key: value for key, value in made.items() if value not in ({}, None, [])}


def _structures(keys: Keys, inputs: Keys, paths: Paths) -> list[Spec]:
    generation = keys.section("conf_generation" if "conf_generation" in keys else "configurations")
    names = ("init_configurations", "init_confs", "confs")
    inner = next((name for name in names if name in generation), names[0])
    raw = inputs.section("init_confs") if "init_confs" in inputs else generation.section(inner)
    prefix, format = raw.take("prefix", to="structures: paths"), raw.take("fmt", to="structures: format")
    raw.lose("confs_uri", "type", why="give files")
    made: list[Spec] = []
    for number, item in enumerate(listed(raw.take("confs_paths", "files", to="structures"))):
        spec: Spec = {"name": f"conf-{number}", "files": paths.files(prefix, item)}
        made.append(with_format(spec, None if format == "extxyz" else format, paths, keys.notes))
    for number, how in enumerate(listed(generation.take("pert_generation", to="structures: copies, strain, rattle"))):
        own = generation.enter(how, f"pert_generation[{number}]")
        index = own.take("conf_idx", default="default")
        wanted = [s for n, s in enumerate(made) if index == "default" or n in listed(index)]
        replicate = own.take("replicate", default=1)
        for spec in wanted:
            spec |= {to: (int if to == "copies" else float)(own.take(key)) for key, to in PERT.items() if key in own}
            if "rattle" in spec:
                spec["rattle"] = round(NORMAL * spec["rattle"], 8)
                why = "a vector's length, √3 times the standard deviation of each coordinate"
                own.notes.add("changed", own.name("atom_pert_distance"), "structures: rattle", why)
            if replicate not in (1, [1, 1, 1]):
                spec["supercell"] = (
                    [int(n) for n in listed(replicate)] if isinstance(replicate, list) else [int(replicate)] * 3
                )
        own.lose("orig")
    if not made:
        made = [{"name": "conf-0", "files": [paths.path("POSCAR")]}]
        keys.notes.add("changed", "(structures)", "structures", "none are named: give yours")
    return made


def _elements(structures: list[Spec], paths: Paths, keys: Keys) -> list[str]:
    """Elements of the structures, where the file has no type map."""
    from ase.io import read

    found: list[str] = []
    for spec in structures:
        for file in spec["files"]:
            try:
                images: Any = read(paths.target / file, index=":")
                found += [symbol for atoms in images for symbol in atoms.get_chemical_symbols()]
            except Exception:  # noqa: BLE001  it is not there, or ASE cannot read it
                words = re.split(r"[\W_\d]+", re.sub(r"\.\w+$", "", file.rsplit("/", 1)[-1]))
                found += [word.capitalize() for word in words if word.capitalize() in chemical_symbols[1:]]
    potentials = (
        keys.raw.get("fp", {}).get("inputs_config", {}).get("pp_files", {})
        if isinstance(keys.raw.get("fp"), dict)
        else {}
    )
    searched = re.findall(r"'name_of_atoms': \[([^\]]*)\]", str(keys.raw.get("exploration", keys.raw.get("explore"))))
    found += [word for names in searched for word in re.findall(r"[A-Z][a-z]?", names)]
    known = list(potentials) or list(dict.fromkeys(found)) or ["Si"]
    keys.notes.add(
        "changed",
        "(type map)",
        "elements",
        f"the file names none: {' '.join(known)} was guessed from structures and potentials",
    )
    return known


def _start(inputs: Keys, task: Keys, paths: Paths, structures: list[Spec], notes: Any) -> Spec:
    prefix = inputs.take("init_data_prefix", to="start.data: paths")
    systems = listed(inputs.take("init_data_sys", to="start.data"))
    data = data_files(inputs, "init_data_sys", systems, paths, prefix)
    first = inputs.section("init_fp_confs")
    before, files = first.take("prefix"), listed(first.take("confs_paths", "files", to="start.label"))
    first.lose("fmt", "confs_uri")
    inputs.lose("init_data_uri", "valid_data_uri", "valid_data_prefix", "valid_data_sys")
    del task
    if data:
        return {"data": data}
    if files:
        structures.append({"name": "first", "files": [path for item in files for path in paths.files(before, item)]})
        return {"label": ["first"]}
    structures.append({**structures[0], "name": "start", "copies": 10, "strain": 0.03, "rattle": 0.05})
    notes.add(
        "changed",
        "inputs.init_data_sys",
        "start.label",
        "there are no start data: rattled copies of the first structures are labeled first",
    )
    return {"label": ["start"]}


def _label(keys: Keys, fp: Keys, distilled: bool, file: str, paths: Paths, elements: list[str]) -> Spec:
    kind = str(fp.raw.get("type", "ase" if distilled else "vasp"))
    if kind != "ase":
        return fp_engine(fp, paths, elements)
    fp.take("type", to="label.engine")
    run, inputs = fp.section("run_config"), fp.section("inputs_config")
    style = str(run.take("model_style", "style", "model", to="label.engine", default="dp"))
    arguments = run.take("model_args", to="label.arguments", default={}) or {}
    inputs.lose("batch_size", why="frames are labeled in batches as large as the memory allows")
    if style in ("dp", "deepmd"):
        head = arguments.get("head")
        evaluated = keys.raw.get("evaluate")
        head = head or (evaluated.get("head") if isinstance(evaluated, dict) else None)
        return {"engine": "deepmd", "model": {"file": file, **({"head": head} if head else {})}}
    return {
        "engine": "ase",
        "calculator": CALCULATORS.get(style, style if "." in style else f"{style}.Calculator"),
        "arguments": arguments,
    }


def _train(keys: Keys, distilled: bool, file: str, paths: Paths, elements: list[str]) -> Spec:
    train = keys.section("train")
    config = train.section("config")
    kind = train.take("type", to="train.engine", default="dp")
    made: Spec = {"engine": "deepmd", "models": 1}
    keys.notes.add(
        "changed",
        "(one model)",
        "train.models",
        "PFD-kit trains one model; "
        + ("the teacher judges it" if distilled else "selection by a committee needs several: 4 were put in"),
    )
    if not distilled:
        made |= {"models": 4, "bootstrap": True}
    if kind != "dp":
        keys.notes.add("lost", f"train.type = {kind!r}", why="only DeePMD-kit trains models here")
        config.lose(*config.raw)
        train.lose("template_script")
        return made
    made |= training(
        train.take("template_script", to="train.input", default={}),
        "train.template_script",
        paths,
        keys.notes,
        elements,
        follows=True,
    )
    arguments = str(config.take("finetune_args", to="train.pretrained.head", default="") or "")
    named = branch(arguments)
    head = named or config.take("head", to="train.pretrained.head")
    if not distilled:
        made["pretrained"] = {"file": file, **({"head": head} if head else {})}
        made["phases"] = [{"from_iteration": 1, "start_from": "finetune"}]
    if config.take("impl", "backend", default="tensorflow") != "pytorch":
        keys.notes.add("changed", "train.config.impl", "train.engine", "tensorflow becomes PyTorch")
    files = [paths.path(item) for item in listed(train.take("optional_files", to="train.files"))]
    if files:
        made["files"] = files
    train.lose("numb_models", "init_models_paths", "init_models_uri", "comment")
    config.lose("command", "train_args", "finetune_mode", "mixed_type", "multitask", "init_model_policy")
    if named:
        config.lose("head", why="finetune_args names one")
    return made


def _select(keys: Keys, fp: Keys, explored: Keys, distilled: bool) -> Spec:
    section = keys.section("select_confs")
    limit = section.take("max_sel", to="select.limit", default=fp.take("task_max", to="select.limit", default=100))
    made: Spec = {
        "limit": int(limit),
        "window": {"rule": "adaptive", "high": 5.0, "candidates": int(limit), "fraction": 0.0},
        "pick": "diverse",
    }
    sections = [section.enter(raw, f"frame_filter[{n}]") for n, raw in enumerate(listed(section.take("frame_filter")))]
    made["filters"] = filters(keys.notes, "PFD-kit", dpgen2_filters(sections))
    if distilled:
        made["score"] = "teacher"
    keys.notes.add(
        "changed",
        "select_confs",
        "select",
        "PFD-kit takes frames by entropy or at random; here those of the largest error or "
        "deviation are candidates, and of these the most diverse are labeled",
    )
    convergence = explored.raw.get("convergence", explored.raw.get("converge_config"))
    for item in listed(convergence.get("conf_filter")) if isinstance(convergence, dict) else []:
        if isinstance(item, dict) and item.get("type") == "force_delta":
            made["window"] = {
                "rule": "fixed",
                "low": float(item.get("thr_l", 0.05)),
                "high": float(item.get("thr_h", 0.5)),
            }
            keys.notes.add("translated", "exploration.convergence.conf_filter", "select.window")
    section.lose("h_filter", "test_size", why="see select.pick")
    return made


def _converge(keys: Keys, explored: Keys) -> Spec:
    section = keys.section("evaluate")
    own = section.section("converge")
    if not own.raw:
        own = next((explored.section(name) for name in ("convergence", "converge_config") if name in explored), own)
    explored.used |= {"convergence", "converge_config"}
    kind = str(own.take("type", default="force_rmse"))
    error = own.take("RMSE", default=0.01)
    own.used |= set(own.raw)
    section.lose("test_size", "model", "head", "device", "max_sel", why="models are judged on `heldout`")
    if kind.startswith("force"):
        keys.notes.add(
            "changed", f"{own.where}.RMSE", "converge.heldout_force_rmse", "on data that are never trained on"
        )
        return {"accurate": 0.0, "heldout_force_rmse": float(error)}
    keys.notes.add("lost", f"{own.where}.type = {kind!r}", why="runs stop by the error of the forces")
    return {"plateau": 3}
