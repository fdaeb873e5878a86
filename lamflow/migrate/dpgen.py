"""DP-GEN's param.json and machine.json."""

from __future__ import annotations

from collections.abc import Sequence

from lamflow.migrate import autotest, dpgen_init
from lamflow.migrate.dpgen_jobs import stages as stages_of
from lamflow.migrate.dpgen_labels import label as label_engine
from lamflow.migrate.dpgen_training import trained
from lamflow.migrate.keys import Keys, is_comment
from lamflow.migrate.levels import common_levels, levels_in, note_levels, note_lost_levels
from lamflow.migrate.machines import needs, placed, system
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.selection import bad_box, filters
from lamflow.migrate.structures import isolated, with_format
from lamflow.migrate.translate import data_files, heldout, listed, one_of_several
from lamflow.migrate.typemap import check_masses, of_study, symbols

SIMPLIFY = (
    "init_pick_number",
    "iter_pick_number",
    "pick_data",
    "labeled",
    "true_error_f_trust_lo",
    "true_error_f_trust_hi",
)


def convert(keys: Keys, machines: Keys, paths: Paths) -> Spec:
    """A run of DP-GEN: every entry of model_devi_jobs is one iteration of a stage of its own.

    Files of its init_bulk, init_surf and autotest become studies that label structures.
    """
    for is_of_kind, converted in ((dpgen_init.is_init, dpgen_init.convert), (autotest.is_autotest, autotest.convert)):
        if is_of_kind(keys.raw):
            return converted(keys, machines, paths)
    elements = symbols(listed(keys.take("type_map", to="elements")), keys.notes, "type_map")
    paths.elements = paths.type_map = elements
    check_masses(keys, elements)
    systems = listed(keys.take("init_data_sys", to="start.data"))
    data = data_files(keys, "init_data_sys", systems, paths, keys.take("init_data_prefix"))
    if not data:
        data = data_files(keys, "pick_data", listed(keys.take("pick_data", to="start.data")), paths)
    structures = _structures(keys, paths)
    made: Spec = {"elements": elements}
    train, explore, fp = (machines.section(name) for name in ("train", "model_devi", "fp"))
    for section, prefix, command_key in ((explore, "model_devi", "lmp_command"), (fp, "fp", "fp_command")):
        old = {"command": machines.take(command_key), "group_size": machines.take(f"{prefix}_group_size")}
        section.raw = {**{key: value for key, value in old.items() if value is not None}, **section.raw}  # before 0.10
    label = label_engine(keys, fp, paths, elements)
    elements = paths.elements = of_study(keys, elements, label, structures, data, paths)
    made["elements"] = elements
    stages = stages_of(keys, explore, paths, structures)
    used = {name for stage in stages for group in stage["explore"] for name in group.get("structures", [])}
    kept = [item for item in structures if item["name"] in used] if used else structures[:1]
    for item in structures:
        if item not in kept:
            keys.notes.add("lost", f"sys_configs: {item['name']}", why="no job explores it")
    if not data and not kept:
        start: Spec = {"data": [paths.path("init-data")]}
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
    made |= {"start": start, "heldout": held, "train": trained(keys, train, paths, elements)}
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
    made |= _where({"train": train, "explore": explore, "label": fp})
    machines.lose("api_version", "deepmd_version", "python_path", "python_test_path", "deepmd_path")
    _rest(keys)
    return {key: value for key, value in made.items() if value not in ({}, None)}


