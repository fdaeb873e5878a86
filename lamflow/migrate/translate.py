"""What the converters share: paths, commands, trainings, label engines, LAMMPS templates."""

from __future__ import annotations

import glob
import json
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ase.data import atomic_masses, atomic_numbers

from lamflow.errors import InputError
from lamflow.migrate.keys import Keys, Notes, is_comment

Spec = dict[str, Any]
FORMATS = {"vasp/poscar": "vasp", "poscar": "vasp", "POSCAR": "vasp", "vasp/contcar": "vasp"}
"""dpdata's names of formats that ASE knows as well."""
DEAD = {"coord_norm", "type_fitting_net", "_activation_function"}
EVERY_SEED = "every random number descends from the run's seed"
NAMED_FILES = (
    "disp_file", "save_ckpt", "load_ckpt", "numb_test", "stat_file", "tensorboard_log_dir", "profiling_file",
)  # fmt: skip
ENSEMBLES = {
    "npt-i": "npt",
    "npt-iso": "npt",
    "npt-a": "npt-aniso",
    "npt-aniso": "npt-aniso",
    "npt-t": "npt-tri",
    "npt-tri": "npt-tri",
}


@dataclass
class Place:
    """Where the foreign file lies, and where the new one will. missing: files that are named and not there."""

    source: Path
    target: Path
    missing: list[str] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)

    def path(self, *parts: Any) -> str:
        """A file's path as the new file says it."""
        joined = Path(*(str(part) for part in parts if part not in (None, "")))
        absolute = joined if joined.is_absolute() else self.source / joined
        if not absolute.exists() and str(joined) not in self.missing:
            self.missing.append(str(joined))
        return self.plain(*parts)

    def plain(self, *parts: Any) -> str:
        """The same without asking whether it is there."""
        joined = Path(*(str(part) for part in parts if part not in (None, "")))
        if joined.is_absolute() or str(joined).startswith("$"):
            return str(joined)
        return os.path.relpath(self.source / joined, self.target)

    def files(self, *parts: Any) -> list[str]:
        """The files that a pattern matches; the pattern itself, which is then missing, if there are none."""
        joined = Path(*(str(part) for part in parts if part not in (None, "")))
        pattern = str(joined if joined.is_absolute() else self.source / joined)
        found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  patterns may be absolute
        if not found:
            return [self.path(joined)]
        return [self.path(file if joined.is_absolute() else os.path.relpath(file, self.source)) for file in found]

    def read(self, path: Any) -> str | None:
        """The text of a file, if it is there."""
        absolute = Path(str(path)) if Path(str(path)).is_absolute() else self.source / str(path)
        self.path(path)
        return absolute.read_text(errors="replace") if absolute.is_file() else None


def listed(value: Any) -> list[Any]:
    """A list, also of what is one thing or none."""
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def one_of_several(value: Any, notes: Notes, key: str, to: str) -> float | None:
    """A number that may be given for each system, as a list or a mapping: the smallest of them."""
    several = list(value.values()) if isinstance(value, dict) else listed(value)
    numbers = [float(item) for item in several if item is not None]
    if not numbers:
        return None
    if len(set(numbers)) > 1:
        text = f"one number holds for all systems; the smallest of {sorted(set(numbers))} was taken"
        notes.add("changed", key, to, text)
    else:
        notes.add("translated", key, to)
    return min(numbers)


def symbols(given: Sequence[Any], notes: Notes, key: str) -> list[str]:
    """Chemical symbols of a type map; names of other kinds, like those of force fields, become their element."""
    found = []
    for item in given:
        name = str(item)
        candidates = [name, name[:2].capitalize(), name[:1].upper()]
        if name[:2].upper() in ("HW", "OW"):  # of water
            candidates = [name[:1].upper()]
        symbol = next((each for each in candidates if each in atomic_numbers and each != "X"), None)
        if symbol != name:
            notes.add("changed", f"{key}: {name}", "elements", f"types are elements in lamflow: {symbol or 'left out'}")
        if symbol and symbol not in found:
            found.append(symbol)
    return found


