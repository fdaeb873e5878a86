"""The section `fp` of dpgen2 and PFD-kit as a label engine."""

from __future__ import annotations

from collections.abc import Sequence

from lamflow.migrate import cp2k, labels, vasp
from lamflow.migrate.commands import command
from lamflow.migrate.keys import Keys
from lamflow.migrate.paths import Paths, Spec


def fp_engine(fp: Keys, paths: Paths, elements: Sequence[str]) -> Spec:
    """The label engine."""
    kind = str(fp.take("type", to="label.engine", default="vasp"))
    inputs, run = fp.section("inputs_config"), fp.section("run_config")
    text = run.take("command", to="label.command")
    run.lose(
        "out", "log", "backward_list", "extra_output_files", "type_map", "post_command", why="lamflow names the files"
    )
    fp.lose("extra_output_files", "prep_config")
    made = _engine(kind, inputs, run, paths, elements, fp)
    if text and made["engine"] not in ("deepmd", "ase"):
        made["command"] = command(text, made["engine"])
    return made


def _engine(kind: str, inputs: Keys, run: Keys, paths: Paths, elements: Sequence[str], fp: Keys) -> Spec:
    if kind == "vasp":
        files = {element: str(file) for element, file in (inputs.take("pp_files", to="label.potcars") or {}).items()}
        made: Spec = {
            "engine": "vasp",
            **(vasp.potcars(files, paths) if files else {"potcars": "${VASP_PP_PATH}/potpaw_PBE"}),
        }
        incar = inputs.take("incar", to="label.incar")
        if incar:
            made |= vasp.incar(incar, inputs, "incar", paths, ("KSPACING", "KGAMMA"))
        spacing = inputs.take("kspacing", to="label.kspacing", default=0.2)
        made["kspacing"] = [float(item) for item in spacing] if isinstance(spacing, list) else float(spacing)
        made["gamma"] = bool(inputs.take("kgamma", to="label.gamma", default=True))
        return made
    if kind == "gaussian":
        return labels.gaussian_input(inputs)
    if kind == "deepmd":
        model = run.take("teacher_model_path", to="label.model", default="teacher.pt")
        run.lose("head")
        return {"engine": "deepmd", "model": {"file": paths.path(model)}}
    if kind == "fpop_cp2k":
        source = inputs.take("inp_file", to="label")
        body = paths.read(source) if source else None
        if body is None:
            fp.notes.add(
                "changed",
                "fp.inputs_config.inp_file",
                "label",
                "the file is not here: cutoff, basis sets and potentials are guesses",
            )
        return cp2k.cp2k_input(cp2k.cp2k_sections(body or ""), "fp.inputs_config.inp_file", elements, paths, fp.notes)
    if kind == "fpop_abacus":
        potentials = inputs.take("pp_files", to="label.pseudopotentials") or {}
        made = {"pseudopotentials": {element: paths.path(file) for element, file in potentials.items()}}
        orbitals = inputs.take("orb_files", to="label.orbitals") or {}
        if orbitals:
            made["orbitals"] = {element: paths.path(file) for element, file in orbitals.items()}
        source = inputs.take("input_file", to="label.input")
        body = paths.read(source) if source else None
        inputs.lose("element_mass", "deepks_descriptor", "deepks_model", "kpt_file", why="not offered")
        return labels.abacus_input(fp.enter(labels.abacus_text(body or ""), "input_file"), made)
    fp.notes.add("lost", f"fp.type = {kind!r}", why="there is no engine for it: `custom` is put in")
    return {"engine": "custom", "command": ["your-code"]}
