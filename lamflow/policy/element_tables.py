"""References that packages carry: measured properties of the elements."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lamflow.config.properties import PropertySettings, ReferenceValue
from lamflow.config.tracked import AskedProperties
from lamflow.data.frames import Frame
from lamflow.data.properties import RELAXATION
from lamflow.errors import InputError

SOURCE = "pymatgen's table of the elements, room temperature"
ROOM = (290.0, 300.0)
"""K at which values are those of room temperature."""
CM3_PER_MOL = 1.6605390672
"""1 cm³/mol in Å³/atom (exact, SI 2019)."""
Entry = tuple[str, str, str, str, float]
"""Name and place of a value, attribute of pymatgen's element, unit, factor."""
MODULI = (("B", "bulk_modulus", "GPa"), ("E", "youngs_modulus", "GPa"), ("G", "rigidity_modulus", "GPa"),
          ("poisson", "poissons_ratio", "1"))  # fmt: skip


def single_elements(structures: Mapping[str, Frame]) -> dict[str, str]:
    """The element of each structure that has one alone."""
    return {name: frame.symbols[0] for name, frame in structures.items() if len(set(frame.symbols)) == 1}


def tabulated(asked: AskedProperties, elements: Mapping[str, str]) -> list[ReferenceValue]:
    """Values of the table that a study names, for structures of one element each; none where it names none.

    elements  of structures, by their names. Raises InputError where the package that has the table is missing.
    """
    if asked.reference is None or asked.reference.table is None:
        return []
    if importlib.util.find_spec("pymatgen") is None:
        raise InputError('reference.table: pymatgen is not installed; pip install "lamflow[properties]"')
    titles = [(RELAXATION, [("V", "", "molar_volume", "Å³/atom", CM3_PER_MOL)])]
    titles += [(title, list(_entries(settings))) for title, settings in asked.named_properties()]
    return [
        ReferenceValue(structure=structure, property=title, name=name, where=where, unit=unit, source=SOURCE,
                       value=measured * factor)
        for structure, element in elements.items()
        for title, entries in titles
        for name, where, attribute, unit, factor in entries
        if (measured := _measured(element, attribute)) is not None
    ]  # fmt: skip


def _entries(settings: PropertySettings) -> Iterator[Entry]:
    """What the table knows of a property."""
    kind = settings.property
    warm: Sequence[float] = [t for t in getattr(settings, "temperatures", []) if ROOM[0] <= t <= ROOM[1]]
    if kind == "eos":
        yield "B0", "", "bulk_modulus", "GPa", 1.0
    elif kind == "elastic":
        yield from ((name, "hill", attribute, unit, 1.0) for name, attribute, unit in MODULI)
    elif kind == "thermal-elastic":
        yield from ((name, f"{t:g} K, hill", attribute, unit, 1.0) for t in warm for name, attribute, unit in MODULI)
    elif kind == "quasiharmonic":
        yield from (("alpha_L", f"{t:g} K", "coefficient_of_linear_thermal_expansion", "1/K", 1.0) for t in warm)
    elif kind == "dynamics":
        yield from (("V", f"{t:g} K", "molar_volume", "Å³/atom", CM3_PER_MOL) for t in warm)
    elif kind in ("melting", "melting-point"):
        yield "T_m", "", "melting_point", "K", 1.0


def _measured(element: str, attribute: str) -> float | None:
    """A number of pymatgen's table in its own unit; None where it has none."""
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value: Any = getattr(Element(element), attribute)
    return None if value is None else float(value)