def check_masses(keys: Keys, elements: Sequence[str]) -> None:
    """lamflow takes every element's own mass; say where the file does not."""
    masses = keys.take("mass_map")
    if isinstance(masses, list):
        other = [
            f"{element} {mass:g} u"
            for element, mass in zip(elements, masses, strict=False)
            if abs(float(mass) / atomic_masses[atomic_numbers[element]] - 1) > 0.05
        ]
        if other:
            keys.notes.add(
                "lost", keys.name("mass_map"), why=f"every element has its own mass; given were {', '.join(other)}"
            )
        else:
            keys.notes.add("translated", keys.name("mass_map"), "nothing: every element has its own mass")


def command(text: Any) -> list[str]:
    """A command as lamflow starts it: a list, or a shell where the text needs one, which passes arguments on."""
    text = str(text).strip()
    text = re.sub(r"\s*2>&1|\s*[12]?>>?\s*\S+|\s*<\s*\S+|\s*\|\|.*$", "", text).strip()
    if re.search(r"[;&|`$<>]|\bsource\b|\bulimit\b", text):
        return ["bash", "-c", f'{text} "$@"', "bash"]
    words = shlex.split(text)
    return ["env", *words] if words and re.fullmatch(r"\w+=\S*", words[0]) else words


def lammps_command(text: Any) -> list[str]:
    """LAMMPS's command without the arguments that lamflow gives; empty for plain `lmp`, which lamflow finds."""
    words = command(text)
    if words[:1] == ["bash"]:
        return words
    kept: list[str] = []
    skip = 0
    for word in words:
        if skip:
            skip -= 1
        elif word in ("-i", "-in", "-log", "-screen"):
            skip = 1
        elif word in ("-v", "-var"):
            skip = 2
        else:
            kept.append(word)
    return [] if kept in (["lmp"], ["lmp_serial"], []) else kept


def training(raw: Any, where: str, place: Place, notes: Notes, elements: Sequence[str]) -> Spec:
    """DeePMD-kit's input, of version 1, 2 or 3, as `train` has it: `steps` and `input`."""
    if isinstance(raw, str):
        text = place.read(raw)
        if text is None:
            notes.add("changed", where, "train.input_file", "the file is not here; give train.steps too")
            return {"input_file": place.path(raw)}
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise InputError(f"{raw}: not JSON: {error}") from error
    keys = Keys(_without_comments(raw), where, notes)
    made: Spec = {"model": _model(keys, elements)}
    for name in ("learning_rate", "loss", "optimizer", "validating"):
        given = keys.take(name, to=f"train.input.{name}", default={})
        if given:
            made[name] = {key: value for key, value in given.items() if not _is_formula(value)}
            for key in sorted(set(given) - set(made[name])):
                notes.add("lost", f"{where}.{name}.{key}", why="a formula: write the number")
    section = keys.section("training")
    steps = section.take("numb_steps", "stop_batch", to="train.steps", default=400_000)
    if _is_formula(steps):
        notes.add("lost", section.name("numb_steps"), why=f"{steps!r} is a formula: write train.steps or train.epochs")
        steps = 400_000
    every = section.take("save_freq", to="train.checkpoint_every")
    kept = _training_section(section)
    if kept:
        made["training"] = kept
    keys.finish()
    return {"steps": int(steps), **({"checkpoint_every": int(every)} if every else {}), "input": made}


def _model(keys: Keys, elements: Sequence[str]) -> Spec:
    """The section `model` without what the run says: type map and seeds."""
    model = dict(keys.take("model", to="train.input.model", default={}))
    given = model.pop("type_map", None)
    if given is not None and list(given) != list(elements):
        keys.notes.add("changed", keys.name("model.type_map"), "elements", "the type map of the run is taken")
    for part in ("descriptor", "fitting_net"):
        if isinstance(model.get(part), dict) and "seed" in model[part]:
            model[part] = {key: value for key, value in model[part].items() if key != "seed"}
            keys.notes.add("changed", keys.name(f"model.{part}.seed"), "seed", EVERY_SEED)
        for dead in DEAD.intersection(model[part] if isinstance(model.get(part), dict) else ()):
            model[part] = {key: value for key, value in model[part].items() if key != dead}
            keys.notes.add("lost", keys.name(f"model.{part}.{dead}"), why="DeePMD-kit 3 does not know it")
    return model


