"""DP-GEN's autotest and APEX, which has grown out of it, as studies of properties."""

from __future__ import annotations

from lamflow.config.section import distinct
from lamflow.migrate import labels, properties, vasp
from lamflow.migrate.keys import Keys, is_comment
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.structures import elements_of
from lamflow.migrate.translate import listed
from lamflow.migrate.typemap import symbols

PAIR_STYLES = {"eam_alloy": "eam/alloy", "eam_fs": "eam/fs", "meam": "meam", "snap": "snap", "tersoff": "tersoff"}
"""Interactions of LAMMPS's own by their `type`."""
RELAXATION = "structures relax until no force is larger than relax.fmax"


def is_autotest(raw: Spec) -> bool:
    """It is a file of autotest or of APEX, of one of its two forms."""
    return ("interaction" in raw and ("structures" in raw or "properties" in raw or "relaxation" in raw)) or (
        "conf_dir" in raw and ("task_type" in raw or "lammps_params" in raw or "vasp_params" in raw)
    )


def convert(keys: Keys, machines: Keys, paths: Paths) -> Spec:
    """A study of properties of the structures by VASP, ABACUS, a DeePMD model or a potential of LAMMPS."""
    machines.lose(*machines.raw, why="pods and cluster say where lamflow runs")
    old = "conf_dir" in keys
    engine, named = _old_label(keys, paths) if old else _label(keys.section("interaction"), paths)
    folders = listed(keys.take("conf_dir", "structures", to="structures"))
    files = [path for folder in folders for path in paths.files(folder, "POSCAR")] or [paths.path("POSCAR")]
    names = [properties.structure_name(file) for file in files]
    structures: list[Spec] = [
        {"name": name, "files": [file], "format": "vasp"}
        for name, file in zip(distinct(names), files, strict=True)
    ]  # fmt: skip
    if any("*" in name["name"] for name in structures) or any("*" in file for file in files):
        structures = [{"name": "confs", "files": files, "format": "vasp"}]
    elements = symbols(named, keys.notes, "type_map") or sorted(elements_of(structures, paths))
    if not elements:
        elements = ["H"]
        keys.notes.add(
            "changed", "(type map)", "elements", "it names none, and the structures are not here: H was put in"
        )
    paths.elements = paths.type_map = elements
    role = "evaluate" if engine["engine"] in ("deepmd", "lammps-potential") else "label"
    made: Spec = {"workflow": "properties", "elements": elements, "structures": structures}
    made["potentials"] = [{"name": str(engine["engine"]), role: engine}]
    relaxation = keys.section("relaxation")
    relaxation.lose(*(key for key in relaxation.raw if not is_comment(key)), why=RELAXATION)
    if old:
        made["properties"] = _old_properties(keys)
    else:
        made["properties"] = properties.converted(keys, listed(keys.take("properties", default=[])))
    return made


def _old_properties(keys: Keys) -> list[Spec]:
    """The properties that `task` names; their own keys count absolute volumes and the like."""
    task = str(keys.take("task", to="properties", default="all"))
    known = {"eos": "eos", "elastic": "elastic", "vacancy": "vacancy", "interstitial": "interstitial",
             "surf": "surface", "phonon": "phonon"}  # fmt: skip
    wanted = list(known.values()) if task == "all" else [known[name] for name in known if name in task]
    why = "properties have lamflow's own defaults"
    keys.lose(*(key for key in keys.raw if key not in keys.used and not is_comment(key)), why=why)
    return [{"property": name} for name in wanted]


def _label(interaction: Keys, paths: Paths) -> tuple[Spec, list[str]]:
    """The label engine of `interaction`, and the elements that it names."""
    kind = str(interaction.take("type", to="label.engine", default="vasp"))
    prefix = interaction.take("potcar_prefix")
    files = {str(e): str(file) for e, file in (interaction.take("potcars", to="label") or {}).items()}
    if prefix:
        files = {element: f"{prefix}/{file}" for element, file in files.items()}
        interaction.notes.add("translated", interaction.name("potcar_prefix"), "label: potentials")
    types = interaction.take("type_map", to="elements", default={}) or {}
    named = sorted(types, key=lambda element: int(types[element])) if isinstance(types, dict) else listed(types)
    if kind == "vasp":
        made: Spec = {"engine": "vasp"}
        made |= vasp.potcars(files, paths) if files else {"potcars": "${VASP_PP_PATH}/potpaw_PBE"}
        made |= vasp.incar(interaction.take("incar", to="label.incar", default="INCAR"), interaction, "incar", paths)
        return made, list(files)
    if kind == "abacus":
        text = labels.abacus_text(paths.read(interaction.take("incar", to="label.input", default="INPUT")) or "")
        orbitals = interaction.take("orb_files", to="label.orbitals") or {}
        made = {"pseudopotentials": {element: paths.path(file) for element, file in files.items()}}
        if orbitals:
            made["orbitals"] = {element: paths.path(file) for element, file in orbitals.items()}
        return labels.abacus_input(interaction.enter(text, "INPUT"), made), list(files)
    model = listed(interaction.take("model", to="label.model", default="model.pt"))[0]
    if kind in PAIR_STYLES:
        interaction.lose("in_lammps", why="lamflow writes LAMMPS's input itself")
        file = paths.path(model)
        coefficients = f"* * {file.rsplit('/', 1)[-1]} {{elements}}"
        return {"engine": "lammps-potential", "pair_style": PAIR_STYLES[kind], "pair_coeff": [coefficients],
                "files": [file]}, named  # fmt: skip
    if kind == "deepmd":
        interaction.lose("deepmd_version", "in_lammps", why="lamflow calls DeePMD-kit itself")
        return {"engine": "deepmd", "model": {"file": paths.path(model)}}, named
    return _unknown(interaction, kind), named


def _old_label(keys: Keys, paths: Paths) -> tuple[Spec, list[str]]:
    """The label engine of the form before 1.0: task_type, with vasp_params or lammps_params."""
    kind = str(keys.take("task_type", to="label.engine", default="vasp"))
    files = {str(e): str(file) for e, file in (keys.take("potcar_map", to="label.potcars") or {}).items()}
    lammps = keys.section("lammps_params")
    named = listed(lammps.take("type_map", to="elements"))
    params = keys.section("vasp_params")
    if kind == "vasp":
        made: Spec = {"engine": "vasp"}
        made |= vasp.potcars(files, paths) if files else {"potcars": "${VASP_PP_PATH}/potpaw_PBE"}
        source = params.take("incar", "relax_incar", to="label.incar")
        made |= vasp.incar(source, params, "incar", paths) if source else vasp.vasp_keys(params)
        return made, list(files) or named
    params.lose(*(key for key in params.raw if not is_comment(key)), why=f"task_type is {kind!r}")
    folder, name = lammps.take("model_dir", to="label.model", default="."), lammps.take("model_name")
    lammps.lose("model_param_type", why="DeePMD-kit needs no such word")
    if kind == "deepmd":
        file = listed(name)[0] if name else "frozen_model.pb"
        return {"engine": "deepmd", "model": {"file": paths.path(folder, file)}}, named or list(files)
    return _unknown(keys, kind), named or list(files)


def _unknown(keys: Keys, kind: str) -> Spec:
    why = "there is no engine for it: `custom` is put in"
    keys.notes.add("lost", f"{keys.name('type')} = {kind!r}", why=why)
    return {"engine": "custom", "command": ["your-code"]}
