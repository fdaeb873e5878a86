"""ABACUS: labels by plane waves, or by numerical atomic orbitals where these are given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from pydantic import Field, JsonValue, model_validator

from lamflow.config.engines import ExaminedStudy
from lamflow.config.section import Element, InputFile
from lamflow.data import FailureKind, Frame, LabeledFrame, Labels
from lamflow.data.fields import FORCE_MAG
from lamflow.data.io import read_labeled
from lamflow.engines import process
from lamflow.engines.commands import PROGRAMS
from lamflow.engines.deltaspin import DeltaSpin, abacus_keys, held_moments, with_magnetic_forces
from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example, silicon_frames
from lamflow.engines.own_relaxation import OwnRelaxation
from lamflow.engines.periodic import PeriodicSettings, boxed
from lamflow.engines.process import on_path
from lamflow.engines.program.relaxing import RelaxingLabeler, in_order
from lamflow.engines.protocol import LabelFailure
from lamflow.engines.pseudopotentials import check_orbitals, check_pseudopotentials
from lamflow.engines.species import aligned, by_element, by_species, check_by_element, linked
from lamflow.errors import InputError
from lamflow.units import BAR_IN_KBAR, BOLTZMANN, RYDBERG, Rydberg

FORBIDDEN = {
    "calculation": "labels are single points",
    "cal_force": "forces are always computed",
    "cal_stress": "the stress is always computed",
    "suffix": "lamflow sets it",
    "pseudo_dir": "pseudopotentials are given as files",
    "orbital_dir": "orbitals are given as files",
    "stru_file": "lamflow writes the structure",
    "kpoint_file": "give kspacing",
    "basis_type": "it is lcao when orbitals are given, pw otherwise",
}
REMEDIES: dict[FailureKind, list[dict[str, JsonValue]]] = {
    "unconverged": [
        {"scf_nmax": 200, "mixing_beta": 0.2},
        {"scf_nmax": 400, "mixing_beta": 0.05, "mixing_ndim": 20},
    ]
}
BY_ELEMENT: dict[str, float | None] = {"orbital_corr": -1, "hubbard_u": 0.0}
"""Keywords of species, and what a species without one gets."""
LOG = "OUT.ABACUS/running_scf.log"


class Abacus(PeriodicSettings):
    """Labels by ABACUS: one self-consistent calculation with forces and stress a frame.

    Without `kspacing` and `kpoints` k points are 0.2 Å⁻¹ apart.
    """

    forbidden = FORBIDDEN
    spacing = 0.2
    relaxed_cells = frozenset({"all", "volume", "shape", "none"})
    obtained = "install ABACUS (conda install -c conda-forge abacus)"

    engine: Literal["abacus"]
    pseudopotentials: dict[Element, InputFile]
    """One file an element."""
    orbitals: dict[Element, InputFile] = Field(default_factory=dict)
    """Numerical atomic orbitals, one file an element; with them the basis is LCAO, without them plane waves."""
    ecutwfc: Rydberg
    """Kinetic energy cutoff; with orbitals that of the grid."""
    input: dict[str, JsonValue] = Field(default_factory=dict)
    """Further keywords of INPUT. Those of species are given by element: `hubbard_u: {Fe: 4.0}`."""
    deltaspin: DeltaSpin | None = None
    """Labels with magnetic forces, for models that learn moments."""
    command: list[str] = ["abacus"]
    """How ABACUS is started, for example `[mpirun, -np, "4", abacus]`."""
    remedies: dict[FailureKind, list[dict[str, JsonValue]]] = REMEDIES

    @model_validator(mode="after")
    def _fits(self) -> Self:
        PROGRAMS["abacus"].check(self.command)
        lacking = sorted(set(self.pseudopotentials) ^ set(self.orbitals)) if self.orbitals else []
        if lacking:
            what = "orbitals" if lacking[0] in self.pseudopotentials else "pseudopotentials"
            raise ValueError(f"{what}: there is none for {lacking[0]}")
        check_by_element("input", {key.lower(): value for key, value in self.input.items()}, BY_ELEMENT)
        return self

    @property
    def uses_spins(self) -> bool:
        """See LabelerSettings."""
        return self.deltaspin is not None

    @property
    def held_elements(self) -> list[str] | None:
        """See LabelerSettings."""
        return self.deltaspin.elements if self.deltaspin is not None else None

    @property
    def gives_virial(self) -> bool:
        """Not with moments that are held."""
        return self.deltaspin is None

    def examine(self, study: ExaminedStudy) -> list[str]:
        """Whether pseudopotentials and orbitals are of the elements that they are given for."""
        try:
            check_pseudopotentials(self.pseudopotentials, study.elements)
            check_orbitals(self.orbitals, study.elements)
        except ValueError as error:
            raise InputError(f"label.{error}") from error
        return super().examine(study)

    def known_elements(self) -> set[str] | None:
        """Those with a pseudopotential."""
        return set(self.pseudopotentials)

    def seconds(self, natoms: int) -> float:
        """As one core takes."""
        return 5.0 + 0.05 * natoms**2


class AbacusLabeler(RelaxingLabeler[Abacus]):
    """Labeler by ABACUS."""

    output = "abacus.out"
    version_pattern = r"ABACUS v(\S+)"
    results = ("OUT.ABACUS",)
    temporary_files = ("OUT.ABACUS/*CHG*", "OUT.ABACUS/*.cube", "OUT.ABACUS/WAVEFUNC*")

    def files(self, settings: Abacus, frame: Frame) -> dict[str, str | Path]:
        """INPUT, STRU, KPT, and the files of pseudopotentials and orbitals."""
        return self._files(settings, frame, {})

    def relaxing_files(self, settings: Abacus, frame: Frame, how: OwnRelaxation) -> dict[str, str | Path]:
        """See RelaxingLabeler; by ABACUS's conjugate gradients. Raises ValueError where moments are held."""
        if settings.deltaspin is not None:
            raise ValueError("ABACUS relaxes no structure while moments are held (deltaspin)")
        return self._files(settings, frame, _relaxing(how))

    def read_relaxed(self, frame: Frame, folder: Path) -> Frame | LabelFailure:
        """The last structure in OUT.ABACUS."""
        try:
            steps = read_labeled(folder, "abacus/relax")
        except (InputError, ValueError, IndexError, AssertionError) as error:
            return LabelFailure(f"ABACUS's output has no structure: {error}", kind="incomplete")
        return in_order(steps[-1].frame, frame, by_species(frame))

    def _files(self, settings: Abacus, frame: Frame, more: Mapping[str, Any]) -> dict[str, str | Path]:
        """The input with further keywords."""
        box, order = boxed(frame), by_species(frame)
        keys: dict[str, Any] = {
            "suffix": "ABACUS", "calculation": "scf", "basis_type": "lcao" if settings.orbitals else "pw",
            "ecutwfc": settings.ecutwfc, "cal_force": 1, "cal_stress": 1, "pseudo_dir": "./", "orbital_dir": "./",
            "scf_thr": 1e-7, "symmetry": 0, "out_chg": 0,
            **{key.lower(): value for key, value in settings.input.items()},
        }  # fmt: skip
        moments: Any = settings.moments([frame.symbols[place] for place in order]) or None
        held: list[bool] | None = None
        if settings.deltaspin is not None:
            moments, held = held_moments(settings.deltaspin, frame, order)
            keys = {**keys, **abacus_keys(settings.deltaspin), **{k.lower(): v for k, v in settings.input.items()}}
        elif settings.magnetic_moments and str(keys.get("nspin")) != "4":
            keys["nspin"] = 2
        keys |= more
        if frame.electronic_temperature is not None:
            width = frame.electronic_temperature * BOLTZMANN / RYDBERG
            keys.update(smearing_method="fd", smearing_sigma=width)
        grid, symbols = settings.mesh(frame) or (1, 1, 1), [frame.symbols[place] for place in order]
        keys = by_element(keys, BY_ELEMENT, symbols)
        used = linked("pseudopotentials", settings.pseudopotentials, symbols)
        orbitals = linked("orbitals", settings.orbitals, symbols) if settings.orbitals else {}
        check_pseudopotentials(settings.pseudopotentials, used)
        check_orbitals(settings.orbitals, orbitals)
        names = [{element: name for element, (name, _) in files.items()} for files in (used, orbitals)]
        stru = _stru(box, order, *names, moments=moments, held=held)
        return {
            "INPUT": "INPUT_PARAMETERS\n" + "".join(f"{key} {_word(value)}\n" for key, value in keys.items()),
            "KPT": f"K_POINTS\n0\nGamma\n{grid[0]} {grid[1]} {grid[2]} 0 0 0\n",
            "STRU": stru,
            **dict((*used.values(), *orbitals.values())),
        }

    def read(self, settings: Abacus, frame: Frame, folder: Path) -> Labels | LabelFailure:
        """The labels in OUT.ABACUS."""
        return read_output(folder, frame, settings.deltaspin)


