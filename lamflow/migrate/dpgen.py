"""DP-GEN's param.json and machine.json."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lamflow.migrate.keys import Keys, Kind, is_comment
from lamflow.migrate.translate import (
    ENSEMBLES,
    FORMATS,
    Place,
    Spec,
    abacus_input,
    abacus_text,
    check_masses,
    command,
    cp2k_input,
    cp2k_sections,
    gaussian_input,
    heldout,
    lammps_command,
    listed,
    one_of_several,
    potcars,
    qe_input,
    revised,
    symbols,
    training,
    vasp_keys,
)

STYLES = ("vasp", "pwscf", "cp2k", "abacus", "gaussian", "custom", "siesta", "pwmat", "cpx", "amber/diff")
FOREIGN = {"siesta": ("siesta/output", "siesta"), "pwmat": ("pwmat/movement", "PWmat"), "cpx": ("qe/cp/traj", "cp.x")}


def convert(keys: Keys, machines: Keys, place: Place) -> Spec:
    """A run of DP-GEN: every entry of model_devi_jobs is one iteration of a stage of its own."""
    elements = symbols(listed(keys.take("type_map", to="elements")), keys.notes, "type_map")
    check_masses(keys, elements)
    data = [
        path
        for item in listed(keys.take("init_data_sys", "pick_data", to="start.data"))
        for path in place.files(keys.take("init_data_prefix"), item)
    ]
    structures = _structures(keys, place)
    made: Spec = {"elements": elements}
    stages, searches = _stages(keys, place, structures, machines)
    label = _label(keys, machines, place, elements)
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
    made |= {"start": start, "heldout": held, "train": _train(keys, machines, place, elements)}
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
    made["pods"] = _pods(machines)
    _rest(keys, searches)
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
    keys.lose("shuffle_poscar", why="start structures are drawn in a seeded order")
    return made


def _stages(keys: Keys, place: Place, structures: list[Spec], machines: Keys) -> tuple[list[Spec], bool]:
    """Stages of the jobs; neighbours that are the same are iterations of one stage."""
    engine = keys.take("model_devi_engine", default="lammps")
    if engine != "lammps":
        kind: Kind = "translated" if engine == "calypso" else "lost"
        keys.notes.add(
            kind,
            f"model_devi_engine = {engine!r}",
            "stages" if engine == "calypso" else "",
            "" if engine == "calypso" else "there is no such explorer: without stages models are trained once",
        )
    jobs = listed(keys.take("model_devi_jobs"))
    made: list[Spec] = []
    raw_command = (
        machines.section("model_devi")
        if not isinstance(machines.raw.get("model_devi"), list)
        else machines.enter(machines.take("model_devi")[0], "model_devi")
    )
    lmp = lammps_command(raw_command.take("command", to="stages: command", default="lmp")) if engine == "lammps" else []
    _resources(raw_command)
    machines.raw["model_devi"] = raw_command.raw
    known = {item["name"]: item for item in structures}
    for number, job in enumerate(jobs):
        own = keys.enter(job, f"model_devi_jobs[{number}]")
        if engine == "calypso":
            explore = _searches(own)
        elif engine == "lammps":
            explore = _walks(keys, own, place, known, number, lmp)
        else:
            own.used |= set(own.raw)
            explore = []
        if not explore:
            continue
        if made and made[-1]["explore"] == explore:
            made[-1]["max_iterations"] += 1
        else:
            made.append({"name": f"job-{number}", "max_iterations": 1, "explore": explore})
    if made:
        del made[-1]["max_iterations"]
    return made, engine == "calypso"


def _systems(own: Keys, known: dict[str, Spec]) -> list[str]:
    """Names of the structure sets of `sys_idx`: numbers, or ranges like "0-4" and "0-8:2" whose end is left out."""
    found = []
    for item in listed(own.take("sys_idx", to="stages: structures")):
        if isinstance(item, str) and "-" in item:
            span, _, step = item.partition(":")
            low, high = (int(word) for word in span.split("-"))
            found += [f"sys-{n}" for n in range(low, high, int(step or 1))]
        else:
            found.append(f"sys-{int(item)}")
    return [name for name in found if name in known]


def _walks(keys: Keys, own: Keys, place: Place, known: dict[str, Spec], number: int, lmp: list[str]) -> list[Spec]:
    """One explore group for each system of a job, so that limits hold for each as in DP-GEN."""
    every = int(own.take("trj_freq", "t_freq", "traj_freq", to="stages: every", default=10))
    steps = int(own.take("nsteps", to="stages: steps", default=1000))
    base: Spec = {"engine": "lammps"}
    template = own.section("template")
    if template.raw:
        base |= _template(keys, own, template, place, number)
        temperatures = listed(own.take("temps", "Ts"))
        own.lose("press", "Ps", why="the template has its own")
        base["temperatures"] = [float(t) for t in temperatures] or [300.0]
        if not temperatures:
            keys.notes.add(
                "changed",
                f"{own.where}.template",
                "stages: temperatures",
                "the template has its own temperature; the 300 K here are not used unless it says {{ temperature }}",
            )
        own.lose("ensemble", "ens", why="the template has its own")
    else:
        base |= _ensemble(keys, own)
    base |= {"steps": max(steps, every), "timestep": float(keys.take("model_devi_dt", default=0.001)), "every": every}
    base |= _times(keys, own)
    beads = own.take("nbeads", to="stages: beads")
    if beads:
        base["beads"] = int(beads)
    if keys.raw.get("model_devi_plumed") and "plumed" not in base:
        base["plumed"] = place.path("input.plumed")
    if lmp:
        base["command"] = lmp
    base |= _dispersion(keys)
    own.lose("neidelay", "sys_rev_mat", why="give a template for it")
    own.lose("s_t", "sk_tr", "skip_train", "skip_training", why="every iteration trains")
    own.lose("task_min", "fp_task_max", "times", "calypso_path")
    for level in ("model_devi_f_trust_lo", "model_devi_f_trust_hi", "model_devi_v_trust_lo", "model_devi_v_trust_hi"):
        own.lose(level, why="one window holds for the whole run")
    groups = []
    for name in _systems(own, known):
        count = len(known[name]["files"])
        groups.append({**base, "structures": [name], **({"starts": count} if count > 1 else {})})
    return groups


def _ensemble(keys: Keys, own: Keys) -> Spec:
    name = str(own.take("ensemble", "ens", to="stages: ensemble", default="nvt")).lower()
    made: Spec = {"ensemble": ENSEMBLES.get(name, name)}
    temps = listed(own.take("temps", "Ts", to="stages: temperatures", default=[300.0]))
    if any(isinstance(item, list) for item in temps):
        made["temperatures"] = sorted({float(item[0]) for item in temps})
        made["electronic_temperatures"] = sorted({float(item[1]) for item in temps})
        keys.notes.add(
            "changed",
            own.name("temps"),
            "stages: temperatures and electronic_temperatures",
            "pairs become every combination",
        )
    else:
        made["temperatures"] = [float(item) for item in temps]
    pressures = [float(item) for item in listed(own.take("press", "Ps"))]
    if made["ensemble"].startswith("npt"):
        made["pressures"] = pressures or [0.0]
        keys.notes.add("translated", own.name("press"), "stages: pressures")
    elif pressures:
        keys.notes.add("lost", own.name("press"), why=f"pressures have no meaning in {name}")
    return made


def _times(keys: Keys, own: Keys) -> Spec:
    made = {}
    for key, name in (("taut", "thermostat_time"), ("taup", "barostat_time")):
        value = own.take(key, to=f"stages: {name}", default=keys.take(f"model_devi_{key}"))
        if value is not None:
            made[name] = float(value)
    return made


def _dispersion(keys: Keys) -> Spec:
    d3 = keys.raw.get("lmp_d3")
    if not isinstance(d3, dict) or not d3.get("enable", True):
        return {}
    keys.take("lmp_d3", to="stages: d3")
    names = {"zero": "original", "original": "original", "bj": "bj", "zerom": "zerom", "bjm": "bjm"}
    return {
        "d3": {
            "functional": d3.get("functional", "pbe"),
            "damping": names.get(str(d3.get("damping_function", "bj")), "bj"),
            "cutoff": float(d3.get("cutoff", 30.0)),
            "cn_cutoff": float(d3.get("cn_cutoff", 20.0)),
        }
    }


def _template(keys: Keys, own: Keys, template: Keys, place: Place, number: int) -> Spec:
    revisions = own.section("rev_mat")
    own.lose("sys_rev_mat", why="one entry of `explore` for each system can have its own values")
    given = {
        "lmp": template.take("lmp"),
        "plm": template.take("plm"),
        "lmp_values": revisions.take("lmp", default={}),
        "plm_values": revisions.take("plm", default={}),
    }
    template.lose("plm_path")
    return revised(Keys(given, own.where, keys.notes), own.where, place, f"job-{number}")


def _searches(own: Keys) -> list[Spec]:
    """CALYPSO's own words: lists of one, or plain."""

    def one(key: str, default: Any = None, to: str = "") -> Any:
        value = own.take(key, to=to, default=default)
        return value[0] if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], list) else value

    names = listed(own.take("NameOfAtoms", to="stages: formula"))
    if not names:
        own.lose(*own.raw, why="without NameOfAtoms the search is in an input.dat: give engine calypso with `input`")
        return []
    made: Spec = {
        "engine": "calypso",
        "population": max(2, int(one("PopSize", 30, "stages: population"))),
        "generations": int(one("MaxStep", 5, "stages: generations")),
        "pso_ratio": float(one("PsoRatio", 0.6, "stages: pso_ratio")),
        "exchange": 0.0,
    }
    if str(one("VSC", "F", "stages: ranges")).upper().startswith("T"):
        spans = listed(own.take("CtrlRange", default=[[1, 10]]))
        spans = spans if isinstance(spans[0], list) else [spans]
        made["ranges"] = {name: [int(n) for n in spans[min(place, len(spans) - 1)]] for place, name in enumerate(names)}
        made["max_atoms"] = int(one("MaxNumAtom", 20, "stages: max_atoms"))
    else:
        counts = listed(own.take("NumberOfAtoms", default=[1] * len(names)))
        units = [int(n) for n in listed(own.take("NumberOfFormula", default=[1, 1]))]
        made["formula"] = {name: int(count) for name, count in zip(names, counts, strict=False)}
        made["formula_units"] = units
        made["max_atoms"] = max(units[-1] * sum(made["formula"].values()), 1)
    distances = listed(own.take("DistanceOfIon", to="stages: distances"))
    if distances and isinstance(distances[0], list):
        made["distances"] = {
            f"{a}-{b}": float(distances[i][j])
            for (i, a), (j, b) in itertools.combinations_with_replacement(enumerate(names), 2)
            if i < len(distances) and j < len(distances[i])
        }
    made["pressures"] = [1000.0 * float(p) for p in listed(own.take("PSTRESS", default=[0]))]
    own.notes.add("translated", own.name("PSTRESS"), "stages: pressures, kbar as bar")
    fmax = one("fmax", None, "stages: relax.fmax")
    if fmax:
        made["relax"] = {"fmax": float(fmax)}
    if str(one("Split", "T", "stages: mode")).upper().startswith("T"):
        made["mode"] = "split"
    own.lose("Volume", why="estimated from the elements; give volumes of an atom")
    own.lose(
        "times",
        "ICode",
        "Ialgo",
        "NumberOfLbest",
        "NumberOfSpecies",
        "SystemName",
        "PickUp",
        "PickStep",
        "NumberOfLocalOptim",
        "Parallel",
        "Command",
        "MaxTime",
        "GenType",
        "Spec_space_group",
        why="lamflow's own search needs none of it",
    )
    return [made]


