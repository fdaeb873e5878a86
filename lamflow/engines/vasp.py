"""VASP: labels by a licensed code with licensed potentials, which never leave the folder that the user names."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, JsonValue, model_validator

from lamflow.config.engines import ExaminedStudy
from lamflow.config.section import Element, InputFile, MountedFolder, expand, text_of
from lamflow.data import FailureKind, Frame, LabeledFrame, Labels
from lamflow.data.files import file_hash
from lamflow.data.io import labels_from_ase
from lamflow.engines.commands import PROGRAMS
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
from lamflow.errors import InputError
from lamflow.units import BAR_IN_KBAR, BOLTZMANN

FIXED: dict[str, tuple[int, ...]] = {"NSW": (0,), "IBRION": (-1, 0, 1, 2, 3), "ISIF": (2, 3)}
"""Tags that must have one of these values, for a label is one single point with its stress. Without ionic steps these
values of IBRION all mean a single point; the others compute force constants whatever NSW is."""
REFUSED = {
    "PSTRESS": "VASP adds this pressure to the stress, and its work to the energy",
    "ML_LMLFF": "labels would be those of VASP's own force field",
    "IMAGES": "a band of structures is no single point",
}
"""Tags that make something else of a label, where they are not zero or false."""
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


BY_ELEMENT: dict[str, float | None] = {
    "LDAUL": -1, "LDAUU": 0.0, "LDAUJ": 0.0, "RWIGS": None, "ROPT": None, "VDW_C6": None, "VDW_R0": None,
    "VDW_ALPHA": None,
}  # fmt: skip
"""Tags of species, and what a species without one gets; None where each needs its own."""


def is_on(value: Any) -> bool:
    """A tag has a value other than zero or false."""
    text = str(value).strip().strip(".").upper()
    return text not in ("F", "FALSE") and _number(text) != 0


def _check_tags(tags: Mapping[str, Any]) -> None:
    """Raise ValueError for tags with which a label would be something else."""
    for tag, allowed in FIXED.items():
        if tag in tags and str(tags[tag]) not in map(str, allowed):
            raise ValueError(f"INCAR: {tag} = {tags[tag]} is not allowed: a label is one single point with stress")
    for tag, why in REFUSED.items():
        if is_on(tags.get(tag, 0)):
            raise ValueError(f"INCAR: {tag} = {tags[tag]} is not allowed: {why}")
    if str(tags.get("I_CONSTRAINED_M", 0)) != "0":
        raise ValueError(
            "INCAR: I_CONSTRAINED_M: a penalty draws moments to where they are wanted, and what VASP prints of it "
            "gives no magnetic forces -dE/ds: its field (lambda*MW_perp) is that on moments smoothed within RWIGS, "
            "in modes 1 and 4 only the part across them, and whether energy and forces have the penalty in them is "
            "not documented; abacus holds moments (deltaspin)"
        )


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
    """An INCAR of your own."""
    input: dict[str, JsonValue] = Field(default_factory=dict)
    """INCAR tags, on top of those of the file. Those of species are given by element: `LDAUU: {Fe: 4.0}`."""
    gamma: bool = True
    """Meshes are centred at Γ."""
    potcars: MountedFolder
    """Folder with a folder for each potential, for example `${VASP_PP_PATH}/potpaw_PBE.64`. Nothing in it is copied
    into the run: on a cluster, mount it into the label pods. Runs keep the hashes of the potentials."""
    potcar_names: dict[Element, str] = Field(default_factory=dict)
    """Folder or file of an element's potential where it is not called like the element, for example `Ge: Ge_d`."""
    potcar_sha256: dict[Element, str] = Field(default_factory=dict)
    """Hash that an element's potential must have; runs write down those they begin with."""
    command: list[str] = ["vasp_std"]
    """How VASP is started, for example `[mpirun, -np, "16", vasp_std]`."""
    remedies: dict[FailureKind, list[dict[str, JsonValue]]] = REMEDIES

    @model_validator(mode="after")
    def _fits(self) -> Self:
        PROGRAMS["vasp"].check(self.command)
        for element, name in self.potcar_names.items():
            if name.startswith("/") or ".." in Path(name).parts:
                raise ValueError(f"potcar_names.{element}: {name!r} is not below the folder potcars")
        if self.incar is not None and not expand(self.incar).is_file():
            return self
        tags = self.tags()
        _check_tags(tags)
        check_by_element("INCAR", tags, BY_ELEMENT)
        for key in ("kspacing", "kpoints"):
            if getattr(self, key) is not None and "KSPACING" in {tag.upper() for tag in self.input}:
                raise ValueError(f"input.KSPACING: there is {key} too; give one of them")
        if self.kspacing is None and self.kpoints is None:
            spacing = tags.get("KSPACING")
            if spacing is None:
                raise ValueError("k points: give kspacing, kpoints, or an INCAR with KSPACING")
            if not _number(spacing) > 0:
                raise ValueError(f"INCAR: KSPACING = {spacing} Å⁻¹ must be more than 0")
        if self.magnetic_moments and "MAGMOM" in tags:
            raise ValueError("magnetic_moments: the INCAR has a MAGMOM; give one of them")
        return self

    def tags(self) -> dict[str, Any]:
        """All INCAR tags that the user gave."""
        given = read_incar(text_of(self.incar)) if self.incar is not None else {}
        return {**given, **{tag.upper(): value for tag, value in self.input.items()}}

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
    results = ("OUTCAR",)
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
        """See RelaxingLabeler; by conjugate gradients. EDIFFG knows forces alone; the stress ends nothing."""
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
        if moments and _is_noncollinear(tags):
            tags["MAGMOM"] = " ".join(f"0 0 {moment:g}" for moment in moments)
        elif moments:
            runs = [(moment, len(list(run))) for moment, run in itertools.groupby(moments)]
            tags.update(ISPIN=2, MAGMOM=" ".join(f"{count}*{moment:g}" for moment, count in runs))
        else:
            _check_moments(tags, ordered)
        if frame.electronic_temperature is not None:
            tags.update(ISMEAR=-1, SIGMA=frame.electronic_temperature * BOLTZMANN)
        poscar = io.StringIO()
        write_vasp(poscar, box.to_ase()[order], direct=True)
        made: dict[str, str | Path] = {"POSCAR": poscar.getvalue(), "POTCAR": _potcar(settings, ordered)}
        grid = settings.mesh(frame)
        if grid is not None:
            tags.pop("KSPACING", None)
            centre = "Gamma" if settings.gamma else "Monkhorst-Pack"
            made["KPOINTS"] = f"lamflow\n0\n{centre}\n{grid[0]} {grid[1]} {grid[2]}\n0 0 0\n"
        made["INCAR"] = "".join(f"{tag} = {_written(value)}\n" for tag, value in sorted(tags.items()))
        return made

    def read(self, settings: Vasp, frame: Frame, folder: Path) -> Labels | LabelFailure:
        """The labels in OUTCAR."""
        del settings
        return read_outcar(folder / "OUTCAR", frame)


def read_outcar(path: Path, frame: Frame) -> Labels | LabelFailure:
    """The labels in an OUTCAR of one single point for `frame`, or why there are none.

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
    labels = labels_from_ase(atoms)
    return aligned(LabeledFrame(Frame.from_ase(atoms), labels), boxed(frame))


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


def _check_moments(tags: dict[str, Any], symbols: Sequence[str]) -> None:
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
    each = 3 if _is_noncollinear(tags) else 1
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


def _is_noncollinear(tags: Mapping[str, Any]) -> bool:
    return any(_is_on(tags.get(tag)) for tag in ("LNONCOLLINEAR", "LSORBIT"))


def _is_on(value: Any) -> bool:
    return str(value).strip(".").upper().startswith("T")


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


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return ".TRUE." if value else ".FALSE."
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float(np.nan)


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
