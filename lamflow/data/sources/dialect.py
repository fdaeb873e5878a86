"""How a source writes its labels: names, units and signs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lamflow.data.fields import FORCE_MAG
from lamflow.data.frames import Frame, LabeledFrame, Labels
from lamflow.errors import InputError
from lamflow.units import BOHR, EV_PER_A3_IN_GPA, HARTREE, RYDBERG

KCAL_PER_MOL, KJ_PER_MOL = 0.0433641042, 0.0103642696
"""eV (CODATA 2018)."""
ENERGIES = {
    "eV": 1.0, "meV": 1e-3, "Hartree": HARTREE, "Ry": RYDBERG, "kcal/mol": KCAL_PER_MOL, "kJ/mol": KJ_PER_MOL,
}  # fmt: skip
LENGTHS = {"Å": 1.0, "bohr": BOHR, "nm": 10.0}
STRESSES = {
    "eV/Å³": 1.0, "GPa": 1 / EV_PER_A3_IN_GPA, "kbar": 0.1 / EV_PER_A3_IN_GPA, "Hartree/bohr³": HARTREE / BOHR**3,
    "Ry/bohr³": RYDBERG / BOHR**3,
}  # fmt: skip
SPELLED = {"A": "Å", "Ang": "Å", "Angstrom": "Å", "angstrom": "Å", "Bohr": "bohr", "ev": "eV", "Ha": "Hartree",
           "hartree": "Hartree", "Rydberg": "Ry", "kB": "kbar", "kBar": "kbar", "^3": "³", "**3": "³"}  # fmt: skip
"""Other ways to write parts of a unit."""
HINTS = {"energy": "energy_unit", "forces": "forces_unit", "stress": "stress_unit"}
"""Names under which files say their units."""
ALIASES: Mapping[str, tuple[str, ...]] = {
    "energy": (
        "ref_energy", "dft_energy", "total_energy", "corrected_total_energy", "uncorrected_total_energy", "u0",
    ),
    "forces": ("force", "ref_forces", "dft_forces"),
    "stress": ("ref_stress", "dft_stress"),
    "virial": ("ref_virial", "ref_virials", "dft_virial", "dft_virials"),
}  # fmt: skip
"""Names under which public data sets have their labels, in whatever case."""
MATERIALS_PROJECT = {"corrected": "corrected_total_energy", "uncorrected": "uncorrected_total_energy"}
"""Its two energies: with its shifts by composition, and as DFT gave it."""
REFUSED = {
    "keys": "the labels of {what} have their names; leave keys out",
    "units": "the numbers of {what} have their units; leave units out",
    "trajectory": "{what} says itself what its trajectories are; leave trajectory out",
    "energy": "{what} has one energy; leave energy out",
}
TRAJECTORY_KEYS = ("mptrj_traj_id", "mp_id", "material_id", "trajectory", "traj_id", "sid", "config_name", "name")


@dataclass(frozen=True, slots=True)
class Scale:
    """Factors that bring a source's numbers to eV, Å, eV/Å and eV/Å³ with ASE's sign.

    per_atom  energies are those of an atom
    """

    energy: float = 1.0
    length: float = 1.0
    forces: float = 1.0
    stress: float = 1.0
    per_atom: bool = False

    def applied(self, item: LabeledFrame, *, has_stress: bool) -> LabeledFrame:
        """`item`, whose numbers are the source's, in lamflow's units.

        has_stress  its virial was made of a stress, by the volume in the source's units; else it is an energy
        """
        if self == Scale():
            return item
        frame, labels = item.frame, item.labels
        scaled = replace(frame, positions=frame.positions * self.length, cell=frame.cell * self.length)
        virial = labels.virial
        if virial is not None:
            virial = virial * (self.stress * self.length**3 if has_stress else self.energy)
        energy = labels.energy * self.energy * (frame.natoms if self.per_atom else 1)
        others = dict(labels.others)
        if FORCE_MAG in others:  # an energy over a moment in Bohr magnetons
            others[FORCE_MAG] = others[FORCE_MAG] * self.energy
        forces = labels.forces * self.forces
        return LabeledFrame(scaled, replace(labels, energy=energy, forces=forces, virial=virial, others=others))


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a source is to be read.

    format      name of its format, where its files' names do not tell
    keys        names of labels, by the names of lamflow
    scale       None: as the files say it, else as lamflow's own units
    trajectory  key that names the trajectory of a frame; the usual ones if empty
    energy      of the Materials Project's two: `corrected` or `uncorrected`
    method      level of theory of all frames; what the files say if empty
    """

    format: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    scale: Scale | None = None
    trajectory: str = ""
    energy: str = ""
    method: str = ""

    def require(self, what: str, heeded: Collection[str]) -> None:
        """Raise InputError for a setting that is not among `heeded`, those that data of the kind `what` go by."""
        given = {
            "keys": bool(self.keys), "units": self.scale is not None, "trajectory": bool(self.trajectory),
            "energy": bool(self.energy),
        }  # fmt: skip
        for name in sorted(name for name, is_given in given.items() if is_given and name not in heeded):
            raise InputError(f"{name}: {REFUSED[name].format(what=what)}")

    def trajectory_of(self, carried: Mapping[str, Any], number: int) -> str:
        """The name of the trajectory of frame `number`; "" for one that has none.

        carried  what the frame has by its names. Raises InputError where it lacks the one that the study gives.
        """
        name = self.trajectory or first_of(TRAJECTORY_KEYS, carried)
        if self.trajectory and self.trajectory not in carried:
            some = ", ".join(sorted(map(str, carried))[:12])
            raise InputError(f"trajectory: frame {number} has no {self.trajectory}; it has {some}")
        return "" if name is None or carried[name] is None else str(carried[name])


