"""DP-GEN's autotest: its structures and interaction as a study that labels; its properties have no counterpart."""

from __future__ import annotations

from lamflow.migrate import labels, vasp
from lamflow.migrate.keys import Keys, is_comment
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.structures import elements_of
from lamflow.migrate.translate import heldout, listed
from lamflow.migrate.typemap import symbols

NO_PROPERTIES = "there is no study of properties: neither relaxations nor properties are computed"
ONCE = "the structures are labeled, and lamflow's default model is trained on them once; nothing is tested"


def is_autotest(raw: Spec) -> bool:
    """It is a file of autotest, of one of its two forms."""
    return ("interaction" in raw and ("structures" in raw or "properties" in raw or "relaxation" in raw)) or (
        "conf_dir" in raw and ("task_type" in raw or "lammps_params" in raw or "vasp_params" in raw)
    )


def convert(keys: Keys, machines: Keys, paths: Paths) -> Spec:
    """A study that labels the structures by VASP, ABACUS or a DeePMD model."""
    del machines
    old = "conf_dir" in keys
    label, named = _old_label(keys, paths) if old else _label(keys.section("interaction"), paths)
    folders = listed(keys.take("conf_dir", "structures", to="structures"))
    files = [path for folder in folders for path in paths.files(folder, "POSCAR")]
    structures: list[Spec] = [{"name": "confs", "files": files or [paths.path("POSCAR")], "format": "vasp"}]
    elements = symbols(named, keys.notes, "type_map") or sorted(elements_of(structures, paths))
    if not elements:
        elements = ["H"]
        keys.notes.add(
            "changed", "(type map)", "elements", "it names none, and the structures are not here: H was put in"
        )
    paths.elements = paths.type_map = elements
    made: Spec = {"elements": elements, "structures": structures, "start": {"label": ["confs"]}}
    made["heldout"] = heldout(structures, keys.notes, [])
    made["train"] = {"engine": "deepmd"}
    keys.notes.add("changed", "(training)", "train", ONCE)
    made["label"] = label
    _lose_properties(keys)
    return made


def _lose_properties(keys: Keys) -> None:
    """Every key of the properties and of the relaxation, with the reason."""
    for name, sections in (("properties", listed(keys.raw.get("properties"))), ("relaxation", None)):
        if sections is None:
            own = keys.section(name)
            own.lose(*(key for key in own.raw if not is_comment(key)), why=NO_PROPERTIES)
        for index, raw in enumerate(sections or []):
            own = keys.enter(raw, f"{name}[{index}]")
            own.lose(*(key for key in own.raw if not is_comment(key)), why=NO_PROPERTIES)
        keys.used.add(name)
    keys.lose(*(key for key in keys.raw if key not in keys.used and not is_comment(key)), why=NO_PROPERTIES)


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
        made |= vasp.incar(interaction.take("incar", to="label.incar", default="INCAR"), interaction, "incar", paths,
                           spaced=False)  # fmt: skip
        return made, list(files)
    if kind == "abacus":
        text = labels.abacus_text(paths.read(interaction.take("incar", to="label.input", default="INPUT")) or "")
        orbitals = interaction.take("orb_files", to="label.orbitals") or {}
        made = {"pseudopotentials": {element: paths.path(file) for element, file in files.items()}}
        if orbitals:
            made["orbitals"] = {element: paths.path(file) for element, file in orbitals.items()}
        return labels.abacus_input(interaction.enter(text, "INPUT"), made), list(files)
    model = listed(interaction.take("model", to="label.model", default="model.pt"))[0]
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
        made |= vasp.incar(source, params, "incar", paths, spaced=False) if source else vasp.vasp_keys(params)
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