def _relaxing(how: OwnRelaxation) -> dict[str, Any]:
    """Keywords for a relaxation."""
    keys = {"calculation": "relax" if how.cell == "none" else "cell-relax", "relax_nmax": how.steps,
            "force_thr_ev": how.fmax}  # fmt: skip
    if how.cell == "none":
        return keys
    fixed = {"all": "None", "volume": "shape", "shape": "volume"}[how.cell]
    pressures = {f"press{axis}": how.pressure * BAR_IN_KBAR for axis in (1, 2, 3)}
    return {**keys, "stress_thr": how.stress * BAR_IN_KBAR, "fixed_axes": fixed, **pressures}


def _stru(
    box: Frame, order: Any, potentials: dict[str, str], orbitals: dict[str, str], *, moments: Any,
    held: list[bool] | None,
) -> str:  # fmt: skip
    """The structure as ABACUS reads it, by dpdata; moments in μB of atoms in `order`, and which of them are held."""
    from dpdata.formats.abacus.stru import make_unlabeled_stru

    symbols = [box.symbols[place] for place in order]
    names = list(potentials)
    data = {
        "atom_names": names,
        "atom_numbs": [symbols.count(name) for name in names],
        "atom_types": np.array([names.index(symbol) for symbol in symbols]),
        "cells": box.cell[None],
        "coords": box.positions[order][None],
        "orig": np.zeros(3),
    }
    masses = [float(atomic_masses[atomic_numbers[name]]) for name in names]
    if held is not None:
        moments = [list(map(float, moment)) for moment in moments]
    text = make_unlabeled_stru(
        data,
        0,
        pp_file=potentials,
        numerical_orbital=orbitals or None,
        mass=masses,
        mag=moments,
        sc=None if held is None else [[flag] * 3 for flag in held],
    )
    return str(text)


