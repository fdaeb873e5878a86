"""LAMMPS templates of DP-GEN, dpgen2 and PFD-kit with lamflow's placeholders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase.data import atomic_masses, atomic_numbers

from lamflow.engines.lammps.template import left_words
from lamflow.migrate.keys import Keys
from lamflow.migrate.pair_styles import Layer, layers_of
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.translate import listed, number
from lamflow.migrate.typemap import SAME_MASS


def lammps_template(text: str, names: Sequence[str]) -> str:
    """A template of DP-GEN or dpgen2 with lamflow's placeholders, for the lines that these replace and for `names`."""
    text = _without_restarts(text)
    text = re.sub(r"^(\s*read_data\s+)\S+", r"\1{{ structure }}", text, flags=re.M)
    text = re.sub(r"^(\s*read_restart\b)", r"# \1", text, flags=re.M)
    text = re.sub(r"^\s*pair_style\s+(deepmd|hybrid/overlay)\b.*$", "{{ potential }}", text, flags=re.M)
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


def _without_restarts(text: str) -> str:
    """What a template does where its variable `restart` is 0: lamflow begins every run anew."""
    text = re.sub(r'^\s*if\s+"\$\{?restart\}?\s*==\s*0"\s+then\s+"([^"]*)".*$', r"\1", text, flags=re.M)
    return re.sub(
        r'^\s*if\s+"\$\{?restart\}?\s*>\s*0"\s+then\s+"[^"]*"(?:\s+else\s+"([^"]*)")?.*$',
        lambda match: match[1] or "",
        text,
        flags=re.M,
    )


def revised(keys: Keys, where: str, paths: Paths, name: str) -> Spec:
    """A template job: its template with lamflow's placeholders beside the new file, its variables and PLUMED input.

    keys  with `lmp`, `plm` and the revisions of each under `lmp_values` and `plm_values`
    Raises InputError for pair styles that are no layers over the model.
    """
    made: Spec = {}
    source = keys.raw.get("lmp")
    text = paths.read(source) if source else None
    values = {key: listed(value) for key, value in keys.raw.get("lmp_values", {}).items()}
    if text is None:
        made["template"] = paths.path(source) if source else paths.plain(f"{name}.lammps")
        why = (
            "the file is not here; put {{ structure }}, {{ potential }} and {{ trajectory }} where read_data, "
            "pair_style and dump are"
        )
        keys.notes.add("changed", f"{where}.lmp", "template", why)
    else:
        made |= _converted(text, values, keys, where, paths, name)
    good = {key: items for key, items in _numbers(values).items() if text is None or key in made["variables"]}
    made.pop("variables", None)
    if paths.elements:
        made["types"] = list(paths.elements)
    if good:
        made["variables"] = good
        keys.notes.add("translated", f"{where} revisions", "variables")
    if keys.raw.get("plm"):
        made["plumed"] = _plumed(keys, where, paths, name)
    return made


