"""What a migration lists under "Means the same" has the same value in the YAML, after the factor of its unit."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lamflow.config import parse
from lamflow.config.schema import Study
from lamflow.migrate import Migration, migrate
from lamflow.migrate.keys import Note
from tests.migrate.test_migrate import DPGEN2, MACHINE, PARAM, PFD, TRAINING, place

__all__ = ["place"]
Spec = dict[str, Any]
CALYPSO_JOB = {
    "NameOfAtoms": ["Al", "Cu"], "NumberOfAtoms": [1, 2], "NumberOfFormula": [1, 2], "PopSize": [20], "MaxStep": [4], "PsoRatio": [0.5],
    "PSTRESS": [0.5, 20.0], "fmax": 0.02, "Split": "T", "DistanceOfIon": [[1.5, 1.6], [1.6, 1.7]],
}  # fmt: skip
CALYPSO_GROUP = {
    "type": "calypso", "conf_idx": [0], "name_of_atoms": ["Al", "Cu"], "numb_of_atoms": [1, 2], "numb_of_formula": [1, 2],
    "pop_size": 20, "max_step": 4, "pso_ratio": 0.5, "pressure": 20.0, "fmax": 0.02, "opt_step": 300, "split": True,
}  # fmt: skip
OLD_VASP = {"ecut": 600, "ediff": 1e-6, "kspacing": 0.16, "smearing": "mp:2", "sigma": 0.25, "metagga": "SCAN", "npar": 1, "kpar": 2,
            "user_vasp_params": {"EDIFF": 1e-5, "NELM": 80}}  # fmt: skip
OLD_CP2K = {"cutoff": "450", "rel_cutoff": "60", "functional": "BLYP", "max_scf": 30, "element_list": ["Cu", "Al"],
            "basis_list": ["SZV", "DZVP"], "pp_list": ["GTH-q11", "GTH-q3"]}  # fmt: skip
ENSEMBLE = {"npt": "npt", "npt-a": "npt-aniso", "npt-t": "npt-tri", "nvt": "nvt", "nve": "nve", "lbfgs": "relax"}
MANY = {"fp_incar": None, "fp_pp_path": None, "fp_pp_files": None}


def without_none(raw: Spec) -> Spec:
    return {key: value for key, value in raw.items() if value is not None}


DPGEN_FILES: dict[str, Spec] = {
    "dpgen": PARAM,
    "dpgen-adaptive": {**PARAM, "model_devi_adapt_trust_lo": True, "model_devi_numb_candi_f": 30, "model_devi_perc_candi_f": 5.0},
    "dpgen-levels": {**PARAM, "model_devi_f_trust_lo": [0.05, 0.07, 0.07], "model_devi_f_trust_hi": {"0": 0.2, "1": 0.3, "2": 0.3},
                     "model_devi_v_trust_lo": 0.01, "model_devi_v_trust_hi": [0.1, 0.2, 0.2],
                     "model_devi_jobs": [PARAM["model_devi_jobs"][0], {**PARAM["model_devi_jobs"][1], "model_devi_v_trust_lo": 0.02}]},
    "dpgen-calypso": {**PARAM, "model_devi_engine": "calypso", "model_devi_jobs": [CALYPSO_JOB]},
    "dpgen-old-vasp": without_none({**PARAM, "fp_incar": None, "fp_params": OLD_VASP, "use_ele_temp": 1}),
    "dpgen-old-cp2k": without_none({**PARAM, **MANY, "fp_style": "cp2k", "fp_params": OLD_CP2K}),
    "dpgen-pwscf": without_none({**PARAM, "fp_incar": None, "fp_style": "pwscf", "fp_pp_path": ".", "fp_pp_files": ["Al.upf", "Cu.upf"],
                                 "fp_params": {"ecut": 50, "ediff": 1e-8, "kspacing": 0.3}}),
    "dpgen-gaussian": without_none({**PARAM, **MANY, "fp_style": "gaussian", "fp_params": {
        "keywords": "b3lyp/6-31g*", "multiplicity": 1, "charge": -1, "nproc": 8}}),
    "dpgen-custom": without_none({**PARAM, **MANY, "fp_style": "custom", "fp_params": {
        "input_fn": "in.xyz", "input_fmt": "extxyz", "output_fn": "out.xyz", "output_fmt": "extxyz"}}),
}  # fmt: skip
FIXED = {"type": "fixed-levels-max-select", "level_f_lo": 0.07, "level_f_hi": 0.4, "conv_accuracy": 0.85}
DPGEN2_FILES: dict[str, Spec] = {
    "dpgen2": DPGEN2,
    "dpgen2-defaults": {**DPGEN2, "train": {**DPGEN2["train"], "init_models_paths": ["model.pt"] * 3,
                                            "config": {"impl": "pytorch", "init_model_policy": "yes"}}},
    "dpgen2-fixed": {**DPGEN2, "explore": {**DPGEN2["explore"], "convergence": FIXED}},
    "dpgen2-virial": {**DPGEN2, "explore": {**DPGEN2["explore"], "convergence": {**FIXED, "level_v_lo": 0.02, "level_v_hi": 0.4}}},
    "dpgen2-calypso": {**DPGEN2, "explore": {**DPGEN2["explore"], "type": "calypso", "stages": [[CALYPSO_GROUP]]}},
}  # fmt: skip
PFD_FILES: dict[str, Spec] = {
    "pfd": PFD,
    "pfd-calypso": {**PFD, "exploration": {**PFD["exploration"], "type": "calypso", "stages": [[CALYPSO_GROUP]]}},
}


def varied(raw: Any, draw: random.Random, key: str = "") -> Any:
    """The same file with other numbers where any number does."""
    free = (
        "temps",
        "press",
        "PSTRESS",
        "pressure",
        "taut",
        "tau_t",
        "fmax",
        "f_trust",
        "v_trust",
        "level_v",
        "level_f",
        "start_lr",
        "ediff",
        "sigma",
        "dt",
    )
    if isinstance(raw, dict):
        return {name: varied(value, draw, name) for name, value in raw.items()}
    if isinstance(raw, list):
        return [varied(value, draw, key) for value in raw]
    if isinstance(raw, float) and any(word in key for word in free):
        return round(raw * draw.uniform(1.0, 1.9), 6)
    return raw


def at(raw: Any, path: str) -> Any:
    """The value of a dotted path with indexes in brackets."""
    for word in re.findall(r"[^.\[\]]+", path):
        raw = raw[int(word)] if isinstance(raw, list) else raw[word]
    return raw


def group_of(spec: Spec, key: str) -> Spec:
    """The explore group that a job or a task group became."""
    job = re.match(r"model_devi_jobs\[(\d+)\]", key)
    if job:
        stage = [item for item in spec["stages"] if int(item["name"].split("-")[1]) <= int(job[1])][-1]
        return dict(stage["explore"][0])
    number, index = (int(word) for word in re.findall(r"\[(\d+)\]", key)[:2])
    stage = next(item for item in spec["stages"] if item["name"] == f"stage-{number}")
    return dict(stage["explore"][index])


def same(old: Any, new: Any) -> bool:
    """Equal, whatever type a number is written as."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(same(a, b) for a, b in zip(old, new, strict=True))
    if isinstance(old, list) and len(old) == 1:
        return same(old[0], new)
    if isinstance(old, bool) or isinstance(new, bool):
        return bool(old) is bool(new)
    try:
        return float(old) == pytest.approx(float(new), rel=1e-9)
    except (TypeError, ValueError):
        return str(old) == str(new)


