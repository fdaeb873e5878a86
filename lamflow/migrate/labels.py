"""Settings of the codes that label, from the words of other programs."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lamflow.engines import abacus, qe
from lamflow.migrate.keys import Keys, Notes, is_comment, without_comments
from lamflow.migrate.place import Place, Spec
from lamflow.migrate.translate import listed, number
from lamflow.units import BOHR


def potcars(files: dict[str, str], place: Place) -> Spec:
    """POTCARs as lamflow names them: one folder, and a name in it for each element."""
    absolute = {e: f if Path(f).is_absolute() else os.path.normpath(place.source / f) for e, f in files.items()}
    for file in files.values():
        place.path(file)
    common = os.path.commonpath([str(Path(file).parent) for file in absolute.values()])
    return {
        "potcars": common,
        "potcar_names": {element: os.path.relpath(file, common) for element, file in absolute.items()},
    }


def vasp_keys(given: Keys) -> Spec:
    """DP-GEN's own names of a few INCAR tags."""
    tags = {"ecut": "ENCUT", "ediff": "EDIFF", "npar": "NPAR", "kpar": "KPAR", "sigma": "SIGMA", "kgamma": "KGAMMA"}
    made: Spec = {"input": {}}
    for key, tag in tags.items():
        if key in given and given.raw[key] is not None:
            made["input"][tag] = given.take(key, to=f"label.input.{tag}")
    smearing = given.take("smearing", to="label.input.ISMEAR")
    if smearing is not None:
        made["input"]["ISMEAR"] = _smearing(str(smearing))
    made["kspacing"] = given.take("kspacing", to="label.kspacing", default=0.16)
    return made


def _smearing(text: str) -> int:
    kind, _, order = text.lower().partition(":")
    return {"gauss": 0, "fd": -1, "tetra": -5}.get(kind, int(order or 1) if kind == "mp" else 0)


def qe_input(given: Keys, files: dict[str, str]) -> Spec:
    """pw.x's settings from DP-GEN's `user_fp_params` or `fp_params`."""
    made: Spec = {"engine": "qe", "pseudopotentials": files, "input": {}}
    made["kspacing"] = given.take("kspacing", to="label.kspacing", default=0.2)
    if "ecut" in given:
        made["ecutwfc"] = given.take("ecut", to="label.ecutwfc")
        if "ediff" in given:
            made["input"]["electrons"] = {"conv_thr": given.take("ediff", to="label.input.electrons.conv_thr")}
        smearing = str(given.take("smearing", to="label.input.system.smearing", default="") or "")
        if smearing:
            kind = smearing.split(":", maxsplit=1)[0]
            names = {"mp": "methfessel-paxton", "gauss": "gaussian", "fd": "fermi-dirac"}
            system = {"occupations": "smearing", "smearing": names.get(kind, "gaussian")}
            system["degauss"] = given.take("sigma", to="label.input.system.degauss", default=0.01)
            made["input"]["system"] = system
        given.lose("npar", "kpar", why="parallelism belongs into label.command")
        return made
    for namelist in ("control", "system", "electrons"):
        section = given.section(namelist)
        for key in list(section.raw):
            if is_comment(key):
                continue
            low = key.lower()
            if low in qe.FORBIDDEN or low in ("calculation", "ibrav", "nat", "ntyp"):
                section.lose(key, why=qe.FORBIDDEN.get(low, "lamflow sets it"))
            elif low in ("ecutwfc", "ecutrho"):
                made[low] = section.take(key, to=f"label.{low}")
            else:
                made["input"].setdefault(namelist, {})[key] = section.take(key, to=f"label.input.{namelist}.{key}")
    made.setdefault("ecutwfc", 60.0)
    return made


def cp2k_sections(text: str) -> Spec:
    """A CP2K input file as nested sections."""
    root: Spec = {}
    stack: list[Spec] = [root]
    for raw in text.splitlines():
        line = re.split(r"[!#]", raw, maxsplit=1)[0].strip()
        if not line or line.startswith("@"):
            continue
        word, _, value = line.partition(" ")
        if word.upper() == "&END":
            if len(stack) > 1:
                stack.pop()
        elif word.startswith("&"):
            made: Spec = {"_": value.strip()} if value.strip() else {}
            _append(stack[-1], word[1:].upper(), made)
            stack.append(made)
        else:
            _append(stack[-1], word.upper(), value.strip())
    return root


def _append(section: Spec, key: str, value: Any) -> None:
    if key in section:
        section[key] = [*listed(section[key]), value]
    else:
        section[key] = value