def _select(keys: Keys, stages: Sequence[Spec]) -> Spec:
    notes = keys.notes
    low = one_of_several(keys.take("model_devi_f_trust_lo"), notes, "model_devi_f_trust_lo", "select.window.low")
    high = one_of_several(keys.take("model_devi_f_trust_hi"), notes, "model_devi_f_trust_hi", "select.window.high")
    window: Spec = {"rule": "fixed", "low": low if low is not None else 0.05, "high": high or 0.15}
    if keys.take("model_devi_adapt_trust_lo", to="select.window.rule"):
        window = {"rule": "adaptive", "high": window["high"]}
        window["candidates"] = int(keys.take("model_devi_numb_candi_f", to="select.window.candidates", default=10))
        share = float(keys.take("model_devi_perc_candi_f", to="select.window.share", default=0.0))
        window["share"] = share / 100
    elif low is not None and high is not None and low >= high:
        window["high"] = low * 2 or 0.1
        notes.add("changed", "model_devi_f_trust_hi", "select.window.high", "it was not above the lower level")
    for level in ("model_devi_v_trust_lo", "model_devi_v_trust_hi"):
        value = keys.raw.get(level)
        keys.lose(level, why="" if value in (None, 1e10) else "the window looks at one deviation: see select.by")
    made: Spec = {"window": window}
    if keys.take("use_relative", to="select.by"):
        made["by"] = "force_max_relative"
        if float(keys.take("epsilon", default=1.0)) != 1.0:
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


