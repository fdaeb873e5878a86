"""Settings of the codes that label, from the words of other programs."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lamflow.engines import abacus, qe, vasp
from lamflow.migrate.keys import Keys, Notes, is_comment, without_comments
from lamflow.migrate.place import Place, Spec
from lamflow.migrate.translate import is_true, listed, number
from lamflow.units import BOHR

SINGLE_POINT = {"NSW", "IBRION", "ISIF", "POTIM", "EDIFFG", "TEBEG", "TEEND", "SMASS"}


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
    """INCAR tags as they are, or DP-GEN's own names of a few."""
    tags = {"ecut": "ENCUT", "ediff": "EDIFF", "npar": "NPAR", "kpar": "KPAR", "sigma": "SIGMA", "kgamma": "KGAMMA"}
    made: Spec = {"input": {}}
    for key, tag in tags.items():
        if key in given and given.raw[key] is not None:
            made["input"][tag] = given.take(key, to=f"label.input.{tag}")
    smearing = given.take("smearing", to="label.input.ISMEAR")
    if smearing is not None:
        made["input"]["ISMEAR"] = _smearing(str(smearing))
    for key in [key for key in given.raw if key not in given.used and not is_comment(key)]:
        tag = key.upper()
        if tag == "KSPACING":
            made["kspacing"] = given.take(key, to="label.kspacing")
        elif tag == "KGAMMA":
            made["gamma"] = is_true(given.take(key, to="label.gamma"))
        elif tag in SINGLE_POINT:
            given.lose(key, why="a label is one single point")
        elif tag in vasp.BY_ELEMENT or tag == "MAGMOM":
            given.lose(key, why="give it by element: see label.input and label.magnetic_moments")
        else:
            made["input"][tag] = given.take(key, to=f"label.input.{tag}")
    if "KGAMMA" in made["input"]:
        made["gamma"] = bool(made["input"].pop("KGAMMA"))
    if "kspacing" not in made:
        made["kspacing"] = 0.16
        given.notes.add("changed", given.name("kspacing"), "label.kspacing", "it says none; 0.16 Å⁻¹ was put in")
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
        given.notes.add("changed", given.name("ecutwfc"), "label.ecutwfc", "it says none; 60 Ry was put in")
    return made


BASIS, POTENTIAL = "DZVP-MOLOPT-SR-GTH", "GTH-PBE"
"""What an element gets of which an input says nothing."""


def cp2k_sections(text: str) -> Spec:
    """A CP2K input file as nested sections."""
    root: Spec = {}
    stack: list[Spec] = [root]
    variables: dict[str, str] = {}
    for raw in text.splitlines():
        line = re.split(r"[!#]", raw, maxsplit=1)[0].strip()
        line = re.sub(r"\$\{?(\w+)\}?", lambda found: variables.get(found[1].upper(), found[0]), line)
        if line[:4].upper() == "@SET":
            name, _, value = line[4:].strip().partition(" ")
            variables[name.upper()] = value.strip()
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
    force = tree.get("FORCE_EVAL", tree)
    force = force if isinstance(force, dict) else {}
    dft, subsys = dict(force.get("DFT", {})), dict(force.get("SUBSYS", {}))
    basis, potentials = _kinds(subsys.get("KIND", []), elements)
    moments = _moments(subsys.get("KIND", []), where, elements, notes)
    for element in elements:
        for name, into, guess in (("BASIS_SET", basis, BASIS), ("POTENTIAL", potentials, POTENTIAL)):
            if element not in into:
                into[element] = guess
                notes.add("changed", f"{where}: KIND {element} {name}", "label", f"there is none; {guess} was put in")
    grid = dict(dft.pop("MGRID", {}))
    made: Spec = {
        "engine": "cp2k",
        "basis": basis,
        "potentials": potentials,
        "cutoff": _rydberg(grid, "CUTOFF", 400.0, where, notes),
        "rel_cutoff": _rydberg(grid, "REL_CUTOFF", 50.0, where, notes),
        **({"magnetic_moments": moments} if moments else {}),
    }
    files = []
    for key, name in (("BASIS_SET_FILE_NAME", "basis_file"), ("POTENTIAL_FILE_NAME", "potential_file")):
        given = listed(dft.pop(key, None))
        if given:
            made[name] = Path(str(given[0])).name
            for other in given[1:]:
                notes.add("lost", f"{where}: {key} {other}", why=f"one file; put both into it: label.{name}")
            if "/" in str(given[0]):
                files.append(place.path(given[0]))
    made |= _functional(dft)
    files += [place.path(file) for file in _parameters(dft)]
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
    _said_nothing(tree, force, subsys, where, notes)
    return made