def cp2k_input(raw: Spec, where: str, elements: Sequence[str], place: Place, notes: Notes) -> Spec:
    """CP2K's settings from nested sections as DP-GEN or a file has them."""
    tree = _upper(without_comments(raw))
    tree.pop("GLOBAL", None)
    force = tree.get("FORCE_EVAL", tree)
    force = force if isinstance(force, dict) else {}
    dft, subsys = dict(force.get("DFT", {})), dict(force.get("SUBSYS", {}))
    basis, potentials = _kinds(subsys.get("KIND", []), elements)
    grid = dict(dft.pop("MGRID", {}))
    made: Spec = {
        "engine": "cp2k",
        "basis": basis,
        "potentials": potentials,
        "cutoff": _plain(grid.pop("CUTOFF", 400)),
        "rel_cutoff": _plain(grid.pop("REL_CUTOFF", 50)),
    }
    files = []
    for key, name in (("BASIS_SET_FILE_NAME", "basis_file"), ("POTENTIAL_FILE_NAME", "potential_file")):
        given = listed(dft.pop(key, None))
        if given:
            made[name] = Path(str(given[0])).name
            if "/" in str(given[0]):
                files.append(place.path(given[0]))
    xc = dft.get("XC", {})
    if isinstance(xc, dict) and isinstance(xc.get("XC_FUNCTIONAL"), dict) and set(xc["XC_FUNCTIONAL"]) == {"_"}:
        made["functional"] = xc["XC_FUNCTIONAL"]["_"]
        dft["XC"] = {key: value for key, value in xc.items() if key != "XC_FUNCTIONAL"}
        if not dft["XC"]:
            del dft["XC"]
    if grid:
        dft["MGRID"] = grid
    if isinstance(dft.get("SCF"), dict) and "IGNORE_CONVERGENCE_FAILURE" in dft["SCF"]:
        del dft["SCF"]["IGNORE_CONVERGENCE_FAILURE"]
        notes.add(
            "lost", f"{where}.FORCE_EVAL.DFT.SCF.IGNORE_CONVERGENCE_FAILURE", why="an unconverged cycle is no label"
        )
    rest = {
        key: value for key, value in force.items() if key not in ("DFT", "SUBSYS", "PRINT", "METHOD", "STRESS_TENSOR")
    }
    if dft or rest:
        made["input"] = {"FORCE_EVAL": {**({"DFT": dft} if dft else {}), **rest}}
    if files:
        made["files"] = files
    notes.add("translated", where, "label: basis, potentials, cutoff, functional and input")
    dropped = sorted(set(subsys) - {"KIND", "CELL", "COORD"}) + sorted(set(tree) - {"FORCE_EVAL"} - set(force))
    for key in dropped:
        notes.add("lost", f"{where}.{key}", why="lamflow writes the structure and what is printed")
    return made


def _upper(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.upper(): _upper(item) for key, item in value.items()}
    return value


def _plain(value: Any) -> Any:
    found = number(str(value).split("]")[-1])
    return found if found is not None else 400.0


def _kinds(raw: Any, elements: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Basis set and potential of each element, from one KIND with lists or one for each."""
    basis: dict[str, str] = {}
    potentials: dict[str, str] = {}
    for kind in listed(raw):
        names = listed(kind.get("_"))
        for index, name in enumerate(names):
            element = re.sub(r"[^A-Za-z].*", "", _of(kind.get("ELEMENT", name), index))
            for key, into in (("BASIS_SET", basis), ("POTENTIAL", potentials)):
                if listed(kind.get(key)) and element in elements:
                    into[element] = _of(kind[key], index).split()[-1]
    for element in elements:
        basis.setdefault(element, "DZVP-MOLOPT-SR-GTH")
        potentials.setdefault(element, "GTH-PBE")
    return basis, potentials


def _of(value: Any, index: int) -> str:
    """The entry of a list that is as long as the kinds, or the one thing that holds for all of them."""
    several = listed(value)
    return str(several[min(index, len(several) - 1)])


def abacus_input(given: Keys, made: Spec) -> Spec:
    """ABACUS's settings from INPUT's keywords."""
    made = {"engine": "abacus", **made, "input": {}}
    for key in list(given.raw):
        low = key.lower()
        if is_comment(key):
            continue
        if low in abacus.FORBIDDEN or low in ("ntype", "pseudo_type"):
            given.lose(key, why=abacus.FORBIDDEN.get(low, "lamflow sets it"))
        elif low == "ecutwfc":
            made["ecutwfc"] = float(given.take(key, to="label.ecutwfc"))
        elif low == "kspacing":
            made["kspacing"] = round(float(given.take(key)) / BOHR, 4)
            given.notes.add("changed", given.name(key), "label.kspacing", "ABACUS counts in 1/bohr, lamflow in 1/Å")
        elif low == "k_points":
            made["kpoints"] = [int(n) for n in listed(given.take(key, to="label.kpoints"))[:3]]
        else:
            made["input"][low] = given.take(key, to=f"label.input.{low}")
    made.setdefault("ecutwfc", 100.0)
    return made


def abacus_text(text: str) -> Spec:
    """Keywords of an INPUT file."""
    lines = (re.split(r"[#/]", line, maxsplit=1)[0].split() for line in text.splitlines())
    return {words[0]: " ".join(words[1:]) for words in lines if len(words) > 1}


def gaussian_input(given: Keys) -> Spec:
    """Gaussian's settings."""
    words = listed(given.take("keywords", to="label.keywords", default="b3lyp/6-31g(d)"))
    if len(words) > 1:
        given.notes.add("changed", given.name("keywords"), "label.keywords", "the last of several runs is taken")
    keywords = re.sub(r"\b(force|nosymm)\b", "", str(words[-1]), flags=re.I)
    basis = given.take("basis_set", to="label.keywords")
    made: Spec = {"engine": "gaussian", "keywords": " ".join(f"{keywords} {basis or ''}".split())}
    for key, default in (("multiplicity", "auto"), ("charge", 0), ("nproc", 1)):
        made[key] = given.take(key, to=f"label.{key}", default=default)
    high = given.take("keywords_high_multiplicity")
    if high is not None:
        given.notes.add(
            "lost", given.name("keywords_high_multiplicity"), why="the same keywords are used for every spin"
        )
    given.lose("fragment_guesses", why="not offered")
    return made
