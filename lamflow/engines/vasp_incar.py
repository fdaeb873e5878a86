"""The INCAR: how it is read, and tags with which a label would be something else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FIXED: dict[str, tuple[int, ...]] = {"NSW": (0,), "IBRION": (-1, 0, 1, 2, 3), "ISIF": (2, 3)}
"""Tags that must have one of these values, for a label is one single point with its stress. Without ionic steps these
values of IBRION all mean a single point; the others compute force constants whatever NSW is."""
REFUSED = {
    "PSTRESS": "VASP adds this pressure to the stress, and its work to the energy",
    "ML_LMLFF": "labels would be those of VASP's own force field",
    "IMAGES": "a band of structures is no single point",
}
"""Tags that make something else of a label, where they are not zero or false."""
BY_ELEMENT: dict[str, float | None] = {
    "LDAUL": -1, "LDAUU": 0.0, "LDAUJ": 0.0, "RWIGS": None, "ROPT": None, "VDW_C6": None, "VDW_R0": None,
    "VDW_ALPHA": None,
}  # fmt: skip
"""Tags of species, and what a species without one gets; None where each needs its own."""


def is_on(value: Any) -> bool:
    """A tag has a value other than zero or false."""
    text = str(value).strip().strip(".").upper()
    return text not in ("F", "FALSE") and number(text) != 0


def check_tags(tags: Mapping[str, Any]) -> None:
    """Raise ValueError for tags with which a label would be something else."""
    for tag, allowed in FIXED.items():
        if tag in tags and str(tags[tag]) not in map(str, allowed):
            raise ValueError(f"INCAR: {tag} = {tags[tag]} is not allowed: a label is one single point with stress")
    for tag, why in REFUSED.items():
        if is_on(tags.get(tag, 0)):
            raise ValueError(f"INCAR: {tag} = {tags[tag]} is not allowed: {why}")


def read_incar(text: str) -> dict[str, Any]:
    """Tags of an INCAR as written, upper case; comments and continued lines are understood."""
    text = re.sub(r"[!#].*", "", text)
    text = re.sub(r"\\\s*\n", " ", text)
    tags = {}
    for statement in re.split(r"[;\n]", text):
        name, equals, value = statement.partition("=")
        if equals:
            tags[name.strip().upper()] = value.strip()
    return tags


def check_moments(tags: dict[str, Any], symbols: Sequence[str]) -> None:
    """Raise ValueError when a MAGMOM of the user's is not one that fits these atoms, whatever their order."""
    if "MAGMOM" not in tags:
        return
    given = tags["MAGMOM"]
    words = [str(word) for word in given] if isinstance(given, list) else str(given).split()
    values: list[float] = []
    try:
        for word in words:
            count, star, value = word.rpartition("*")
            values += [float(value)] * (int(count) if star else 1)
    except ValueError:
        raise ValueError(f"INCAR: MAGMOM = {given}: {word!r} is no moment") from None
    each = 3 if is_noncollinear(tags) else 1
    if len(values) != each * len(symbols):
        raise ValueError(
            f"INCAR: MAGMOM has {len(values)} values for {len(symbols)} atoms; give magnetic_moments, one number an "
            "element, when frames differ"
        )
    if len(set(symbols)) > 1 and len(set(zip(*[iter(values)] * each, strict=True))) > 1:
        raise ValueError(
            "INCAR: MAGMOM goes by the order of atoms, and here they are sorted by species; give magnetic_moments, "
            "one number an element"
        )


def is_noncollinear(tags: Mapping[str, Any]) -> bool:
    """Moments have three components."""
    return any(_is_on(tags.get(tag)) for tag in ("LNONCOLLINEAR", "LSORBIT"))


def _is_on(value: Any) -> bool:
    return str(value).strip(".").upper().startswith("T")


def written(value: Any) -> str:
    """The value of a tag as an INCAR has it."""
    if isinstance(value, bool):
        return ".TRUE." if value else ".FALSE."
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def number(value: Any) -> float:
    """A value as a number; not a number where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float(np.nan)
