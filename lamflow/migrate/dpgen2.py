"""dpgen2's input.json."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lamflow.migrate.commands import lammps_command
from lamflow.migrate.crystals import NORMAL, crystal, lattice_note
from lamflow.migrate.dpgen2_training import trained
from lamflow.migrate.fp import fp_engine
from lamflow.migrate.keys import Keys, Notes
from lamflow.migrate.levels import SMALL
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.selection import dpgen2_filters, filters, pick
from lamflow.migrate.step_configs import SITE, tolerated, where
from lamflow.migrate.structures import isolated, with_format
from lamflow.migrate.task_groups import group
from lamflow.migrate.translate import TENTH, data_files, heldout, listed
from lamflow.migrate.typemap import check_masses, of_study, symbols, without_elements


def convert(keys: Keys, machines: Keys, paths: Paths) -> Spec:
    """A run of dpgen2."""
    del machines
    inputs, train, explore, fp = (keys.section(name) for name in ("inputs", "train", "explore", "fp"))
    elements = symbols(listed(inputs.take("type_map", to="elements")), keys.notes, "inputs.type_map")
    paths.elements = paths.type_map = elements
    check_masses(inputs, elements)
    made: Spec = {"name": keys.take("name", to="name"), "elements": elements}
    structures = configurations(explore, paths, elements)
    parts = _data(inputs, paths, structures)
    if inputs.take("mixed_type", to="data_format"):
        made["data_format"] = "deepmd/npy/mixed"
    made["structures"] = structures
    label = fp_engine(fp, paths, elements)
    data = [*parts["start"].get("data", []), *parts["heldout"].get("data", [])]
    elements = paths.elements = of_study(keys, elements, label, structures, data, paths)
    made["elements"] = elements
    without_elements(structures, elements)
    distilled = train.take("type", default="dp") == "dp-dist"
    made["train"] = trained(train, inputs, paths, elements)
    made |= _heads(inputs, parts, label, paths) if inputs.raw.get("multitask") else {**parts, "label": label}
    stages, converge, made["select"] = _explored(keys, explore, paths, structures)
    made["stages"] = stages
    made["select"] |= {"limit": int(fp.take("task_max", to="select.limit", default=10))}
    if distilled:
        made["train"] |= {"models": 1}
        made["select"] |= {"score": "teacher", "window": as_errors(made["select"]["window"], keys.notes)}
        for channel in made["select"].get("channels", []):
            channel |= {"low": 2 * channel["low"], "high": 2 * channel["high"]}
            why = "twice as large, for the error is looked at, of which the deviation of two is half"
            keys.notes.add("changed", "explore.convergence.level_v", "select.channels: virial_max", why)
    made["converge"] = converge
    count = sum(stage.get("max_iterations", 10) for stage in stages)
    made["budget"] = {"iterations": count + 1}
    failed = tolerated(keys)
    made["budget"] |= {"failed_labels": failed["fp"]} if "fp" in failed else {}
    made["select"] |= {"max_failed": failed["explore"]} if "explore" in failed else {}
    made |= where(keys)
    keys.lose(*SITE, why="where pods run is for `cluster:` and `pods:`")
    return {key: value for key, value in made.items() if value not in ({}, None, [])}


def _data(inputs: Keys, paths: Paths, structures: list[Spec]) -> Spec:
    prefix = inputs.take("init_data_prefix", to="start.data: paths")
    data = data_files(inputs, "init_data_sys", listed(inputs.take("init_data_sys", to="start.data")), paths, prefix)
    inputs.lose("init_data_uri", "valid_data_uri", "multi_init_data_uri", "multi_valid_data_uri", why="give files")
    valid = listed(inputs.take("valid_data_sys", to="heldout.data"))
    before = inputs.take("valid_data_prefix", to="heldout.data: paths")
    if not data and not structures:
        data = [paths.path("init-data")]
        inputs.notes.add("changed", "inputs.init_data_sys", "start.data", "it is empty: name your labeled data")
    start: Spec = {"data": data} if data else {"label": [structures[0]["name"]]}
    if valid:
        return {"start": start, "heldout": {"data": data_files(inputs, "valid_data_sys", valid, paths, before)}}
    return {"start": start, "heldout": heldout(structures, inputs.notes, data)}


def _heads(inputs: Keys, parts: Spec, label: Spec, paths: Paths) -> Spec:
    """Multi-task: every one has its data, the one that is explored is labeled."""
    head = inputs.take("head", to="heads")
    several = inputs.take("multi_init_data", to="heads", default={}) or {}
    valid = inputs.take("multi_valid_data", default={}) or {}
    inputs.take("multitask", to="heads")
    made = []
    for name, item in several.items():
        own, held = _systems(item, paths), _systems(valid.get(name), paths)
        kept: Spec = {"data": held} if held else dict(TENTH)
        start = {"data": own} if own else parts["start"]
        made.append({"name": name, "start": start, "heldout": kept, **({"label": label} if name == head else {})})
    if not made:
        made = [{"name": head or "main", **parts, "label": label}]
    if not any("label" in item for item in made):
        made[0]["label"] = label
    return {"heads": made}


def _systems(item: Any, paths: Paths) -> list[str]:
    """Data of one task, as a list or with a prefix."""
    prefix, systems = (item.get("prefix"), item.get("sys")) if isinstance(item, dict) else (None, item)
    return [path for each in listed(systems) for path in paths.files(prefix, each)]


def configurations(explore: Keys, paths: Paths, elements: Sequence[str]) -> list[Spec]:
    """Structure sets of the generators, called conf-0, conf-1, …; an alloy is one for each concentration."""
    made: list[Spec] = []
    given = listed(explore.take("configurations", "configuration", to="structures"))
    explore.lose("configuration_prefix", why="dpgen2 does not read it: it belongs into the entries")
    for number, raw in enumerate(given):
        own = explore.enter(raw, f"configurations[{number}]")
        kind = own.take("type", default="file")
        if kind == "alloy":
            made += _alloys(own, number, elements, paths)
            continue
        prefix = own.take("prefix")
        files = [
            path for item in listed(own.take("files", to="structures: files")) for path in paths.files(prefix, item)
        ]
        spec: Spec = {"name": f"conf-{number}", "files": files or [paths.path("confs")]}
        spec = with_format(spec, own.take("fmt", to="structures: format", default="auto"), paths, own.notes)
        if own.take("remove_pbc"):
            spec = isolated(spec, paths, own.notes, own.name("remove_pbc"))
        made.append(spec)
    return made


def _alloys(own: Keys, number: int, elements: Sequence[str], paths: Paths) -> list[Spec]:
    """Random alloys, a set for each concentration; of a set's structures as many as each is drawn on average."""
    common = {**_lattice(own, elements, paths)}
    replicate = own.take("replicate", to="structures: supercell", default=[1, 1, 1])
    common["supercell"] = [int(n) for n in (replicate if isinstance(replicate, list) else [replicate] * 3)]
    concentrations = own.take("concentration", to="structures: composition") or [[1 / len(elements)] * len(elements)]
    if not isinstance(concentrations[0], list):
        concentrations = [concentrations]
    count = int(own.take("numb_confs", to="structures: copies", default=1))
    common["copies"] = math.ceil(count / len(concentrations))
    if len(concentrations) > 1:
        why = f"{count} structures of concentrations drawn at random there, {common['copies']} of each here"
        own.notes.add("changed", own.name("numb_confs"), "structures: copies", why)
    strain = float(own.take("cell_pert_frac", to="structures: strain", default=0.0))
    distance = float(own.take("atom_pert_dist", default=0.0))
    if distance:
        why = (
            f"a vector's length of {distance:g} Å; the standard deviation of a coordinate is {distance * NORMAL:.4g} Å"
        )
        own.notes.add("changed", own.name("atom_pert_dist"), "structures: rattle", why)
    rattle = round(distance * NORMAL, 8)
    common |= {name: value for name, value in (("strain", strain), ("rattle", rattle)) if value}
    made = []
    for index, fractions in enumerate(concentrations):
        total = sum(fractions)
        mixed = {element: part / total for element, part in zip(elements, fractions, strict=False) if part}
        name = f"conf-{number}" if len(concentrations) == 1 else f"conf-{number}-{index}"
        made.append({"name": name, **common, "composition": mixed})
    return made


