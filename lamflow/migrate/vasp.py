"""VASP's settings: an INCAR, its tags as keys, or DP-GEN's own names of a few."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lamflow.engines import vasp_incar
from lamflow.engines.vasp_moments import HOLDING, OF_FRAMES
from lamflow.migrate.keys import Keys, is_comment
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.translate import is_true

SINGLE_POINT = {"NSW", "IBRION", "ISIF", "POTIM", "EDIFFG", "TEBEG", "TEEND", "SMASS"}


def potcars(files: dict[str, str], paths: Paths) -> Spec:
    """POTCARs as lamflow names them: one folder, and a name in it for each element."""
    absolute = {e: f if Path(f).is_absolute() else os.path.normpath(paths.source / f) for e, f in files.items()}
    for file in files.values():
        paths.path(file)
    common = os.path.commonpath([str(Path(file).parent) for file in absolute.values()])
    return {
        "potcars": common,
        "potcar_names": {element: os.path.relpath(file, common) for element, file in absolute.items()},
    }


OLD_NAMES = {"ecut": "ENCUT", "ediff": "EDIFF", "npar": "NPAR", "kpar": "KPAR", "sigma": "SIGMA"}
OLD_TAGS: Spec = {"PREC": "A", "ISYM": 0, "ALGO": "fast", "LREAL": "A", "NELMIN": 4}
"""What DP-GEN writes beside its own names."""
DEFAULT_SPACING = 0.5
"""VASP's own KSPACING, Å⁻¹."""


def vasp_keys(keys: Keys, elsewhere: Collection[str] = ()) -> Spec:
    """Settings from `user_fp_params`, which are INCAR tags, or from DP-GEN's own names in `fp_params`.

    elsewhere  tags that the foreign program takes from another place
    """
    made: Spec = {"input": {}}
    keys.lose(*(key for key in keys.raw if key.upper() in elsewhere), why="another key says it, and is taken")
    if "ecut" in keys:
        made = _old_names(keys)
    _add_tags({key: keys.raw[key] for key in keys.raw if key not in keys.used}, keys, made)
    if "KSPACING" in elsewhere:
        made.pop("kspacing", None)
    elif "kspacing" not in made:
        made["kspacing"] = DEFAULT_SPACING
        why = f"it says none; VASP's own {DEFAULT_SPACING} Å⁻¹ was put in, which is coarse"
        keys.notes.add("changed", keys.name("KSPACING"), "label.kspacing", why)
    return made


def _old_names(given: Keys) -> Spec:
    """DP-GEN's own names of a few tags, with the tags that it writes beside them."""
    made: Spec = {"input": dict(OLD_TAGS), "gamma": False}
    text = " ".join(f"{tag} = {value}" for tag, value in OLD_TAGS.items())
    given.notes.add("translated", f"{given.where}: {text} (written by DP-GEN)", "label.input")
    given.notes.add("translated", f"{given.where}: KGAMMA = F (written by DP-GEN)", "label.gamma")
    tags = given.section("user_vasp_params")
    overridden = {tag.upper() for tag in tags.raw}
    given.lose(*(key for key, tag in OLD_NAMES.items() if tag in overridden), why="user_vasp_params has it too")
    for key, tag in OLD_NAMES.items():
        if tag not in overridden and key in given and given.raw[key] is not None:
            made["input"][tag] = given.take(key, to=f"label.input.{tag}")
    if "kspacing" not in given.used:
        made["kspacing"] = float(given.take("kspacing", to="label.kspacing", default=DEFAULT_SPACING))
    if given.raw.get("kgamma") is not None:
        given.lose("kgamma", why="DP-GEN does not read it: meshes are not centred at Γ")
    smearing = given.take("smearing", to="label.input.ISMEAR")
    if smearing is not None:
        made["input"]["ISMEAR"] = _smearing(str(smearing))
    metagga = given.take("metagga", to="label.input.METAGGA")
    if metagga not in (None, "NONE"):
        made["input"] |= {"LASPH": True, "METAGGA": metagga}
    _add_tags(dict(tags.raw), tags, made)
    return made


def _add_tags(tags: Spec, keys: Keys, made: Spec) -> None:
    """Put INCAR tags into `made`; say which are left out, and why."""
    for key, value in tags.items():
        tag = key.upper()
        if is_comment(key):
            continue
        if isinstance(value, dict):
            keys.lose(key, why="a section is no tag of an INCAR")
        elif tag == "KSPACING":
            made["kspacing"] = float(keys.take(key, to="label.kspacing"))
        elif tag == "KGAMMA":
            made["gamma"] = is_true(keys.take(key, to="label.gamma"))
        elif tag in vasp_incar.REFUSED:
            keys.lose(key, why=vasp_incar.REFUSED[tag] if vasp_incar.is_on(keys.raw[key]) else "it is off anyway")
        elif tag in HOLDING or (tag in OF_FRAMES and tag != "MAGMOM"):
            keys.lose(key, why="it holds moments, which lamflow does where each frame has them; see label.deltaspin "
                      "and label.constrained_moments")  # fmt: skip
        elif tag in SINGLE_POINT:
            keys.lose(key, why="a label is one single point")
        elif tag in vasp_incar.BY_ELEMENT or tag == "MAGMOM":
            keys.lose(key, why="give it by element: see label.input and label.magnetic_moments")
        else:
            made["input"][tag] = keys.take(key, to=f"label.input.{tag}")


def incar(path: Any, keys: Keys, key: str, paths: Paths, elsewhere: Collection[str] = ()) -> Spec:
    """An INCAR as a file, or its tags where lamflow refuses some of them.

    keys, key  where it is named
    elsewhere  tags that the foreign program takes from another place
    """
    text = paths.read(path)
    if text is None:
        return {"incar": paths.path(path)}
    tags = vasp_incar.read_incar(text)
    if not any(_is_refused(tag, value) for tag, value in tags.items()):
        made: Spec = {"incar": paths.path(path)}
        if "KSPACING" not in {*tags, *elsewhere}:
            made["kspacing"] = DEFAULT_SPACING
            why = f"it says none; VASP's own {DEFAULT_SPACING} Å⁻¹ was put in, which is coarse"
            keys.notes.add("changed", f"{path}: KSPACING", "label.kspacing", why)
        return made
    why = "its tags were copied without those that are left out below"
    keys.notes.add("changed", keys.name(key), "label.input", why)
    allowed = {tag: value for tag, value in tags.items() if tag not in SINGLE_POINT or _is_refused(tag, value)}
    made = vasp_keys(keys.enter(allowed, str(path)), elsewhere)
    if vasp_incar.is_on(tags.get("LDELTASPIN", 0)):
        made["deltaspin"] = {"elements": list(paths.type_map)}
        why = "moments of all elements are held, where each frame has them; leave out those that are free"
        keys.notes.add("changed", f"{path}: LDELTASPIN", "label.deltaspin.elements", why)
    return made


def _is_refused(tag: str, value: Any) -> bool:
    """lamflow refuses an INCAR with such a tag."""
    allowed = vasp_incar.FIXED.get(tag)
    refused = tag in {*vasp_incar.REFUSED, *HOLDING} and vasp_incar.is_on(value)
    return tag in vasp_incar.BY_ELEMENT or refused or (allowed is not None and str(value) not in map(str, allowed))


def _smearing(text: str) -> int:
    kind, _, order = text.lower().partition(":")
    known = {"gauss": 0, "fd": -1, "tetra": -5, "mp": int(order or 1)}
    if kind not in known:
        raise ValueError(f"smearing {text!r} is none of {', '.join(known)}")
    return known[kind]