def unit_factor(text: str, table: Mapping[str, float]) -> float:
    """The factor of a unit as people write it. Raises InputError for one that is not known."""
    spelled = text.strip()
    for other, word in SPELLED.items():
        spelled = "/".join(
            word if part == other else part.replace(other, word) if other in ("^3", "**3") else part
            for part in spelled.split("/")
        )
    spelled = spelled.replace("A³", "Å³")
    if spelled not in table:
        raise InputError(f"the unit {text!r} is not known here; known are {', '.join(table)}")
    return table[spelled]


def force_units() -> dict[str, float]:
    """Factors to eV/Å of an energy over a length."""
    return {
        f"{energy}/{length}": factor / size for energy, factor in ENERGIES.items() for length, size in LENGTHS.items()
    }


def scale_of(hints: Mapping[str, Any]) -> Scale:
    """The scale that a frame's own words ask for: what they do not name is in the unit of the energy and Å.

    Raises InputError for a unit that is not known.
    """
    tables = {"energy": ENERGIES, "forces": force_units(), "stress": STRESSES}
    found = {name: unit_factor(str(hints[key]), tables[name]) for name, key in HINTS.items() if key in hints}
    energy = found.get("energy", 1.0)
    return Scale(energy, 1.0, found.get("forces", energy), found.get("stress", energy))


def first_of(names: Iterable[str], carried: Iterable[str]) -> str | None:
    """The first of `names` that is among `carried`."""
    present = set(carried)
    return next((name for name in names if name in present), None)


def aliased(
    keys: Mapping[str, str], carried: Mapping[str, Any], usual: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    """`keys`, and the names by which public data sets call the labels that have none of their `usual` names.

    carried  what a frame has by its names. Raises InputError where two of them, with other values, could be meant.
    """
    chosen = dict(keys)
    for label, names in ALIASES.items():
        if label in chosen:
            continue
        own = [name for name in usual.get(label, (label,)) if carried.get(name) is not None][:1]
        known = {label, f"{label}s", *names}
        others = [name for name in carried if name.lower() in known and carried[name] is not None and name not in own]
        candidates = [*own, *others]
        candidates = [*candidates[:1], *(name for name in candidates[1:] if not _same(carried, name, candidates[0]))]
        if len(candidates) > 1:
            raise InputError(f"{' and '.join(candidates)} may both be its {label}; say keys: {{{label}: NAME}}")
        if candidates and not own:
            chosen[label] = candidates[0]
    return chosen


def _same(carried: Mapping[str, Any], one: str, other: str) -> bool:
    """Two names have the same values."""
    first, second = np.asarray(carried[one]), np.asarray(carried[other])
    numbers = first.dtype.kind in "fiu" and second.dtype.kind in "fiu" and first.size == second.size
    return bool(numbers and np.allclose(first.ravel(), second.ravel(), rtol=1e-9, atol=1e-9, equal_nan=True))


def stress_labels(energy: float, forces: Any, stress: Any, frame: Frame, shape: str = "stress") -> Labels:
    """Labels with a stress (3, 3) or (6,) in eV/Å³ of ASE's sign, or a virial in eV, as the word `shape` says."""
    array = None if stress is None else np.asarray(stress, dtype=np.float64)
    if array is None or not frame.pbc or not array.size:
        return Labels(float(energy), np.asarray(forces, dtype=np.float64))
    if shape == "virial":
        return Labels(float(energy), np.asarray(forces, dtype=np.float64), array.reshape(3, 3))
    return Labels.from_stress(float(energy), np.asarray(forces, dtype=np.float64), array, frame.volume)
