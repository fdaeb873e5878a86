"""Settings of the codes that label, from the words of other programs."""

from __future__ import annotations

import re

from lamflow.engines import abacus, qe
from lamflow.migrate.keys import Keys, is_comment
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.translate import listed
from lamflow.units import BOHR

SHIFTED = "meshes of an even number of points are shifted there, all are centred at Γ here"


def qe_input(keys: Keys, files: dict[str, str]) -> Spec:
    """pw.x's settings from DP-GEN's `user_fp_params` or `fp_params`."""
    made: Spec = {"engine": "qe", "pseudopotentials": files, "input": {}}
    made["kspacing"] = keys.take("kspacing", to="label.kspacing", default=0.2)
    if "kspacing" not in keys:
        keys.notes.add("changed", keys.name("kspacing"), "label.kspacing", "it says none; 0.2 Å⁻¹ was put in")
    keys.notes.add("changed", f"{keys.where}: K_POINTS", "label.kspacing", SHIFTED)
    if "ecut" in keys:
        return made | _old_qe(keys)
    for namelist in ("control", "system", "electrons"):
        section = keys.section(namelist)
        for key in list(section.raw):
            if is_comment(key):
                continue
            low = key.lower()
            if low in qe.FORBIDDEN:
                section.lose(key, why=qe.FORBIDDEN.get(low, "lamflow sets it"))
            elif re.fullmatch(r"\w+\(\d+\)", low) and int(low.split("(")[1][:-1]) <= len(files):
                named = f"{low.split('(')[0]}({list(files)[int(low.split('(')[1][:-1]) - 1]})"
                made["input"].setdefault(namelist, {})[named] = section.take(key, to=f"label.input.{namelist}.{named}")
            elif low in ("ecutwfc", "ecutrho"):
                made[low] = section.take(key, to=f"label.{low}")
            else:
                made["input"].setdefault(namelist, {})[key] = section.take(key, to=f"label.input.{namelist}.{key}")
    if "ecutwfc" not in made:
        made["ecutwfc"] = 60.0
        keys.notes.add("changed", keys.name("ecutwfc"), "label.ecutwfc", "it says none; 60 Ry was put in")
    return made


def _old_qe(given: Keys) -> Spec:
    """pw.x's settings from DP-GEN's own names, with what it writes beside them."""
    made: Spec = {"ecutwfc": given.take("ecut", to="label.ecutwfc")}
    system: Spec = {"vdw_corr": "TS", "nosym": True}
    given.notes.add("translated", f"{given.where}: vdw_corr = TS, nosym (written by DP-GEN)", "label.input.system")
    electrons: Spec = {}
    if "ediff" in given:
        electrons["conv_thr"] = given.take("ediff", to="label.input.electrons.conv_thr")
        system["ts_vdw_econv_thr"] = electrons["conv_thr"]
    smearing = str(given.take("smearing", default="") or "")
    if smearing:
        kind = smearing.split(":", maxsplit=1)[0].lower()
        names = {"mp": "methfessel-paxton", "gauss": "gaussian", "fd": "fermi-dirac"}
        system |= {"occupations": "smearing", "smearing": names.get(kind, "gaussian")}
        system["degauss"] = given.take("sigma", to="label.input.system.degauss", default=0.01)
        why = "with occupations = 'smearing', which DP-GEN does not write, so that pw.x pays no attention to it there"
        given.notes.add("changed", given.name("smearing"), "label.input.system.smearing", why)
    given.lose("npar", "kpar", why="parallelism belongs into label.command")
    return {**made, "input": {"system": system, **({"electrons": electrons} if electrons else {})}}


def abacus_input(keys: Keys, spec: Spec) -> Spec:
    """ABACUS's settings from INPUT's keywords."""
    spec = {"engine": "abacus", **spec, "input": {}}
    for key in list(keys.raw):
        low = key.lower()
        if is_comment(key):
            continue
        if low.startswith(("md_", "relax_", "deepks_")):
            keys.lose(key, why="labels are single points, without DeePKS")
        elif low in abacus.FORBIDDEN or low in ("ntype", "pseudo_type"):
            keys.lose(key, why=abacus.FORBIDDEN.get(low, "lamflow sets it"))
        elif low == "ecutwfc":
            spec["ecutwfc"] = float(keys.take(key, to="label.ecutwfc"))
        elif low == "kspacing":
            spacing = [round(float(word) / BOHR, 4) for word in str(keys.take(key)).split()]
            spec["kspacing"] = spacing[0] if len(spacing) == 1 else spacing
            keys.notes.add("changed", keys.name(key), "label.kspacing", "ABACUS counts in 1/bohr, lamflow in 1/Å")
        elif low == "k_points":
            mesh = [float(n) for n in listed(keys.take(key, to="label.kpoints"))]
            spec["kpoints"] = [int(n) for n in mesh[:3]]
            if any(mesh[3:]):
                keys.notes.add("lost", f"{keys.name(key)}: shift {mesh[3:]}", why="meshes are centred at Γ")
        else:
            spec["input"][low] = keys.take(key, to=f"label.input.{low}")
    if "kpoints" in spec and spec.pop("kspacing", None) is not None:
        keys.notes.add("changed", keys.name("kspacing"), "label.kpoints", "there is a mesh too, and it is taken")
    if "ecutwfc" not in spec:
        spec["ecutwfc"] = 100.0
        keys.notes.add("changed", keys.name("ecutwfc"), "label.ecutwfc", "it says none; 100 Ry was put in")
    return spec


def abacus_mesh(keys: Keys, key: str, paths: Paths) -> Spec:
    """The mesh of a KPT file as `k_points`; nothing where it is not here."""
    path = keys.take(key)
    text = paths.read(path) if path else None
    if path and text is None:
        keys.notes.add("changed", keys.name(key), "label.kpoints", "the file is not here: give kpoints or kspacing")
    if text is None:
        return {}
    lines = text.splitlines()
    if lines[2].strip().lower().startswith("m"):
        keys.notes.add("changed", keys.name(key), "label.kpoints", SHIFTED)
    else:
        keys.notes.add("translated", keys.name(key), "label.kpoints")
    return {"k_points": lines[3].split()[:6]}


def abacus_text(text: str) -> Spec:
    """Keywords of an INPUT file."""
    lines = (re.split(r"[#/]", line, maxsplit=1)[0].split() for line in text.splitlines())
    return {words[0]: " ".join(words[1:]) for words in lines if len(words) > 1}


def gaussian_input(keys: Keys) -> Spec:
    """Gaussian's settings."""
    words = listed(keys.take("keywords", to="label.keywords", default="b3lyp/6-31g(d)"))
    if len(words) > 1:
        keys.notes.add("changed", keys.name("keywords"), "label.keywords", "the last of several runs is taken")
    keywords = re.sub(r"^\s*#[pnt]?|\b(force|nosymm)\b", "", str(words[-1]), flags=re.I)
    basis = keys.take("basis_set", to="label.keywords")
    made: Spec = {"engine": "gaussian", "keywords": " ".join(f"{keywords} {basis or ''}".split())}
    for key, default in (("multiplicity", "auto"), ("charge", 0), ("nproc", 1)):
        made[key] = keys.take(key, to=f"label.{key}", default=default)
    high = keys.take("keywords_high_multiplicity")
    if high is not None:
        keys.notes.add("lost", keys.name("keywords_high_multiplicity"), why="the same keywords are used for every spin")
    keys.lose("fragment_guesses", why="not offered")
    return made