def ensemble(old: Any, spec: Spec, note: Note) -> bool:
    """ENSEMBLE is the whole of it."""
    group = group_of(spec, note.key)
    return ENSEMBLE[old] == group.get("ensemble", group.get("method"))


def composition(old: Any, spec: Spec, note: Note) -> bool:
    """Names and numbers of atoms are a formula."""
    group = group_of(spec, note.key)
    return {str(n) for n in old} <= {
        str(n) for n in (*group["formula"], *group["formula"].values(), *group["formula_units"])
    }


def percent(old: Any, spec: Spec, note: Note) -> bool:
    """Per cent become a fraction."""
    del note
    return float(old) / 100 in [
        pytest.approx(value) for value in spec["select"]["window"].values() if isinstance(value, float)
    ]


def basis(old: Any, spec: Spec, note: Note) -> bool:
    """Lists that go with element_list become mappings."""
    known = {"element_list": {*spec["label"]["basis"]}, "basis_list": {*spec["label"]["basis"].values()},
             "pp_list": {*spec["label"]["potentials"].values()}}  # fmt: skip
    return set(old) == known[note.key.rsplit(".", 1)[-1]]


def files(old: Any, spec: Spec, note: Note) -> bool:
    """Every file is named somewhere in its section, by its last part."""
    if isinstance(old, list):
        old = [item for part in old for item in (part if isinstance(part, list) else [part])]
    names = [
        Path(str(item)).name
        for item in (old.values() if isinstance(old, dict) else old if isinstance(old, list) else [old])
    ]
    text = json.dumps(spec[note.to.split(":")[0].split(".")[0].split(" ")[0]])
    return all(name.strip("*") in text for name in names)