def _structures(keys: Keys, paths: Paths) -> list[Spec]:
    prefix, format = keys.take("sys_configs_prefix"), keys.take("sys_format", default="vasp/poscar")
    made = []
    for number, patterns in enumerate(listed(keys.take("sys_configs", to="structures"))):
        files = [path for item in listed(patterns) for path in paths.files(prefix, item)]
        if files:
            spec = with_format({"name": f"sys-{number}", "files": files}, format, paths, keys.notes)
            if keys.take("model_devi_nopbc"):
                spec = isolated(spec, paths, keys.notes, "model_devi_nopbc")
            made.append(spec)
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
    groups = [group for stage in stages for group in stage["explore"]]
    made: Spec = {}
    if keys.take("model_devi_adapt_trust_lo", to="select.window.rule"):
        made["window"] = _adaptive(keys, groups)
    else:
        used = levels_in(groups)
        made |= common_levels(stages, notes)
        note_levels(keys, used, several=any("window" in group or "channels" in group for group in groups))
    if keys.take("use_relative", to="select.metric"):
        made["metric"] = "force_max_relative"
        if float(keys.take("epsilon", to="select.metric", default=1.0)) != 1.0:
            notes.add("changed", "epsilon", "select.metric", "1 eV/Å is added to the size of the force")
    keys.lose("epsilon", "use_relative_v", "epsilon_v", why="only the force's deviation can be relative")
    keys.lose("model_devi_f_avg_relative", why="force_max_relative divides by each atom's own force")
    most = int(keys.take("fp_task_max", to="select.per_group", default=50))
    made |= {"limit": most * max(len(stage["explore"]) for stage in stages), "per_group": most, "pick": "random"}
    notes.add(
        "changed",
        "fp_task_max",
        "select.limit",
        "candidates are drawn at random as there; `pick: diverse` needs fewer labels",
    )
    box = bad_box(str(keys.take("fp_skip_bad_box", default="")), notes)
    made["filters"] = filters(notes, "DP-GEN", box)
    return made


def _adaptive(keys: Keys, groups: Sequence[Spec]) -> Spec:
    """A window whose lower level follows the deviations; there is one for all systems, and it is of forces."""
    highs = [group.pop("window")["high"] for group in groups]
    channels = [group.pop("channels") for group in groups]
    note_lost_levels(keys, any(channels))
    high = one_of_several(highs, keys.notes, "model_devi_f_trust_hi", "select.window.high") or 0.15
    return {
        "rule": "adaptive",
        "high": high,
        "candidates": int(keys.take("model_devi_numb_candi_f", to="select.window.candidates", default=10)),
        "fraction": float(keys.take("model_devi_perc_candi_f", to="select.window.fraction", default=0.0)) / 100,
    }


def _budget(keys: Keys, jobs: int) -> Spec:
    made: Spec = {"iterations": jobs + 1}
    failed = keys.take("ratio_failed", "fp_ratio_failed", to="budget.failed_labels")
    if failed is None:
        failed = 0.05
        keys.notes.add("translated", "ratio_failed = 0.05 (DP-GEN's default)", "budget.failed_labels")
    made["failed_labels"] = float(failed)
    return made


def _where(sections: dict[str, Keys]) -> Spec:
    """What the kinds of steps need, and the batch systems that they go to."""
    found = {kind: system(section.section("machine"), "batch") for kind, section in sections.items()}
    pods = {kind: _pod(kind, section, found[kind].get("system")) for kind, section in sections.items()}
    made: Spec = {"pods": {kind: pod for kind, pod in pods.items() if pod}}
    placed(made, found)
    return made


def _pod(kind: str, section: Keys, placed: str | None) -> Spec:
    """What the jobs of a kind of step need, and what is asked of the batch system where they are `placed` on one."""
    resources = section.section("resources")
    made = needs(resources, kind, placed)
    if kind != "train" and section.raw.get("group_size"):
        made["work_per_job"] = int(section.take("group_size", to=f"pods.{kind}.work_per_job"))
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
    skipped = "the first frames of a trajectory are candidates too" if keys.raw.get("model_devi_skip") else ""
    keys.lose("model_devi_skip", why=skipped or "frames are written from `every` steps on")
    keys.lose("model_devi_clean_traj", "model_devi_merge_traj", why="trajectories are never kept; candidates always")
    keys.lose("fp_task_min", why="every iteration trains on what was labeled")
    keys.lose("fp_accurate_threshold", "fp_accurate_soft_threshold", why="see converge.accurate")
    keys.lose("one_h5", "dp_train_skip_neighbor_stat", "detailed_report_make_fp", why="lamflow does it its own way")
    keys.lose("model_devi_activation_func", why="see train.variants")
    keys.lose("srtab_file_path", why="see train.files")
    keys.lose("mlp_engine", "model_devi_plumed_path", "lmp_neigh_modify_one")
    keys.take("model_devi_plumed", to="stages: plumed")
    for key in ("model_devi_taut", "model_devi_taup"):
        keys.take(key, to="stages: thermostat_time, barostat_time")
