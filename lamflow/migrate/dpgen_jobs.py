"""DP-GEN's model_devi_jobs as stages."""

from __future__ import annotations

from typing import Any

from lamflow.migrate.commands import lammps_command
from lamflow.migrate.keys import Keys
from lamflow.migrate.levels import trust_levels
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.searches import search
from lamflow.migrate.structures import starts
from lamflow.migrate.templates import revised
from lamflow.migrate.translate import listed, pressed
from lamflow.migrate.translate import number as value_of

PARTS = ("lmp", "plm")
"""What a template job has: a LAMMPS input and one of PLUMED, each with revisions."""


def stages(keys: Keys, machine: Keys, paths: Paths, structures: list[Spec]) -> list[Spec]:
    """Stages of the jobs; neighbours that are the same are iterations of one stage.

    machine  the section `model_devi` of machine.json
    """
    engine = keys.take("model_devi_engine", default="lammps")
    if engine == "calypso":
        keys.notes.add("translated", "model_devi_engine = 'calypso'", "stages")
    elif engine != "lammps":
        why = "there is no such explorer: without stages models are trained once"
        keys.notes.add("lost", f"model_devi_engine = {engine!r}", why=why)
    lmp = lammps_command(machine.take("command", to="stages: command", default="lmp")) if engine == "lammps" else []
    known = {item["name"]: item for item in structures}
    made: list[Spec] = []
    for number, job in enumerate(listed(keys.take("model_devi_jobs"))):
        own = keys.enter(job, f"model_devi_jobs[{number}]")
        if engine == "calypso":
            explore = [{**group, **trust_levels(keys, own, 0)} for group in search(own)]
        elif engine == "lammps":
            explore = _walks(keys, own, paths, known, number, lmp)
        else:
            own.lose(*own.raw, why=f"written for {engine}")
            explore = []
        if not explore:
            continue
        if made and made[-1]["explore"] == explore:
            made[-1]["max_iterations"] += 1
        else:
            made.append({"name": f"job-{number}", "max_iterations": 1, "explore": explore})
    if made:
        del made[-1]["max_iterations"]
    return made


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
    for name in found:
        if name not in known:
            own.notes.add(
                "lost", f"{own.name('sys_idx')}: {name.removeprefix('sys-')}", why="sys_configs has no such system"
            )
    return [name for name in found if name in known]


def _walks(keys: Keys, own: Keys, paths: Paths, known: dict[str, Spec], number: int, lmp: list[str]) -> list[Spec]:
    """One explore group for each system of a job, so that limits hold for each as in DP-GEN."""
    every = int(own.take("trj_freq", "t_freq", "traj_freq", to="stages: every", default=10))
    steps = int(own.take("nsteps", to="stages: steps", default=1000))
    if steps < every:
        keys.notes.add(
            "changed", own.name("nsteps"), "stages: steps", f"{steps} are less than trj_freq; {every} are made"
        )
    base: Spec = {"engine": "lammps"}
    systems = _systems(own, known)
    templates: dict[str, Spec] = {}
    if own.section("template").raw:
        templates = _templates(own, paths, number, systems)
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
    beads = own.take("nbeads")
    if beads and base.get("ensemble") in ("nvt", "npt") and not templates and not keys.raw.get("model_devi_plumed"):
        base["beads"] = int(beads)
        keys.notes.add("translated", own.name("nbeads"), "stages: beads")
    elif beads:
        why = "path integrals go with nvt and npt, without template and PLUMED"
        keys.notes.add("lost", own.name("nbeads"), why=why)
    if keys.raw.get("model_devi_plumed") and not any("plumed" in made for made in templates.values()):
        base["plumed"] = paths.path("input.plumed")
    if lmp:
        base["command"] = lmp
    base |= _dispersion(keys)
    own.lose("neidelay", why="give a template for it")
    own.lose("s_t", "sk_tr", "skip_train", "skip_training", why="every iteration trains")
    own.lose("task_min", "fp_task_max", "times", "calypso_path")
    if keys.raw.get("use_ele_temp") and not base.get("electronic_temperatures"):
        why = "models learn an electronic temperature, and this job's temps name none: give electronic_temperatures"
        keys.notes.add("changed", own.name("temps"), "stages: electronic_temperatures", why)
    groups = []
    for name in systems:
        number_of = starts(known[name], paths, keys.notes, f"sys_configs[{name.removeprefix('sys-')}]")
        own_starts = {"starts": number_of} if (number_of or 1) > 1 else {}
        levels = trust_levels(keys, own, int(name.removeprefix("sys-")))
        groups.append({**base, **templates.get(name, {}), "structures": [name], **own_starts, **levels})
    return groups


def _ensemble(keys: Keys, own: Keys) -> Spec:
    name = str(own.take("ensemble", "ens", to="stages: ensemble", default="nvt")).lower()
    made = pressed(own, name)
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
    return made


def _times(keys: Keys, own: Keys) -> Spec:
    made = {}
    for key, name, default in (("taut", "thermostat_time", 0.1), ("taup", "barostat_time", 0.5)):
        general = keys.take(f"model_devi_{key}", default=default)
        made[name] = float(own.take(key, to=f"stages: {name}", default=general))
    return made


def _dispersion(keys: Keys) -> Spec:
    d3 = keys.raw.get("lmp_d3")
    if not isinstance(d3, dict) or not d3.get("enable", False):
        keys.lose("lmp_d3", why="it is not enabled")
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


def _templates(own: Keys, paths: Paths, number: int, systems: list[str]) -> dict[str, Spec]:
    """What the template of a job is for each of its systems; those that are revised alike share a file.

    A system has each of its own values with each of those of all systems, which DP-GEN puts in first.
    """
    template, revisions, others = own.section("template"), own.section("rev_mat"), own.section("sys_rev_mat")
    template.lose("plm_path")
    files = {part: template.take(part) for part in PARTS}
    general = {part: revisions.take(part, default={}) for part in PARTS}
    made: dict[str, Spec] = {}
    kinds: list[Spec] = []
    for name in systems:
        index = name.removeprefix("sys-")
        system = others.section(index) if index in others else Keys({}, "", own.notes)
        values = {part: general[part] | _of_system(system, part, general[part]) for part in PARTS}
        kind = {"lmp": {key: _words(items) for key, items in values["lmp"].items()}, "plm": values["plm"]}
        if kind not in kinds:
            kinds.append(kind)
        file = f"job-{number}" + (f"-{place}" if (place := kinds.index(kind)) else "")
        given = Keys({**files, **{f"{part}_values": values[part] for part in PARTS}}, own.where, own.notes)
        made[name] = revised(given, own.where, paths, file)
    return made


def _of_system(system: Keys, part: str, general: Spec) -> Spec:
    """The revisions that a system has for itself."""
    values: Spec = system.take(part, to="stages: variables and template of the system's entry", default={})
    for key in sorted(values.keys() & general.keys()):
        system.notes.add(
            "lost", f"{system.where}.{part}.{key}", why="rev_mat has it, too, and DP-GEN puts that in first"
        )
    return {key: items for key, items in values.items() if key not in general}


def _words(values: Any) -> Any:
    """What a template itself has of a revision: nothing of numbers, which are `variables`."""
    return None if all(value_of(item) is not None for item in listed(values)) else values