def structures(old: Any, spec: Spec, note: Note) -> bool:
    """`sys_idx` and `conf_idx` name sets."""
    del old
    names = {item["name"] for item in spec["structures"]}
    return set(group_of(spec, note.key)["structures"]) <= names


def lattice(old: Any, spec: Spec, note: Note) -> bool:
    """A name and a constant."""
    del note
    crystals = [item["crystal"] for item in spec["structures"] if "crystal" in item]
    return any((item["lattice"], item["a"]) == (old[0], old[1]) for item in crystals)


def inside(old: Any, spec: Spec, note: Note) -> bool:
    """A whole section was taken over, but for what other notes say of it."""
    section = at(spec, note.to)
    return bool(section) and (not isinstance(old, dict) or set(section) & set(old) != set())


def smearing(old: Any, spec: Spec, note: Note) -> bool:
    """VASP's number of a smearing."""
    del old, note
    return bool(spec["label"]["input"]["ISMEAR"] == 2)


def phase(old: Any, spec: Spec, note: Note) -> bool:
    """A value of the phase that goes on with models, counted from iteration 1."""
    last = spec["train"]["phases"][-1]
    name = note.to.removeprefix("train.phases").strip(".")
    if not name:
        return True
    value = at(last, name)
    return same(int(old) + 1 if name == "from_iteration" else old, value)


def default(old: Any, spec: Spec, note: Note) -> bool:
    """A default that the note names."""
    del old
    number = re.search(r" = (\S+) \(", note.key)
    return number is not None and same(
        number[1], at(spec["train"]["phases"][-1], note.to.removeprefix("train.phases."))
    )


def split(old: Any, spec: Spec, note: Note) -> bool:
    """CALYPSO's split mode."""
    return (group_of(spec, note.key).get("mode") == "split") is (old in (True, "T"))


def formats(old: Any, spec: Spec, note: Note) -> bool:
    """dpdata's name of a format, or ASE's."""
    del note
    return any({"vasp/poscar": "vasp"}.get(old, old) == item.get("format") for item in spec["structures"])


def anything(old: Any, spec: Spec, note: Note) -> bool:
    """Said of a section as a whole; its values have notes of their own."""
    del old
    return bool(spec.get(note.to.split(":")[0].split(".")[0], True))


def in_explore(old: Any, spec: Spec, note: Note) -> bool:
    """Of the whole run there, of every group here."""
    name = note.to.split(": ")[1]
    return all(same(old, group[name]) for stage in spec["stages"] for group in stage["explore"] if name in group)


def levels(old: Any, spec: Spec, note: Note) -> bool:
    """Every level of a system is that of the selection or of a group."""
    sections = [spec["select"], *(group for stage in spec["stages"] for group in stage["explore"])]
    end = "low" if note.key.endswith("lo") else "high"
    if "f_trust" in note.key or "level_f" in note.key:
        found = [section["window"][end] for section in sections if "window" in section]
    else:
        found = [channel[end] for section in sections for channel in section.get("channels", [])]
    wanted = old.values() if isinstance(old, dict) else old if isinstance(old, list) else [old]
    return all(any(same(level, other) for other in found) for level in wanted)


