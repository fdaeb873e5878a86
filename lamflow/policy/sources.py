"""How the sources of cleaning are read, and which head their frames belong to."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

from lamflow.config.cleaning import Source
from lamflow.data.sources.dialect import ENERGIES, LENGTHS, STRESSES, Dialect, Scale
from lamflow.policy.findings import Table


def dialect_of(source: Source) -> Dialect:
    """What readers are told of a source."""
    units, scale = source.units, None
    if units is not None:
        energy, length = ENERGIES[units.energy], LENGTHS[units.length]
        sign = 1.0 if units.stress_sign == "tension" else -1.0
        stress = STRESSES[units.stress] if units.stress is not None else energy / length**3
        scale = Scale(
            energy=energy, length=length, forces=ENERGIES[units.force_energy or units.energy] / length,
            stress=sign * stress, per_atom=units.per_atom,
        )  # fmt: skip
    return Dialect(
        format=source.format, keys={str(name): key for name, key in source.keys.items()}, scale=scale,
        trajectory=source.trajectory or "", energy=source.energy or "", method=source.method,
    )  # fmt: skip


def head_of(source: Source, method: str) -> str:
    """What tells the head of a source's frames of one method from all others; `with_names` gives it a name.

    The head that the source names; else a JSON list of method and pseudopotentials, of the source where it has neither.
    """
    if source.head is not None:
        return source.head
    level = [method, source.pseudopotentials]
    return json.dumps(level if any(level) else [source.name])


def with_names(table: Table, methods: Mapping[str, str]) -> tuple[Table, dict[str, str], dict[str, str]]:
    """The table with a name for every head, the method of each, and by name what is to be said of some.

    table, methods  heads as `head_of` tells them apart

    Methods that are written differently have heads of their own: those that would have one name are numbered in the
    order of their letters, whatever order they were read in.
    """
    named = [head for head in table.heads if not head.startswith("[")]
    wanted: dict[str, list[str]] = {}
    for head in sorted(set(table.heads) - set(named)):
        wanted.setdefault(_readable(json.loads(head)), []).append(head)
    names, said, taken = {head: head for head in named}, dict[str, str](), {*named, *wanted}
    for name, heads in wanted.items():
        numbered = (f"{name[:55]}-{number}" for number in itertools.count(2))
        for place, head in enumerate(heads):
            names[head] = name if not place else next(other for other in numbered if other not in taken)
            taken.add(names[head])
            if len(heads) > 1:
                alike = " and ".join(repr(_words(other)) for other in heads if other != head)
                said[names[head]] = (
                    f"this head is of {_words(head)!r}; the name {name} would do for {alike}, too; give the sources "
                    "`head` or `method` if they are one"
                )
    order = list(dict.fromkeys(names[head] for head in table.heads))
    places = np.array([order.index(names[head]) for head in table.heads], dtype=np.int64)
    found = dict.fromkeys(order, "")
    for head, method in methods.items():
        found[names[head]] = found[names[head]] or method
    return dataclasses.replace(table, head=places[table.head], heads=order), found, said


def _words(head: str) -> str:
    words = json.loads(head)
    return " with ".join(filter(None, words)) if len(words) > 1 else f"source {words[0]}"


def _readable(words: Sequence[str]) -> str:
    """The words as the name of a head: Greek letters by their names, ² as 2, a hyphen for what has no place in one."""
    letters = unicodedata.normalize("NFKD", " ".join(words).strip())
    plain = "".join(_spelt(letter) for letter in letters if not unicodedata.combining(letter))
    return re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-_")[:60].rstrip("-_") or "other"


def _spelt(letter: str) -> str:
    name = unicodedata.name(letter, "")
    if not name.startswith("GREEK") or "LETTER" not in name:
        return letter
    return name.split()[-1].capitalize() if "CAPITAL" in name else name.split()[-1].lower()
