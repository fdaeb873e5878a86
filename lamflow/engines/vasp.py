"""VASP: labels by a licensed code with licensed potentials, which never leave the folder that the user names."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from lamflow.config.engines import ExaminedStudy
from lamflow.config.section import Element, InputFile, MountedFolder, expand, text_of
from lamflow.data import FailureKind, Frame, LabeledFrame, Labels
from lamflow.data.fields import ENERGY, FORCE_MAG, SPIN, VIRIAL
from lamflow.data.files import file_hash
from lamflow.data.io import labels_from_ase
from lamflow.engines.commands import PROGRAMS
from lamflow.engines.deltaspin import held_moments, with_magnetic_forces
from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example, silicon_frames
from lamflow.engines.own_relaxation import OwnRelaxation
from lamflow.engines.periodic import PeriodicSettings, boxed
from lamflow.engines.process import on_path
from lamflow.engines.program.relaxing import RelaxingLabeler, in_order
from lamflow.engines.program.settings import ProgramSettings
from lamflow.engines.protocol import LabelFailure
from lamflow.engines.pseudopotentials import check_potcar
from lamflow.engines.species import aligned, by_element, by_species, check_by_element
from lamflow.engines.vasp_incar import (
    BY_ELEMENT,
    check_moments,
    check_tags,
    is_noncollinear,
    is_on,
    number,
    read_incar,
    written,
)
from lamflow.engines.vasp_moments import ConstrainedMoments, VaspDeltaSpin, check_held_moments
from lamflow.errors import InputError
from lamflow.units import BAR_IN_KBAR, BOLTZMANN

CELLS = {"none": 2, "all": 3, "volume": 8}
"""ISIF of what of a cell changes beside the positions; 8 since VASP 6.4.1."""
DEFAULTS: dict[str, Any] = {"NSW": 0, "IBRION": -1, "ISIF": 2, "LWAVE": False, "LCHARG": False}
REMEDIES: dict[FailureKind, list[dict[str, JsonValue]]] = {
    "unconverged": [
        {"ALGO": "Normal", "NELM": 200},
        {"NELM": 400, "AMIX": 0.1, "BMIX": 0.01, "AMIX_MAG": 0.2, "BMIX_MAG": 0.01},
        {"ALGO": "All", "NELM": 400},
    ]
}


class Vasp(PeriodicSettings):
    """Labels by VASP: one self-consistent calculation with forces and stress a frame.

    Without `kspacing` and `kpoints` the INCAR must have KSPACING.
    """

    nonphysical_keys = ProgramSettings.nonphysical_keys | {
        "potcars",
        "potcar_names",
        "potcar_sha256",
    }  # read: see input_hash
    relaxed_cells = frozenset(CELLS)
    obtained = "VASP is licensed, see vasp.at; load its module or put it on PATH"

    engine: Literal["vasp"]
    incar: InputFile | None = None
    """An INCAR of your own. `input`, `kspacing`, `kpoints` and `gamma` go before what it says."""
    input: dict[str, JsonValue] = Field(default_factory=dict)
    """INCAR tags, on top of those of the file. Those of species are given by element: `LDAUU: {Fe: 4.0}`."""
    gamma: bool | None = None
    """Meshes are centred at Γ; KGAMMA of the INCAR if absent, which VASP takes for true where there is none."""
    potcars: MountedFolder
    """Folder with a folder for each potential, for example `${VASP_PP_PATH}/potpaw_PBE.64`. Nothing in it is copied
    into the run: on a cluster, mount it into the label pods. Runs keep the hashes of the potentials."""
    potcar_names: dict[Element, str] = Field(default_factory=dict)
    """Folder or file of an element's potential where it is not called like the element, for example `Ge: Ge_d`."""
    potcar_sha256: dict[Element, str] = Field(default_factory=dict)
    """Hash that an element's potential must have; runs write down those they begin with."""
    deltaspin: VaspDeltaSpin | None = None
    """Labels with magnetic forces, by a VASP with the DeltaSpin patch."""
    constrained_moments: ConstrainedMoments | None = None
    """Labels with magnetic forces, by the penalty that every VASP has."""
    command: list[str] = ["vasp_std"]
    """How VASP is started, for example `[mpirun, -np, "16", vasp_std]`; `[vasp_ncl]` if absent and moments are held."""
    remedies: dict[FailureKind, list[dict[str, JsonValue]]] = REMEDIES

    @model_validator(mode="before")
    @classmethod
    def _noncollinear_program(cls, given: Any) -> Any:
        holds = isinstance(given, dict) and (given.get("deltaspin") or given.get("constrained_moments"))
        return {"command": ["vasp_ncl"], **given} if holds else given

    @model_validator(mode="after")
    def _fits(self) -> Self:
        PROGRAMS["vasp"].check(self.command)
        if self.deltaspin is not None and self.constrained_moments is not None:
            raise ValueError("deltaspin and constrained_moments both hold moments; give one of them")
        if self.held is not None and self.magnetic_moments:
            raise ValueError("magnetic_moments: moments are held where each frame has them; leave it out")
        for element, name in self.potcar_names.items():
            if name.startswith("/") or ".." in Path(name).parts:
                raise ValueError(f"potcar_names.{element}: {name!r} is not below the folder potcars")
        if self.incar is not None and not expand(self.incar).is_file():
            return self
        tags = self.tags()
        check_tags(tags)
        check_held_moments(self.held, tags, self.command)
        check_by_element("INCAR", tags, BY_ELEMENT)
        for key in ("kspacing", "kpoints"):
            if getattr(self, key) is not None and "KSPACING" in {tag.upper() for tag in self.input}:
                raise ValueError(f"input.KSPACING: there is {key} too; give one of them")
        if self.gamma is not None and "KGAMMA" in {tag.upper() for tag in self.input}:
            raise ValueError("input.KGAMMA: there is gamma too; give one of them")
        if self.kspacing is None and self.kpoints is None:
            spacing = tags.get("KSPACING")
            if spacing is None:
                raise ValueError("k points: give kspacing, kpoints, or an INCAR with KSPACING")
            if not number(spacing) > 0:
                raise ValueError(f"INCAR: KSPACING = {spacing} Å⁻¹ must be more than 0")
        if self.magnetic_moments and "MAGMOM" in tags:
            raise ValueError("magnetic_moments: the INCAR has a MAGMOM; give one of them")
        return self

    @property
    def held(self) -> VaspDeltaSpin | ConstrainedMoments | None:
        """How moments are held; None where they are free."""
        return self.deltaspin or self.constrained_moments

    @property
    def uses_spins(self) -> bool:
        """See LabelerSettings."""
        return self.held is not None

    @property
    def held_elements(self) -> list[str] | None:
        """See LabelerSettings."""
        return self.held.elements if self.held is not None else None

    @property
    def gives_virial(self) -> bool:
        """Not with the penalty, whose part in the stress is not known."""
        return self.constrained_moments is None

    def tags(self) -> dict[str, Any]:
        """All INCAR tags that the user gave."""
        given = read_incar(text_of(self.incar)) if self.incar is not None else {}
        centre = {} if self.gamma is None else {"KGAMMA": self.gamma}
        return {**given, **{tag.upper(): value for tag, value in self.input.items()}, **centre}

    def potcar(self, element: str) -> Path:
        """Where the potential of an element lies. Raises ValueError when it does not."""
        folder = expand(Path(self.potcars))
        if folder.is_file():
            raise ValueError(f"{folder} is a file; name the folder that has the potentials")
        path = folder / self.potcar_names.get(element, element)
        path = path if path.is_file() else path / "POTCAR"
        if not path.is_file():
            raise ValueError(f"there is no POTCAR for {element}: {path} is missing; see potcars and potcar_names")
        return path

    def examine(self, study: ExaminedStudy) -> list[str]:
        """Whether every element has a potential. Where the folder is not on this machine only pods can tell."""
        super().examine(study)
        try:
            folder = expand(Path(self.potcars))
            lacking = not folder.exists()
            for element in [] if lacking else study.elements:
                path = self.potcar(element)
                check_potcar(path, path.read_text(errors="replace", encoding="utf-8"), element)
        except ValueError as error:
            raise InputError(f"label.potcars: {error}") from error
        return [f"label.potcars: there is no folder {folder} here; label pods must have it"] if lacking else []

    def pinned(self, study: ExaminedStudy) -> Self:
        """With the hashes of the potentials, where they are on this machine."""
        try:
            hashes = {element: file_hash(self.potcar(element)) for element in study.elements}
        except ValueError:
            return self
        return self.model_copy(update={"potcar_sha256": {**hashes, **self.potcar_sha256}})

    @classmethod
    def replaced_file(cls, begun: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
        """See LabelerSettings. Licensed potentials are only known by their hashes."""
        if any(begun.get(key) != now.get(key) for key in ("potcars", "potcar_names")):
            return None
        known = begun.get("potcar_sha256") or {}
        for element, digest in (now.get("potcar_sha256") or {}).items():
            if known.get(element, digest) != digest:
                return (
                    f"the POTCAR of {element} is not the one that the run began with: its SHA-256 was "
                    f"{known[element][:12]}…, now it is {digest[:12]}…"
                )
        return None

    def seconds(self, natoms: int) -> float:
        """As one node takes."""
        return 20.0 + 0.05 * natoms**2


class VaspLabeler(RelaxingLabeler[Vasp]):
    """Labeler by VASP."""

    output = "vasp.out"
    results = ("OUTCAR", "OSZICAR")
    version_pattern = r"^\s*vasp\.(\S+)"
    temporary_files = (
        "POTCAR",
        "WAVECAR",
        "CHG",
        "CHGCAR",
        "vasprun.xml",
        "PROCAR",
        "DOSCAR",
        "EIGENVAL",
        "XDATCAR",
        "vaspout.h5",
    )

    def unsupported_reason(self, frame: Frame) -> str | None:
        """See ChecksFrames; without the potentials only pods can tell."""
        try:
            here = expand(Path(self.settings.potcars)).exists()
        except ValueError:
            here = False
        return super().unsupported_reason(frame) if here else None

    def files(self, settings: Vasp, frame: Frame) -> dict[str, str | Path]:
        """INCAR, POSCAR, POTCAR, and KPOINTS unless the INCAR has KSPACING."""
        return self._files(settings, frame, {})

    def relaxing_files(self, settings: Vasp, frame: Frame, how: OwnRelaxation) -> dict[str, str | Path]:
        """See RelaxingLabeler; by conjugate gradients. EDIFFG knows forces alone; the stress ends nothing.

        Raises ValueError where moments are held.
        """
        if settings.held is not None:
            raise ValueError("VASP relaxes no structure while moments are held")
        tags = {"IBRION": 2, "NSW": how.steps, "ISIF": CELLS[how.cell], "EDIFFG": -how.fmax,
                "PSTRESS": how.pressure * BAR_IN_KBAR}  # fmt: skip
        return self._files(settings, frame, tags)

    def read_relaxed(self, frame: Frame, folder: Path) -> Frame | LabelFailure:
        """The last structure in OUTCAR."""
        from ase.io import read

        path = folder / "OUTCAR"
        text = path.read_text(errors="replace", encoding="utf-8") if path.is_file() else ""
        if "TOTAL-FORCE" not in text:
            return LabelFailure("OUTCAR has no forces" if text else "there is no OUTCAR", kind="incomplete")
        return in_order(Frame.from_ase(read(path, format="vasp-out", index=-1)), frame, by_species(frame))

    def _files(self, settings: Vasp, frame: Frame, more: Mapping[str, Any]) -> dict[str, str | Path]:
        """The input with further tags."""
        from ase.io.vasp import write_vasp

        box, order = boxed(frame), by_species(frame)
        tags = {**DEFAULTS, **settings.tags(), **more}
        ordered = [frame.symbols[place] for place in order]
        tags = by_element(tags, BY_ELEMENT, ordered)
        moments = settings.moments(ordered)
        if settings.held is not None:
            tags = {**settings.held.tags(*held_moments(settings.held, frame, order)), **tags}
        elif moments and is_noncollinear(tags):
            tags["MAGMOM"] = " ".join(f"0 0 {moment:g}" for moment in moments)
        elif moments:
            runs = [(moment, len(list(run))) for moment, run in itertools.groupby(moments)]
            tags.update(ISPIN=2, MAGMOM=" ".join(f"{count}*{moment:g}" for moment, count in runs))
        else:
            check_moments(tags, ordered)
        if frame.electronic_temperature is not None:
            tags.update(ISMEAR=-1, SIGMA=frame.electronic_temperature * BOLTZMANN)
        poscar = io.StringIO()
        write_vasp(poscar, box.to_ase()[order], direct=True)
        made: dict[str, str | Path] = {"POSCAR": poscar.getvalue(), "POTCAR": _potcar(settings, ordered)}
        grid = settings.mesh(frame)
        if grid is not None:
            tags.pop("KSPACING", None)
            centre = "Gamma" if is_on(tags.pop("KGAMMA", True)) else "Monkhorst-Pack"
            made["KPOINTS"] = f"lamflow\n0\n{centre}\n{grid[0]} {grid[1]} {grid[2]}\n0 0 0\n"
        made["INCAR"] = "".join(f"{tag} = {written(value)}\n" for tag, value in sorted(tags.items()))
        return made

    def read(self, settings: Vasp, frame: Frame, folder: Path) -> Labels | LabelFailure:
        """The labels in OUTCAR; those of moments that are held in OSZICAR too."""
        parsed = _single_point(folder / "OUTCAR")
        if settings.held is not None and not isinstance(parsed, LabelFailure):
            parsed = _with_moments(settings.held, parsed, frame, folder)
        return parsed if isinstance(parsed, LabelFailure) else aligned(parsed, boxed(frame))


def read_outcar(path: Path, frame: Frame) -> Labels | LabelFailure:
    """The labels in an OUTCAR of one single point for `frame`, or why there are none."""
    parsed = _single_point(path)
    return parsed if isinstance(parsed, LabelFailure) else aligned(parsed, boxed(frame))


def _single_point(path: Path) -> LabeledFrame | LabelFailure:
    """What an OUTCAR has of one single point, or why it has nothing.

    The energy is the free energy (TOTEN), whose derivative the forces are. The file must end with VASP's accounting and
    the self-consistent cycle must have reached EDIFF. VASP 5 says so of every cycle, also of one that ran out of steps;
    there a cycle of NELM steps counts as unconverged.
    """
    from ase.io import read

    text = path.read_text(errors="replace", encoding="utf-8") if path.is_file() else ""
    if "General timing and accounting" not in text:
        return LabelFailure("OUTCAR is cut off" if text else "there is no OUTCAR", kind="incomplete")
    steps = len(re.findall(r"^-+ Iteration\s+\d+\(", text, re.M))
    limit = re.search(r"\bNELM\s*=\s*(\d+)", text)
    ran_out = limit is not None and steps >= int(limit.group(1)) and re.match(r"\s*vasp\.[1-5]\.", text) is not None
    if ran_out or "aborting loop because EDIFF is reached" not in text:
        return LabelFailure(f"the SCF cycle did not converge within {steps} steps (NELM)", kind="unconverged")
    atoms = read(path, format="vasp-out", index=-1)
    return LabeledFrame(Frame.from_ase(atoms), labels_from_ase(atoms))


def _with_moments(
    held: VaspDeltaSpin | ConstrainedMoments, parsed: LabeledFrame, frame: Frame, folder: Path
) -> LabeledFrame | LabelFailure:
    """The single point with magnetic forces, and without the penalty that held the moments.

    With a penalty moments end beside the frame's; the energy is moved to these by the magnetic forces, to first order.
    There is no virial, for the penalty's part in the stress is not known.
    """
    order = by_species(frame)
    moments, flags = held_moments(held, frame, order)
    found = held.read(folder, moments, flags)
    if isinstance(found, LabelFailure):
        return found
    values = {**parsed.labels.fields, FORCE_MAG: found.forces}
    if isinstance(held, ConstrainedMoments):
        moved = float((found.forces * (found.moments - moments))[flags].sum())
        values[ENERGY] = parsed.labels.energy - found.penalty + moved
        values.pop(VIRIAL, None)
    labeled = LabeledFrame(parsed.frame.with_fields(**{SPIN: found.moments}), Labels.of(values, frame.natoms))
    return with_magnetic_forces(held, labeled, frame, order)


def _potcar(settings: Vasp, symbols: list[str]) -> str:
    """The potentials of the species in their order, each with whole lines.

    Raises ValueError for one of another element, and for another than the run began with.
    """
    text = ""
    for element in dict.fromkeys(symbols):
        path, wanted = settings.potcar(element), settings.potcar_sha256.get(element)
        if wanted is not None and file_hash(path) != wanted:
            raise ValueError(f"the POTCAR of {element} is not the one that the run began with: its hash is another")
        potential = path.read_text(errors="replace", encoding="utf-8")
        check_potcar(path, potential, element)
        text += potential if potential.endswith("\n") else f"{potential}\n"
    return text


def _example(folder: Path) -> Example:
    (folder / "potcars" / "Si").mkdir(parents=True)
    (folder / "potcars" / "Si" / "POTCAR").write_text("a licensed file\n", encoding="utf-8")
    settings = {"potcars": str(folder / "potcars"), "kspacing": 1.1}
    return Example(settings, silicon_frames(), unavailable="potentials of VASP are licensed")


ENGINE = Engine(
    "vasp",
    on_path("vasp_std"),
    install="licensed: see vasp.at",
    image="label-vasp",
    label=Role(Vasp, VaspLabeler, example=_example),
)
