"""What matcalc's references of the elements say of a study's crystals: lattices and cohesive energies by DFT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from lamflow.config.properties import ReferenceValue
from lamflow.data.frames import Frame
from lamflow.data.properties import RELAXATION
from lamflow.policy.element_tables import single_elements
from lamflow.science.properties.cells import lattice_values, space_group

SOURCE = "matcalc's references of the elements"
LATTICES = "PBE"
"""What made the crystals of all its files, that of r2SCAN's energies too: they are the Materials Project's."""


def is_matcalc(document: Any) -> bool:
    """It is one of the files Element-Refs.json of matcalc: an entry for each element."""
    return isinstance(document, dict) and all(
        isinstance(entry, dict) and {"structure", "energy_per_atom"} <= entry.keys() and element in atomic_numbers
        for element, entry in document.items()
    )


def matcalc_values(
    document: Mapping[str, Any], structures: Mapping[str, Frame], cohesive: Sequence[str]
) -> Iterator[ReferenceValue]:
    """Lattice and cohesive energy of each structure of one element that the file has in the same space group.

    cohesive  titles of the results that have a cohesive energy
    """
    for name, element in single_elements(structures).items():
        entry, group = document.get(element), space_group(structures[name])
        found = next((frame for frame in _crystals(entry) if space_group(frame) == group), None) if entry else None
        if entry is None or found is None:
            continue
        for one in lattice_values(found):
            yield ReferenceValue(
                structure=name, property=RELAXATION, name=one.name, value=one.value, unit=one.unit,
                source=f"{SOURCE}, {LATTICES}",
            )  # fmt: skip
        energy = entry.get("cohesive_energy_per_atom")
        if energy is not None:  # of the crystal against free atoms
            for title in cohesive:
                yield ReferenceValue(
                    structure=name, property=title, name="E_coh", value=-float(energy), unit="eV/atom",
                    source=f"{SOURCE}, {entry.get('functional', LATTICES)}",
                )  # fmt: skip


def _crystals(entry: Mapping[str, Any]) -> Iterator[Frame]:
    """The crystals of an entry, as pymatgen writes them."""
    structures = entry["structure"]
    for structure in structures if isinstance(structures, list) else [structures]:
        cell = np.array(structure["lattice"]["matrix"], dtype=float)
        numbers = [atomic_numbers[site["species"][0]["element"]] for site in structure["sites"]]
        places = np.array([site["abc"] for site in structure["sites"]], dtype=float)
        yield Frame(np.array(numbers, dtype=np.int64), places @ cell, cell, True)
