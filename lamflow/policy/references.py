"""Values beside what they should be, in the same unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lamflow.config.properties import References, ReferenceValue
from lamflow.data.comparisons import Comparison
from lamflow.data.properties import PropertyResult, Value
from lamflow.units import BOLTZMANN

FACTORS: Mapping[tuple[str, str], float] = {
    ("eV/Å³", "GPa"): 160.2176634, ("kbar", "GPa"): 0.1, ("Mbar", "GPa"): 100.0, ("MPa", "GPa"): 1e-3,
    ("mJ/m²", "J/m²"): 1e-3, ("eV/Å²", "J/m²"): 16.02176634, ("erg/cm²", "J/m²"): 1e-3,
    ("meV/atom", "eV/atom"): 1e-3, ("kJ/mol", "eV/atom"): 0.010364269, ("meV", "eV"): 1e-3,
    ("cm⁻¹", "THz"): 0.0299792458, ("meV", "THz"): 0.241798924, ("nm", "Å"): 10.0, ("bohr", "Å"): 0.529177210903,
    ("kB/atom", "J/K/mol"): BOLTZMANN * 96485.33212, ("S/m", "S/cm"): 0.01, ("mS/cm", "S/cm"): 1e-3,
    ("Å²/ps", "cm²/s"): 1e-4, ("m²/s", "cm²/s"): 1e4, ("meV", "eV/atom"): 1e-3,
    ("10⁻⁶/K", "1/K"): 1e-6, ("Pa s", "mPa s"): 1e3, ("cP", "mPa s"): 1.0,
}  # fmt: skip
"""How many of the second unit the first one is."""
MENTIONED = 6
"""Values, at most, that a reference of none may have meant."""
SPELLINGS = {"A": "Å", "A^3": "Å³", "A3": "Å³", "J/m^2": "J/m²", "mJ/m^2": "mJ/m²", "J/m2": "J/m²", "mJ/m2": "mJ/m²",
             "eV/A^3": "eV/Å³", "eV/A3": "eV/Å³", "cm-1": "cm⁻¹", "cm^-1": "cm⁻¹", "A^3/atom": "Å³/atom",
             "1e-6/K": "10⁻⁶/K", "K^-1": "1/K", "K⁻¹": "1/K", "cm2/s": "cm²/s", "cm^2/s": "cm²/s"}  # fmt: skip
"""Units as keyboards have them."""


def factor(unit: str, wanted: str) -> float:
    """How many of the unit `wanted` one of `unit` is. Raises ValueError for units of different things."""
    unit, wanted = SPELLINGS.get(unit, unit), SPELLINGS.get(wanted, wanted)
    if unit == wanted:
        return 1.0
    if (unit, wanted) in FACTORS:
        return FACTORS[unit, wanted]
    if (wanted, unit) in FACTORS:
        return 1 / FACTORS[wanted, unit]
    raise ValueError(f"the unit {unit!r} cannot be converted into {wanted!r}")


def compared(
    results: Sequence[PropertyResult], reference: References | None, others: Sequence[ReferenceValue] = ()
) -> list[Comparison]:
    """Every value with its reference: a value of the study's list, one of `others`, or the reference potential's.

    A reference whose unit does not fit is none, and its source says why.
    """
    given = {_key(value): value for value in reversed([*(reference.values if reference else []), *others])}
    name = reference.potential if reference is not None else None
    own = {
        (result.structure, result.property, value.name, value.where): value
        for result in results
        if result.potential == name
        for value in result.values
    }
    rows = []
    for result in results:
        for value in result.values:
            key = (result.structure, result.property, value.name, value.where)
            known = given.get(key)
            other = own.get(key) if result.potential != name else None
            rows.append(_row(result, value, known, other, name))
    return rows


def unmatched(results: Sequence[PropertyResult], reference: References | None) -> list[str]:
    """What is said of references that are of no value: which, and which values there are that may be meant."""
    known = [(r.structure, r.property, value.name, value.where) for r in results for value in r.values]
    said = []
    for value in reference.values if reference is not None else []:
        if _key(value) in known:
            continue
        near = [k for k in known if k[:3] == _key(value)[:3]] or [
            k for k in known if k[:2] == _key(value)[:2] and k[2][:1] == value.name[:1]
        ]
        names = list(dict.fromkeys(f"{name} {where}".strip() for *_, name, where in near))[:MENTIONED]
        there = f"; there is {', '.join(names)}" if names else ""
        wanted = f"{value.name} {value.where}".strip()
        said.append(f"the reference {wanted} of {value.structure}, {value.property}, is of no value{there}")
    return said


def _key(value: ReferenceValue) -> tuple[str, str, str, str]:
    return value.structure, value.property, value.name, value.where


def _row(
    result: PropertyResult, value: Value, known: ReferenceValue | None, other: Value | None, potential: str | None
) -> Comparison:
    about = {
        "structure": result.structure, "potential": result.potential, "property": result.property,
        "name": value.name, "where": value.where, "value": value.value, "unit": value.unit,
        "uncertainty": value.uncertainty,
    }  # fmt: skip
    if known is not None:
        try:
            times = factor(known.unit, value.unit)
        except ValueError as error:
            return Comparison(**about, reference=None, source=f"{known.source or 'reference'}: {error}")
        uncertainty = None if known.uncertainty is None else known.uncertainty * times
        return Comparison(
            **about, reference=known.value * times, reference_uncertainty=uncertainty, source=known.source or "given"
        )
    if other is not None:
        return Comparison(
            **about, reference=other.value, reference_uncertainty=other.uncertainty, source=potential or ""
        )
    return Comparison(**about, reference=None)