def read_output(folder: Path, frame: Frame, deltaspin: DeltaSpin | None = None) -> Labels | LabelFailure:
    """The labels of an ABACUS calculation in `folder` for `frame`, or why there are none.

    deltaspin  how moments were held; magnetic forces are left out without
    """
    path = folder / LOG
    text = path.read_text(errors="replace", encoding="utf-8") if path.is_file() else ""
    tail = process.tail(path)
    if re.search(r"convergence has not been achieved|SCF IS NOT CONVERGED", text, re.IGNORECASE):
        return LabelFailure("the SCF cycle did not converge", tail, "unconverged")
    if not re.search(r"charge density convergence is achieved|#SCF IS CONVERGED#", text):
        error = re.search(r"^.*(?:ERROR|WARNING_QUIT|NOTICE).*$", text, re.M)
        if error:
            return LabelFailure(f"ABACUS stopped: {error.group(0).strip()}", tail)
        return LabelFailure("ABACUS stopped early", tail, "incomplete")
    try:
        [labeled] = read_labeled(folder, "abacus/scf")
    except (InputError, ValueError, IndexError) as error:
        return LabelFailure(f"ABACUS's output has no energy and forces: {error}", tail, "incomplete")
    if deltaspin is not None:
        found = with_magnetic_forces(deltaspin, labeled, frame, by_species(frame))
        return found if isinstance(found, LabelFailure) else aligned(found, boxed(frame))
    values = {name: value for name, value in labeled.labels.fields.items() if name != FORCE_MAG}
    return aligned(LabeledFrame(labeled.frame, Labels.of(values, frame.natoms)), boxed(frame))


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _example(folder: Path) -> Example:
    pseudopotential, orbital = folder / "Si.upf", folder / "Si.orb"
    pseudopotential.write_text("<UPF>", encoding="utf-8")
    orbital.write_text("", encoding="utf-8")
    settings = {"pseudopotentials": {"Si": pseudopotential}, "ecutwfc": 20, "kspacing": 1.1}
    return Example(settings, silicon_frames(), unavailable="ABACUS's potential of Si does not come with it")


ENGINE = Engine(
    "abacus",
    on_path("abacus"),
    install="conda install -c conda-forge abacus",
    image="label-abacus",
    label=Role(Abacus, AbacusLabeler, example=_example),
)
