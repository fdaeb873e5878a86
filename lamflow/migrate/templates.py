"""LAMMPS templates of DP-GEN, dpgen2 and PFD-kit with lamflow's placeholders."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lamflow.migrate.keys import Keys
from lamflow.migrate.place import Place, Spec
from lamflow.migrate.translate import listed, number


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
    values = keys.raw.get("lmp_values", {})
    numbers = {key: [number(item) for item in listed(value)] for key, value in values.items()}
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
        for key in [key for key in good if not re.search(rf"{re.escape(key)}\b", text)]:
            del good[key]
            notes.add("lost", f"{where}.{key}", why="it is nowhere in the template")
        place.written[target] = lammps_template(text, sorted(good))
        made["template"] = target
        notes.add("changed", f"{where}.lmp", "template", f"written to {target} with lamflow's placeholders")
    if place.elements:
        made["types"] = list(place.elements)
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
