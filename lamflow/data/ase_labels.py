"""Labels as ASE's Atoms carry them: in the results of a calculator, in info (of the frame) and in arrays (of atoms)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator

from lamflow.data import fields as table
from lamflow.data.fields import ENERGY, FORCES, VIRIAL, Floats
from lamflow.data.frames import LabeledFrame, Labels
from lamflow.data.problems import virial_of, voigt

STRESS, FREE_ENERGY = "stress", "free_energy"
AGREE = 1e-3
"""A stress and a virial that differ by less, relative to the largest component, are the same."""
MAPPED = (ENERGY, FORCES, VIRIAL, STRESS)


def labels_from_ase(atoms: Atoms, keys: Mapping[str, str] | None = None) -> Labels:
    """The labels that `atoms` carries; `keys` names where, for those that are called otherwise.

    The energy is the one whose derivative the forces are: ASE's free energy where it is given. Raises LookupError when
    energy or forces are missing, and ValueError for labels of another shape and for a stress and a virial that differ.
    """
    keys = keys or {}
    carried = _carried(atoms)
    values: dict[str, Any] = {}
    for row in table.label_fields():
        names = [keys[row.name]] if row.name in keys else [row.ase, *row.extxyz]
        if row.name == ENERGY and ENERGY not in keys:
            names.insert(0, FREE_ENERGY)
        name = next((name for name in names if name in carried), None)
        if name is None and row.name in keys:
            raise LookupError(f"has no {keys[row.name]}, which keys.{row.name} names{_candidates(carried)}")
        if name is not None:
            values[row.name] = carried[name]
    values[VIRIAL] = _virial(atoms, values.get(VIRIAL), carried.get(keys.get(STRESS, STRESS)))
    missing = [row.name for row in table.label_fields() if row.required and row.name not in values]
    if missing:
        nothing = len(missing) == sum(row.required for row in table.label_fields())
        raise LookupError(
            ("has no labels; labeled data need an energy and forces" if nothing
             else f"has no {missing[0]}; labeled data need both energy and forces") + _candidates(carried)
        )  # fmt: skip
    return Labels.of(values, len(atoms))


def ase_with_labels(item: LabeledFrame) -> Atoms:
    """A labeled frame as Atoms with its results in a calculator; fields that ASE does not know lie beside it."""
    atoms = item.frame.to_ase()
    results: dict[str, Any] = {}
    for name, value in item.labels.fields.items():
        row = table.field(name)
        if name == VIRIAL:
            stress = item.labels.stress(item.frame.volume) if item.frame.pbc else None
            if stress is not None:
                results[STRESS] = voigt((stress + stress.T) / 2)
        elif row.ase in all_properties:
            results[row.ase] = float(value) if value.ndim == 0 else value
        elif row.per == "atom":
            atoms.set_array(row.ase, value.copy())
        else:
            atoms.info[row.ase] = value.copy() if row.shape else float(value)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _carried(atoms: Atoms) -> dict[str, Any]:
    """Everything with a name, the results of the calculator first."""
    results = atoms.calc.results if atoms.calc is not None else {}
    arrays = {name: value for name, value in atoms.arrays.items() if name not in ("numbers", "positions")}
    return {**arrays, **atoms.info, **{name: value for name, value in results.items() if value is not None}}


def _candidates(carried: Mapping[str, Any]) -> str:
    """The names of what may be the missing labels, with the setting that says so."""
    hints: dict[str, str] = {}
    for row in table.label_fields():
        for word in (row.name.rstrip("s"), STRESS if row.name == VIRIAL else row.name):
            for name in carried:
                if word in name.lower() and name not in (row.ase, *row.extxyz, FREE_ENERGY, STRESS):
                    hints.setdefault(STRESS if STRESS in name.lower() else row.name, name)
    if not hints:
        return ""
    mapping = ", ".join(f"{label}: {name}" for label, name in hints.items())
    return f". It has {', '.join(hints.values())}: if these are the labels, say keys: {{{mapping}}}"


def _virial(atoms: Atoms, virial: Any, stress: Any) -> Floats | None:
    """The virial of a periodic frame from what is given of virial and stress. Raises ValueError where both differ."""
    if not atoms.pbc.any():
        return None
    row = table.field(VIRIAL)
    given = None if virial is None else row.array(virial, len(atoms))
    if stress is None:
        return given
    numbers = np.asarray(stress)
    if numbers.dtype.kind not in "fiu" or numbers.size not in (6, 9):
        raise ValueError(
            f"its stress has shape {numbers.shape} and type {numbers.dtype}; six or nine numbers are needed"
        )
    from_stress = virial_of(numbers, float(atoms.get_volume()))
    if given is not None and np.abs(given - from_stress).max() > AGREE * max(
        np.abs(given).max(), np.abs(from_stress).max()
    ):
        sign = np.abs(given + from_stress).max() <= AGREE * np.abs(given).max()
        raise ValueError(
            "its stress and its virial differ: the virial is −stress times the volume (eV, positive under compression)"
            + ("; here one of them has the other sign" if sign else "") + "; give one of them"
        )  # fmt: skip
    return from_stress