def _training_section(section: Keys) -> Spec:
    """The section `training` without the data, which lamflow supplies."""
    data = section.section("training_data")
    batch = data.take("batch_size", to="train.input.training.data.batch_size")
    batch = section.take("batch_size", to="train.input.training.data.batch_size", default=batch)
    data.lose("systems", "set_prefix", "auto_prob", "sys_probs", why="lamflow supplies the data")
    section.lose("systems", "set_prefix", "validation_data", why="lamflow supplies the data and judges on `heldout`")
    section.take("seed", to="seed", why=EVERY_SEED)
    section.lose(*NAMED_FILES, why="lamflow names the files")
    left = [key for key in section.raw if key not in section.used and not is_comment(key)]
    kept: Spec = {key: section.take(key, to=f"train.input.training.{key}") for key in left}
    if batch is not None:
        kept["data"] = {"batch_size": batch}
    return kept


def _is_formula(value: Any) -> bool:
    """dpclean evaluates texts like "math.ceil(133.0*n)"; lamflow evaluates nothing."""
    return isinstance(value, str) and "(" in value


def _without_comments(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_comments(item) for key, item in value.items() if not is_comment(key)}
    return [_without_comments(item) for item in value] if isinstance(value, list) else value


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


def lammps_template(text: str, names: Sequence[str]) -> str:
    """A template of DP-GEN or dpgen2 with lamflow's placeholders, for the lines that these replace and for `names`."""
    text = re.sub(r"^(\s*read_data\s+)\S+", r"\1{{ structure }}", text, flags=re.M)
    text = re.sub(r"^(\s*read_restart\b)", r"# \1", text, flags=re.M)
    text = re.sub(r"^\s*mass\s+\d+\s+.*\n", "", text, flags=re.M)
    text = re.sub(r"^\s*pair_style\s+deepmd\b.*$", "{{ potential }}", text, flags=re.M)
    text = re.sub(r"^\s*pair_coeff\b.*\n", "", text, flags=re.M)
    dump = (
        "dump            dpgen_dump all custom {{ every }} {{ trajectory }} id type x y z vx vy vz fx fy fz\n"
        "dump_modify     dpgen_dump sort id format float %.12g"
    )
    text = re.sub(r"^\s*dump\s+dpgen_dump\b.*$", dump, text, flags=re.M)
    text = re.sub(r"^\s*fix\s+dpgen_plm\b.*$", "{{ plumed }}", text, flags=re.M)
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf"(?<!\{{ ){re.escape(name)}\b", "{{ " + name + " }}", text)
    return text


def revised(keys: Keys, where: str, place: Place, name: str) -> Spec:
    """A template job: its template with lamflow's placeholders beside the new file, its variables and PLUMED input.

    keys  with `lmp`, `plm` and the revisions of each under `lmp_values` and `plm_values`
    """
    made: Spec = {}
    values = {**keys.raw.get("lmp_values", {}), **keys.raw.get("plm_values", {})}
    numbers = {key: [_number(item) for item in listed(value)] for key, value in values.items()}
    good = {key: items for key, items in numbers.items() if all(item is not None for item in items)}
    notes = keys.notes
    for key in sorted(set(numbers) - set(good)):
        notes.add("lost", f"{where}.{key}", why="values of a template's placeholders are numbers in lamflow")
    source = keys.raw.get("lmp")
    text = place.read(source) if source else None
    target = f"{name}.lammps"
    if text is None:
        made["template"] = place.path(source) if source else place.plain(target)
        notes.add(
            "changed",
            f"{where}.lmp",
            "template",
            "the file is not here; put {{ structure }}, {{ potential }} and "
            "{{ trajectory }} where read_data, pair_style and dump are",
        )
    else:
        place.written[target] = lammps_template(text, sorted(good))
        made["template"] = target
        notes.add("changed", f"{where}.lmp", "template", f"written to {target} with lamflow's placeholders")
    if good:
        made["variables"] = good
        notes.add("translated", f"{where} revisions", "variables")
    plumed = keys.raw.get("plm")
    if plumed:
        made["plumed"] = place.path(plumed)
        revisions = sorted(keys.raw.get("plm_values", {}))
        why = f"{', '.join(revisions)} in it is not replaced: write the values" if revisions else ""
        notes.add("changed" if why else "translated", f"{where}.plm", "plumed", why)
    return made


