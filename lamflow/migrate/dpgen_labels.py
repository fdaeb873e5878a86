"""DP-GEN's fp_style as a label engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lamflow.migrate import cp2k, labels, vasp
from lamflow.migrate.commands import command
from lamflow.migrate.keys import Keys, is_comment
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.translate import listed

FOREIGN = {"siesta": ("siesta/output", "siesta"), "pwmat": ("pwmat/movement", "PWmat"), "cpx": ("qe/cp/traj", "cp.x")}


def label(keys: Keys, machine: Keys, paths: Paths, elements: Sequence[str]) -> Spec:
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
    made = _styled(keys, style, named, paths, elements)
    words = command(text, made["engine"]) if text else []
    if words:
        made["command"] = words
    elif made["engine"] == "custom":
        keys.notes.add("changed", "(command)", "label.command", "none is known: `your-code` stands for it")
    return made


def _styled(keys: Keys, style: str, named: dict[str, str], paths: Paths, elements: Sequence[str]) -> Spec:
    given = keys.section("user_fp_params" if "user_fp_params" in keys else "fp_params")
    if style == "vasp":
        return _vasp(keys, given, named, paths)
    if style == "pwscf":
        return labels.qe_input(given, {element: paths.path(file) for element, file in named.items()})
    if style == "cp2k":
        return _cp2k(keys, given, paths, elements)
    if style == "abacus":
        return _abacus(keys, given, named, paths, elements)
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
    files = [paths.path(file) for file in named.values()]
    return {
        "engine": "custom",
        "command": ["your-code"],
        "output_format": output,
        "output_file": "output",
        **({"files": files} if files else {}),
    }


def _vasp(keys: Keys, given: Keys, named: dict[str, str], paths: Paths) -> Spec:
    """An INCAR, or tags as keys."""
    made: Spec = {"engine": "vasp"}
    made |= vasp.potcars(named, paths) if named else {"potcars": "${VASP_PP_PATH}/potpaw_PBE"}
    elsewhere = ("KSPACING",) if keys.raw.get("fp_aniso_kspacing") else ()
    incar = keys.take("fp_incar", to="label.incar")
    if incar:
        made |= vasp.incar(incar, keys, "fp_incar", paths, elsewhere)
        given.lose(*(key for key in given.raw if not is_comment(key)), why="there is an fp_incar, which is taken")
    else:
        made |= vasp.vasp_keys(given, elsewhere)
    spacing = keys.take("fp_aniso_kspacing", to="label.kspacing")
    if spacing:
        made["kspacing"] = [float(item) for item in spacing]
    return made


def _cp2k(keys: Keys, given: Keys, paths: Paths, elements: Sequence[str]) -> Spec:
    """An input file, sections as keys, or the keys of before there were sections."""
    external = keys.take("external_input_path", to="label")
    body = paths.read(external) if external else None
    if external and body is None:
        why = "the file is not here: cutoff, basis sets and potentials are guesses"
        keys.notes.add("changed", "external_input_path", "label", why)
    where = "external_input_path" if external else given.where
    if not external and any(key in given for key in cp2k.OLD_KEYS):
        raw = cp2k.old_sections(given, paths)
        given.lose(*(key for key in given.raw if not is_comment(key)), why="no key of DP-GEN's old form")
    else:
        raw = cp2k.cp2k_sections(body) if body else given.raw
        given.used |= set(given.raw)
    return cp2k.cp2k_input(raw, where, elements, paths, keys.notes)


def _abacus(keys: Keys, given: Keys, named: dict[str, str], paths: Paths, elements: Sequence[str]) -> Spec:
    made: Spec = {"pseudopotentials": {element: paths.path(file) for element, file in named.items()}}
    folder = keys.raw.get("fp_pp_path") or "."
    orbitals = listed(keys.take("fp_orb_files", to="label.orbitals"))
    if orbitals:
        made["orbitals"] = {
            element: paths.path(folder, file) for element, file in zip(elements, orbitals, strict=False)
        }
    incar = keys.take("fp_incar", to="label.input")
    text = paths.read(incar) if incar and not given.raw else None
    if text is not None:
        given = keys.enter(labels.abacus_text(text), "fp_incar")
    if "k_points" in keys:
        given.raw = {**given.raw, "k_points": keys.take("k_points", to="label.kpoints")}
    given.raw |= labels.abacus_mesh(keys, "fp_kpt_file", paths)
    keys.lose("fp_dpks_descriptor", why="DeePKS is not offered")
    return labels.abacus_input(given, made)