def _train(keys: Keys, machines: Keys, place: Place, elements: Sequence[str]) -> Spec:
    raw = machines.raw.get("train")
    section = machines.enter(raw[0], "train") if isinstance(raw, list) and raw else machines.section("train")
    machines.used.add("train")
    section.take("command", to="train.engine", why="lamflow calls DeePMD-kit itself")
    _resources(section)
    machines.raw["train"] = section.raw
    given = keys.take("default_training_param", "training_param", default={})
    if isinstance(given, list):
        keys.notes.add(
            "changed", "default_training_param", "train.input", "the first of several is taken; see train.variants"
        )
        given = given[0] if given else {}
    made: Spec = {"engine": "deepmd", "models": int(keys.take("numb_models", to="train.models", default=4))}
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
        chosen = {name: float(value) for name, value in loss.items() if value is not None}
        phases.append({**phase, **({"loss": chosen} if chosen else {})})
    keys.take("training_init_model", to="train.phases")
    if phases:
        made["phases"] = phases
    return made


def _label(keys: Keys, machines: Keys, place: Place, elements: Sequence[str]) -> Spec:
    """The label engine of `fp_style`."""
    style = str(keys.take("fp_style", to="label.engine", default="vasp"))
    raw = machines.raw.get("fp")
    section = machines.enter(raw[0], "fp") if isinstance(raw, list) and raw else machines.section("fp")
    machines.used.add("fp")
    text = section.take("command", to="label.command")
    _resources(section)
    machines.raw["fp"] = section.raw
    folder, files = keys.take("fp_pp_path"), listed(keys.take("fp_pp_files"))
    named = {element: str(Path(str(folder or "."), str(file))) for element, file in zip(elements, files, strict=False)}
    for key in ("fp_pp_path", "fp_pp_files"):
        if key in keys:
            keys.notes.add("translated", key, "label: potentials")
    made = _styled(keys, style, named, place, elements)
    if text and "command" not in made:
        made["command"] = command(text)
    return made