def _number(value: Any) -> float | int | None:
    if isinstance(value, int):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def heldout(structures: list[Spec], notes: Notes, data: Sequence[str]) -> Spec:
    """Held-out data, which these programs do not have: whole files where there are several, new labels otherwise."""
    if len(data) > 1:
        notes.add("changed", "(validation)", "heldout", "models are judged on a tenth of the files of the start data")
        return {"share": 0.1}
    if structures:
        first = next((item for item in structures if "files" in item or "crystal" in item), structures[0])
        made = {key: value for key, value in first.items() if key in ("files", "format", "crystal", "supercell")}
        structures.append({"name": "heldout", **made, "copies": 10, "strain": 0.03, "rattle": 0.05})
        notes.add(
            "changed",
            "(validation)",
            "heldout",
            "ten copies or more of the first structures are rattled, labeled first "
            "and never trained on, for models are judged before they explore",
        )
        return {"label": ["heldout"]}
    notes.add("changed", "(validation)", "heldout", "the start data are one file: split it, or give heldout.data")
    return {"share": 0.1}


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
    from lamflow.engines.qe import FORBIDDEN

    for namelist in ("control", "system", "electrons"):
        section = given.section(namelist)
        for key in list(section.raw):
            if is_comment(key):
                continue
            low = key.lower()
            if low in FORBIDDEN or low in ("calculation", "ibrav", "nat", "ntyp"):
                section.lose(key, why=FORBIDDEN.get(low, "lamflow sets it"))
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
    tree = _upper(_without_comments(raw))
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
    found = _number(str(value).split("]")[-1])
    return found if found is not None else 400.0


def _kinds(raw: Any, elements: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Basis set and potential of each element, from one KIND with lists or one for each."""
    basis: dict[str, str] = {}
    potentials: dict[str, str] = {}
    for kind in listed(raw):
        names = listed(kind.get("_"))
        for place, name in enumerate(names):
            element = re.sub(
                r"[^A-Za-z].*",
                "",
                str(listed(kind.get("ELEMENT", name))[min(place, len(listed(kind.get("ELEMENT", name))) - 1)]),
            )
            for key, into in (("BASIS_SET", basis), ("POTENTIAL", potentials)):
                several = listed(kind.get(key))
                if several and element in elements:
                    into[element] = str(several[min(place, len(several) - 1)]).split()[-1]
    for element in elements:
        basis.setdefault(element, "DZVP-MOLOPT-SR-GTH")
        potentials.setdefault(element, "GTH-PBE")
    return basis, potentials


def abacus_input(given: Keys, made: Spec) -> Spec:
    """ABACUS's settings from INPUT's keywords."""
    from lamflow.engines.abacus import FORBIDDEN
    from lamflow.units import BOHR

    made = {"engine": "abacus", **made, "input": {}}
    for key in list(given.raw):
        low = key.lower()
        if is_comment(key):
            continue
        if low in FORBIDDEN or (low in ("ntype", "pseudo_type", "gamma_only") and low != "gamma_only"):
            given.lose(key, why=FORBIDDEN.get(low, "lamflow sets it"))
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


def gaussian_input(given: Keys, text: Any) -> Spec:
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
    if text:
        made["command"] = command(text)
    return made
