"""CP2K's settings from nested sections, from an input file, or from DP-GEN's keys before 0.7."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lamflow.migrate.keys import Keys, Notes, without_comments
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.translate import listed, number
from lamflow.migrate.typemap import WHOLE_TABLE

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


def cp2k_input(raw: Spec, where: str, elements: Sequence[str], paths: Paths, notes: Notes) -> Spec:
    """CP2K's settings from nested sections as DP-GEN or a file has them."""
    tree = _upper(without_comments(raw))
    force = tree.get("FORCE_EVAL", tree)
    force = force if isinstance(force, dict) else {}
    dft, subsys = dict(force.get("DFT", {})), dict(force.get("SUBSYS", {}))
    basis, potentials = _kinds(subsys.get("KIND", []), elements)
    moments = _moments(subsys.get("KIND", []), where, elements, notes)
    if len(elements) >= WHOLE_TABLE and basis:
        elements = [element for element in elements if element in basis or element in potentials]
    for name, into, guess in (("BASIS_SET", basis, BASIS), ("POTENTIAL", potentials, POTENTIAL)):
        lacking = [element for element in elements if element not in into]
        into.update(dict.fromkeys(lacking, guess))
        shown = lacking if len(lacking) <= 5 else [f"of {len(lacking)} elements"]
        for element in shown:
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
                files.append(paths.path(given[0]))
    made |= _functional(dft)
    files += [paths.path(file) for file in _parameters(dft)]
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
    cell = subsys.get("CELL")
    periodic = str(cell.get("PERIODIC", "XYZ") if isinstance(cell, dict) else "XYZ").upper()
    if periodic != "XYZ":
        why = "frames are periodic in all directions or in none; look at DFT.POISSON.PERIODIC in label.input, too"
        notes.add("changed", f"{where}.FORCE_EVAL.SUBSYS.CELL.PERIODIC = {periodic}", "label", why)
    if str(force.get("METHOD", "QS")).upper() not in ("QS", "QUICKSTEP"):
        notes.add("changed", f"{where}.FORCE_EVAL.METHOD = {force['METHOD']}", "label", "labels are by QUICKSTEP")
    if str(force.get("STRESS_TENSOR", "ANALYTICAL")).upper() != "ANALYTICAL":
        why = "it is analytical for periodic frames"
        notes.add("changed", f"{where}.FORCE_EVAL.STRESS_TENSOR = {force['STRESS_TENSOR']}", "label", why)
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
        name, names = _of(kind.get("_", kind.get("ELEMENT")), 0), listed(kind.get("ELEMENT", kind.get("_")))
        for index, own in enumerate(names if "MAGNETIZATION" in kind else []):
            element, moment = re.sub(r"[^A-Za-z].*", "", str(own)), float(_of(kind["MAGNETIZATION"], index))
            if element in elements and found.setdefault(element, moment) != moment:
                why = f"one moment an element; that of the first kind, {found[element]:g}, was taken"
                notes.add("changed", f"{where}: KIND {own} MAGNETIZATION", "label.magnetic_moments", why)
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


OLD_KEYS = ("cutoff", "rel_cutoff", "functional", "element_list", "basis_list", "pp_list")
"""Keys of DP-GEN before 0.7, which had no sections."""


def old_sections(keys: Keys, paths: Paths) -> Spec:
    """Sections of CP2K from DP-GEN's keys before 0.7."""
    functional: Spec = {"XC_FUNCTIONAL": {"_": keys.take("functional", to="label.functional", default="PBE")}}
    kind = keys.take("pair_potential_type", to="label.input")
    table, reference = keys.take("pair_potential_path"), keys.take("pair_ref_functional")
    if kind and table:
        paths.path(table)
        pair = {"TYPE": kind, "PARAMETER_FILE_NAME": f"./{table}", "REFERENCE_FUNCTIONAL": reference or "PBE"}
        functional["VDW_POTENTIAL"] = {"DISPERSION_FUNCTIONAL": "PAIR_POTENTIAL", "PAIR_POTENTIAL": pair}
        keys.notes.add("translated", keys.name("pair_potential_path, pair_ref_functional"), "label.input")
    elif table:
        why = "pair_potential_type is not given, so DP-GEN puts no dispersion in"
        keys.notes.add("lost", keys.name("pair_potential_path, pair_ref_functional"), why=why)
    names = {"_": "element_list", "BASIS_SET": "basis_list", "POTENTIAL": "pp_list"}
    kinds = {key: listed(keys.take(name, to="label: basis, potentials")) for key, name in names.items()}
    grid = {"CUTOFF": keys.take("cutoff", to="label.cutoff", default=400)}
    grid["REL_CUTOFF"] = keys.take("rel_cutoff", to="label.rel_cutoff", default=50)
    steps = keys.take("max_scf", to="label.input.FORCE_EVAL.DFT.SCF.MAX_SCF")
    files = {
        "BASIS_SET_FILE_NAME": keys.take("basis_path", to="label.basis_file", default="BASIS_MOLOPT"),
        "POTENTIAL_FILE_NAME": keys.take("pp_path", to="label.potential_file", default="GTH_POTENTIALS"),
    }
    dft = {**files, "MGRID": grid, "XC": functional, **({"SCF": {"MAX_SCF": steps}} if steps else {})}
    return {"FORCE_EVAL": {"DFT": dft, "SUBSYS": {"KIND": kinds}}}