def _lattice(own: Keys, elements: Sequence[str], paths: Paths) -> Spec:
    """A crystal by its name and lattice constant, or a file by its path and format."""
    lattice = own.take("lattice", to="structures: crystal", default=["fcc", 4.0])
    if isinstance(lattice[1], str):
        spec = with_format({"name": own.where, "files": paths.files(lattice[0])}, lattice[1], paths, own.notes)
        return {key: value for key, value in spec.items() if key != "name"}
    kind, constant = str(lattice[0]), float(listed(lattice[1])[0])
    made = crystal(kind, constant, elements[0], nearest=False)
    why = lattice_note(kind, made, constant)
    if why:
        own.notes.add("changed", own.name("lattice"), "structures: crystal.a", why)
    return {"crystal": made}


def _explored(keys: Keys, explore: Keys, paths: Paths, structures: list[Spec]) -> tuple[list[Spec], Spec, Spec]:
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
    converge, select = _convergence(explore.section("convergence"))
    sections = [explore.enter(raw, f"filters[{number}]") for number, raw in enumerate(listed(explore.take("filters")))]
    select["filters"] = filters(notes, "dpgen2", dpgen2_filters(sections))
    made = []
    for number, groups in enumerate(listed(explore.take("stages", to="stages"))):
        entries = []
        for place_of, raw in enumerate(listed(groups)):
            own = explore.enter(raw, f"stages[{number}][{place_of}]")
            entries += group(own, paths, structures, f"stage-{number}-{place_of}", lmp, str(kind))
        if entries:
            made.append({"name": f"stage-{number}", "max_iterations": most, "explore": entries})
    if not made:
        notes.add("lost", f"explore.type = {kind!r}", why="no stage could be translated: models are trained once")
    return made, converge, select