RULES: list[tuple[str, Callable[[Any, Spec, Note], bool]]] = [
    (r"\((dpgen2|DP-GEN)'s default\)", default),
    (r"(Split|split)$", split),
    (r"_[fv]_trust_(lo|hi)$|level_v_(lo|hi)$", levels),
    (r"\.fmt$", formats),
    (r"(ens|ensemble)$", ensemble),
    (r"NameOfAtoms|NumberOfAtoms|NumberOfFormula|name_of_atoms|numb_of_", composition),
    (r"perc_candi_f$", percent),
    (r"element_list|basis_list|pp_list", basis),
    (r"smearing$", smearing),
    (r"lattice$", lattice),
    (r"(sys_idx|conf_idx)$", structures),
    (r"model_devi_dt$", in_explore),
    (r"training_reuse_|init_model_numb_steps|init_model_start|init_model_old", phase),
    (r"init_data_sys|sys_configs|init_data_prefix|sys_configs_prefix|fp_pp_|pp_files|incar|files|base_model_path|teacher_model_path|"
     r"init_models_paths|confs_paths|prefix$", files),
    (r"default_training_param\.(model|loss|learning_rate)$|template_script\.(model|loss|learning_rate)$", inside),
    (r"^default_training_param$|template_script$|\.stages$|configurations$|revisions$|^fp_params$|^user_fp_params$|init_model_policy|"
     r"do_finetune|task\.type|model_devi_engine|convergence\.type|exploration\.type|DistanceOfIon|command$|"
     r"adapt_trust_lo|machine\.|finetune_args|mixed_type|mass_map|fp\.type|fp_style|train\.type|model_devi_jobs$|"
     r"step_configs|written by|use_ele_temp|metagga$|replicate|concentration|use_relative|epsilon|"
     r"bad_box|pair_|^name$|numb_confs|fp\.inputs_config\.(inp|input)", anything),
]  # fmt: skip


def holds(note: Note, raw: Spec, spec: Spec) -> bool:
    """The note is true, by a rule for its key or because the values are equal."""
    for pattern, rule in RULES:
        if re.search(pattern, note.key):
            old = at(raw, note.key) if rule not in (anything, default) else None
            return rule(old, spec, note)
    old = at(raw, note.key)
    if note.to.startswith("stages: "):
        return same(old, at(group_of(spec, note.key), note.to.removeprefix("stages: ")))
    if note.to.startswith("structures: "):
        name = note.to.removeprefix("structures: ")
        return any(same(old, item.get(name)) for item in spec["structures"])
    if note.to.startswith("stages."):
        return any(same(old, stage.get(note.to.removeprefix("stages."))) for stage in spec["stages"])
    return same(old, at(spec, note.to))


def migrated(place: Path, raw: Spec, name: str, machine: Spec | None = None) -> tuple[Migration, Spec]:
    (place / name).write_text(json.dumps(raw))
    if machine is not None:
        (place / "machine.json").write_text(json.dumps(machine))
    migration = migrate(place / name, place, place / "machine.json" if machine is not None else None)
    parse(migration.text, "study.yaml", place, kind=Study, files=False)
    return migration, yaml.safe_load(migration.text)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", [*DPGEN_FILES, *DPGEN2_FILES, *PFD_FILES])
def test_what_means_the_same_has_the_same_value(place: Path, name: str, seed: int) -> None:
    raw = copy.deepcopy({**DPGEN_FILES, **DPGEN2_FILES, **PFD_FILES}[name])
    raw = varied(raw, random.Random(seed)) if seed else raw
    migration, spec = migrated(place, raw, "input.json", MACHINE if name == "dpgen" else None)
    said = migration.notes.of("translated")
    assert len(said) > 10
    raw = {**raw, "machine": {key: value[0] for key, value in MACHINE.items() if isinstance(value, list)}}
    if isinstance(raw.get("train"), dict):
        raw["train"] = {**raw["train"], "template_script": TRAINING}
    wrong = [str(note) for note in migration.notes.items if note.kind == "translated" and not holds(note, raw, spec)]
    assert wrong == []


def test_the_test_itself_sees_a_wrong_value(place: Path) -> None:
    migration, spec = migrated(place, DPGEN2_FILES["dpgen2-fixed"], "input.json")
    level = next(note for note in migration.notes.items if note.to == "select.window.low")
    assert holds(level, DPGEN2_FILES["dpgen2-fixed"], spec)
    spec["select"]["window"]["low"] *= 2
    assert not holds(level, DPGEN2_FILES["dpgen2-fixed"], spec)