def _upper(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key).upper(): _upper(item) for key, item in value.items()}
    return [_upper(item) for item in value] if isinstance(value, list) else value


def _functional(dft: Spec) -> Spec:
    """The functional's short name, where that is all; it is taken out of `dft` then."""
    xc = dft.get("XC", {})
    functional = xc.get("XC_FUNCTIONAL") if isinstance(xc, dict) else None
    if not isinstance(functional, dict) or set(functional) != {"_"}:
        return {}
    left = {key: value for key, value in xc.items() if key != "XC_FUNCTIONAL"}
    dft.pop("XC")
    if left:
        dft["XC"] = left
    return {"functional": functional["_"]}


def _said_nothing(tree: Spec, force: Spec, subsys: Spec, where: str, notes: Notes) -> None:
    """Notes of sections that have no counterpart; GLOBAL is taken out of `tree`."""
    for key in tree.pop("GLOBAL", None) or {}:
        if key not in ("PROJECT", "PROJECT_NAME", "RUN_TYPE", "PRINT_LEVEL"):
            notes.add("lost", f"{where}.GLOBAL.{key}", why="give it in label.input: {GLOBAL: …}")
    if "PRINT" in force:
        notes.add("lost", f"{where}.FORCE_EVAL.PRINT", why="lamflow has what it needs printed")
    dropped = sorted(set(subsys) - {"KIND", "CELL", "COORD"}) + sorted(set(tree) - {"FORCE_EVAL"} - set(force))
    for key in dropped:
        notes.add("lost", f"{where}.{key}", why="lamflow writes the structure and what is printed")


def _rydberg(grid: Spec, key: str, default: float, where: str, notes: Notes) -> float:
    """A cutoff; its unit may stand before it in brackets."""
    given = grid.pop(key, default)
    found = number(str(given).split("]")[-1])
    if found is None:
        notes.add("changed", f"{where}: MGRID {key}", "label", f"{given!r} is no number; {default:g} was put in")
        return default
    return float(found)


def _parameters(dft: Any) -> list[str]:
    """Files that sections name by a path, like those of dispersion; they stay named by their last part."""
    found = []
    for key, value in dft.items() if isinstance(dft, dict) else ():
        if key == "PARAMETER_FILE_NAME" and "/" in str(value):
            found.append(str(value))
            dft[key] = Path(str(value)).name
        elif isinstance(value, dict):
            found += _parameters(value)
    return found


def _moments(raw: Any, where: str, elements: Sequence[str], notes: Notes) -> dict[str, float]:
    """Magnetic moments of the kinds; what else kinds say has no counterpart."""
    found: dict[str, float] = {}
    for kind in listed(raw):
        name = _of(kind.get("ELEMENT", kind.get("_")), 0)
        element = re.sub(r"[^A-Za-z].*", "", name)
        if "MAGNETIZATION" in kind and element in elements:
            moment = float(kind["MAGNETIZATION"])
            if found.setdefault(element, moment) != moment:
                why = f"one moment an element; that of the first kind, {found[element]:g}, was taken"
                notes.add(
                    "changed", f"{where}: KIND {_of(kind.get('_'), 0)} MAGNETIZATION", "label.magnetic_moments", why
                )
        for key in sorted(set(kind) - {"_", "ELEMENT", "BASIS_SET", "POTENTIAL", "MAGNETIZATION"}):
            notes.add("lost", f"{where}: KIND {name} {key}", why="lamflow writes the kinds")
    return found


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
            spacing = [round(float(word) / BOHR, 4) for word in str(given.take(key)).split()]
            made["kspacing"] = spacing[0] if len(spacing) == 1 else spacing
            given.notes.add("changed", given.name(key), "label.kspacing", "ABACUS counts in 1/bohr, lamflow in 1/Å")
        elif low == "k_points":
            mesh = [float(n) for n in listed(given.take(key, to="label.kpoints"))]
            made["kpoints"] = [int(n) for n in mesh[:3]]
            if any(mesh[3:]):
                given.notes.add("lost", f"{given.name(key)}: shift {mesh[3:]}", why="meshes are centred at Γ")
        else:
            made["input"][low] = given.take(key, to=f"label.input.{low}")
    if "kpoints" in made and made.pop("kspacing", None) is not None:
        given.notes.add("changed", given.name("kspacing"), "label.kpoints", "there is a mesh too, and it is taken")
    if "ecutwfc" not in made:
        made["ecutwfc"] = 100.0
        given.notes.add("changed", given.name("ecutwfc"), "label.ecutwfc", "it says none; 100 Ry was put in")
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
    keywords = re.sub(r"^\s*#[pnt]?|\b(force|nosymm)\b", "", str(words[-1]), flags=re.I)
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