def _convergence(own: Keys) -> tuple[Spec, Spec]:
    """The sections `converge` and `select` of dpgen2's convergence."""
    kind = str(own.take("type", to="select.window.rule", default="fixed-levels"))
    high = float(own.take("level_f_hi", to="select.window.high", default=0.5))
    select: Spec = {"pick": pick(kind, str(own.take("candi_sel_prob", default="uniform")), own.notes)}
    if kind == "adaptive-lower":
        for key in ("level_v_lo", "level_v_hi", "numb_candi_v", "rate_candi_v"):
            own.lose(key, why="an adaptive window looks at one deviation")
        checked = int(own.take("n_checked_steps", default=2))
        tolerance = float(own.take("conv_tolerance", default=0.05))
        why = f"a change of {tolerance:g} eV/Å at most there, of {tolerance:g} times the level here"
        own.notes.add("changed", own.name("conv_tolerance"), "select.window.settled", why)
        why = f"{checked} levels there, the {max(1, checked - 1)} changes between them here"
        own.notes.add("changed", own.name("n_checked_steps"), "select.window.over", why)
        select["window"] = {
            "rule": "adaptive",
            "high": high,
            "candidates": int(own.take("numb_candi_f", to="select.window.candidates", default=200)),
            "fraction": float(own.take("rate_candi_f", to="select.window.fraction", default=0.01)),
            "settled": min(1.0, tolerance),
            "over": max(1, checked - 1),
        }
        return {}, select
    low = float(own.take("level_f_lo", to="select.window.low", default=0.05))
    select |= virial_channel(own)
    if "channels" in select and not low:
        low = SMALL
        why = "0 there; levels of the virial are put on its scale, which takes one above 0"
        own.notes.add("changed", own.name("level_f_lo"), "select.window.low", why)
    select["window"] = {"rule": "fixed", "low": low, "high": high}
    own.lose("numb_candi_v", "rate_candi_v", why="they are of an adaptive window")
    return {"accurate": float(own.take("conv_accuracy", to="converge.accurate", default=0.9))}, select


def virial_channel(keys: Keys) -> Spec:
    """`select.channels` of dpgen2's levels of the virial, which it divides by the number of atoms as lamflow does."""
    to = "select.channels: virial_max"
    low, high = keys.take("level_v_lo"), keys.take("level_v_hi")
    if low is None or high is None:
        for key in ("level_v_lo", "level_v_hi"):
            if keys.raw.get(key) is not None:
                keys.notes.add(
                    "lost", keys.name(key), why="dpgen2 asks for both levels of the virial, and one is missing"
                )
        return {}
    keys.notes.add("translated", keys.name("level_v_lo"), f"{to}.low")
    keys.notes.add("translated", keys.name("level_v_hi"), f"{to}.high")
    return {"channels": [{"metric": "virial_max", "low": float(low), "high": float(high)}]}


def as_errors(window: Spec, notes: Notes) -> Spec:
    """A window of dp-dist: the deviation of teacher and student, a standard deviation of two, is half of the error."""
    why = "frames are chosen by the student's true error against the teacher"
    notes.add("changed", "train.type = 'dp-dist'", "select.score", why)
    errors = {key: round(2 * value, 10) if key in ("low", "high") else value for key, value in window.items()}
    notes.items[:] = [note for note in notes.items if note.to not in ("select.window.low", "select.window.high")]
    for key in ("low", "high"):
        if key in window:
            why = (
                f"{window[key]:g} eV/Å there is the standard deviation of teacher and student, half of the error of "
                f"{errors[key]:g} eV/Å that is looked at here"
            )
            notes.add(
                "changed", f"explore.convergence.level_f_{'lo' if key == 'low' else 'hi'}", f"select.window.{key}", why
            )
    return errors