def _styled(keys: Keys, style: str, named: dict[str, str], place: Place, elements: Sequence[str]) -> Spec:
    given = keys.section("user_fp_params" if "user_fp_params" in keys else "fp_params")
    if style == "vasp":
        made: Spec = {
            "engine": "vasp",
            **(potcars(named, place) if named else {"potcars": "${VASP_PP_PATH}/potpaw_PBE"}),
        }
        incar = keys.take("fp_incar", to="label.incar")
        made |= {"incar": place.path(incar)} if incar else vasp_keys(given)
        spacing = keys.take("fp_aniso_kspacing", to="label.kspacing")
        if spacing:
            made["kspacing"] = [float(item) for item in spacing]
        return made
    if style == "pwscf":
        return qe_input(given, {element: place.path(file) for element, file in named.items()})
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
        raw = cp2k_sections(body) if body else given.raw
        given.used |= set(given.raw)
        return cp2k_input(raw, "external_input_path" if external else given.where, elements, place, keys.notes)
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
        return gaussian_input(given, None)
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
    given.used |= set(given.raw)
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
        given = keys.enter(abacus_text(text), "fp_incar")
    if "k_points" in keys:
        given.raw = {**given.raw, "k_points": keys.take("k_points", to="label.kpoints")}
    mesh = keys.take("fp_kpt_file", to="label.kpoints")
    body = place.read(mesh) if mesh else None
    if body is not None:
        given.raw = {**given.raw, "k_points": body.split("\n")[3].split()[:3]}
    keys.lose("fp_dpks_descriptor", why="DeePKS is not offered")
    return abacus_input(given, made)


def _resources(section: Keys) -> None:
    """Where jobs run is for `pods:` and `cluster:`; what is translated is taken by `_pods`."""
    for key in ("machine", "resources"):
        if key in section:
            inner = section.section(key)
            named = sorted(item for item in inner.raw if not is_comment(item))
            left = [n for n in named if key == "machine" or n not in ("gpu_per_node", "cpu_per_node", "group_size")]
            inner.used |= set(inner.raw)
            if left:
                section.notes.add(
                    "lost",
                    f"{section.name(key)}.{{{', '.join(left)}}}",
                    why="where jobs run is for `cluster:` and `pods:`, or for this machine",
                )
    section.lose("user_forward_files", "user_backward_files", "group_size")


def _pods(machines: Keys) -> Spec:
    """GPUs and tasks that share a pod."""
    made: Spec = {}
    for name, kind in (("train", "train"), ("model_devi", "explore"), ("fp", "label")):
        section = machines.raw.get(name)
        resources = section.get("resources", {}) if isinstance(section, dict) else {}
        if not isinstance(resources, dict):
            continue
        pod: Spec = {}
        if resources.get("gpu_per_node"):
            pod["gpus"] = int(resources["gpu_per_node"])
        if kind == "label" and resources.get("cpu_per_node"):
            pod["cpu"] = str(resources["cpu_per_node"])
        if kind != "train" and resources.get("group_size"):
            pod["tasks_per_pod"] = int(resources["group_size"])
        for key, to in (("gpu_per_node", "gpus"), ("cpu_per_node", "cpu"), ("group_size", "tasks_per_pod")):
            if to in pod:
                machines.notes.add("translated", f"machine.{name}.resources.{key}", f"pods.{kind}.{to}")
            elif key in resources:
                machines.notes.add("lost", f"machine.{name}.resources.{key}")
        if pod:
            made[kind] = pod
    machines.lose("api_version", "deepmd_version", "python_path", "python_test_path", "deepmd_path", "_comment")
    return made


def _rest(keys: Keys, searches: bool) -> None:
    """Keys whose reason for having no counterpart is known."""
    keys.take("model_devi_dt", to="stages: timestep")
    if searches:
        keys.lose("vsc", "model_devi_max_iter", "calypso_input_path")
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