def _numbers(values: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Revisions whose values are numbers."""
    numbers = {key: [number(item) for item in items] for key, items in values.items()}
    return {key: items for key, items in numbers.items() if all(item is not None for item in items)}


def _converted(text: str, values: dict[str, list[Any]], keys: Keys, where: str, paths: Paths, name: str) -> Spec:
    """The template written with placeholders; what lies over its model; the names of `variables` that it uses."""
    notes, source = keys.notes, str(keys.raw["lmp"])
    used = {key for key in values if re.search(rf"{re.escape(key)}\b", text)}
    for key in sorted(set(values) - used):
        notes.add("lost", f"{where}.{key}", why="it is nowhere in the template")
    variables = used & set(_numbers(values))
    for key in sorted(used - variables):
        if len(values[key]) == 1:
            text = _with_value(text, key, str(values[key][0]))
            notes.add("translated", f"{where}.{key}", f"template: {values[key][0]}")
        else:
            why = "several texts: values of a template's placeholders are numbers in lamflow; write a template for each"
            notes.add("lost", f"{where}.{key}", why=why)
    made: Spec = {"template": f"{name}.lammps", "variables": variables}
    layers = layers_of(text, source, paths)
    if layers:
        made |= _overlays(layers, keys, where, paths, Path(source).parent)
    text = _masses(text, keys, where, paths)
    boundary = re.search(r"^\s*boundary\s+(.+?)\s*(#.*)?$", text, flags=re.M)
    if boundary and boundary[1].split() != ["p", "p", "p"]:
        why = "kept, but frames of periodic structures are labeled as periodic: give structures without a cell"
        notes.add("changed", f"{where}.lmp: boundary {boundary[1]}", "template", why)
    paths.written[made["template"]] = lammps_template(text, sorted(variables))
    for line, word in left_words(paths.written[made["template"]]):
        why = f"no revision has a value for it; write one in line {line} of {made['template']}"
        notes.add("lost", f"{where}.lmp: {word}", why=why)
    why = f"written to {made['template']} with lamflow's placeholders"
    notes.add("changed", f"{where}.lmp", "template", why)
    return made


def _overlays(layers: list[Layer], keys: Keys, where: str, paths: Paths, folder: Path) -> Spec:
    """`overlays` and the files that they name."""
    overlays, files = [], []
    for layer in layers:
        overlays.append({"style": layer.style, "coefficients": layer.coefficients})
        files += [paths.path(folder, file) for file in layer.files]
        keys.notes.add("translated", f"{where}.lmp: pair_style {layer.style}", "stages: overlays")
    return {"overlays": overlays, **({"files": files} if files else {})}


def _masses(text: str, keys: Keys, where: str, paths: Paths) -> str:
    """The `mass` lines for the types that are left; say where they are no element's own."""

    def line(match: re.Match[str]) -> str:
        index, mass = int(match[2]), number(match[3])
        element = paths.type_map[index - 1] if 0 < index <= len(paths.type_map) else ""
        if element not in paths.elements:
            return ""
        if mass is not None and abs(mass / atomic_masses[atomic_numbers[element]] - 1) > SAME_MASS:
            key, why = f"{where}.lmp: mass {index} {match[3]}", f"kept: {element} moves with {mass:g} u"
            keys.notes.add("changed", key, "template", why)
        return f"{match[1]}{paths.elements.index(element) + 1} {match[3]}{match[4]}"

    if paths.elements != paths.type_map:
        numbers = ", ".join(f"{index} = {element}" for index, element in enumerate(paths.elements, start=1))
        why = f"types are numbered anew ({numbers}); mend groups and other lines that name types by number"
        keys.notes.add("changed", f"{where}.lmp", "template", why)
    return re.sub(r"^(\s*mass\s+)(\d+)\s+(\S+)(.*\n?)", line, text, flags=re.M) if paths.type_map else text


def _plumed(keys: Keys, where: str, paths: Paths, name: str) -> str:
    """The PLUMED input, written anew with revisions that have one value."""
    source = keys.raw["plm"]
    values = {key: listed(value) for key, value in keys.raw.get("plm_values", {}).items()}
    text = paths.read(source) or ""
    single = [key for key, items in values.items() if len(items) == 1 and re.search(rf"{re.escape(key)}\b", text)]
    for key in single:
        text = _with_value(text, key, str(values[key][0]))
    left = sorted(set(values) - set(single))
    why = f"{', '.join(left)} in it is not replaced: write the values" if left else ""
    target = f"{name}.plumed" if single else paths.path(source)
    if single:
        paths.written[target] = text
        why = "; ".join(
            [f"written to {target} with the values of {', '.join(sorted(single))}", *([why] if why else [])]
        )
    keys.notes.add("changed" if why else "translated", f"{where}.plm", "plumed", why)
    return target


def _with_value(text: str, key: str, value: str) -> str:
    """`text` with every word `key` replaced by a value, whatever characters that has."""
    return re.sub(rf"{re.escape(key)}\b", lambda _: value, text)
