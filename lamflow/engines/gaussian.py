"""Gaussian: labels of molecules and clusters."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, JsonValue, model_validator

from lamflow.data import FailureKind, Frame, LabeledFrame, Labels
from lamflow.data.gaussian_log import CORRELATED
from lamflow.data.io import read_labeled
from lamflow.engines import process
from lamflow.engines.commands import PROGRAMS
from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example, hydrogen_frames
from lamflow.engines.process import on_path
from lamflow.engines.program.labeler import ProgramLabeler
from lamflow.engines.program.settings import ProgramSettings
from lamflow.engines.protocol import LabelFailure
from lamflow.engines.species import aligned
from lamflow.errors import InputError

REMEDIES: dict[FailureKind, list[dict[str, JsonValue]]] = {
    "unconverged": [{"scf": "(xqc,maxcycle=256)"}, {"scf": "(yqc,maxcycle=512)"}]
}


BEYOND_SCF = (
    r"\b(?:[rou]*(?:mp[2-5]|ccd|ccsd|cisd|cid|qcisd|bd|cis|casscf)|td|tda|[rou]*\w*(?:2plyp|dsd|pbe0dh|pbeqidh)\w*)\b"
)
"""Methods whose forces are not those of the energy after `SCF Done`."""


class Gaussian(ProgramSettings):
    """Labels by Gaussian: energy and forces of an isolated system."""

    nonphysical_keys = ProgramSettings.nonphysical_keys | {"nproc", "memory"}
    obtained = "Gaussian is licensed, see gaussian.com; load its module or put it on PATH"

    engine: Literal["gaussian"]
    keywords: str
    """Method, basis set and options of the route section, like `mn15/6-31g**`; `force` and `nosymm` are added."""
    charge: int = Field(0, ge=-100, le=100)
    multiplicity: Literal["auto"] | Annotated[int, Field(ge=1, le=1000)] = "auto"
    """`auto`: every molecule in the frame has the lowest spin that its electrons allow, O₂ is a triplet, and the spins
    of molecules add up."""
    nproc: int = Field(1, ge=1, le=4096)
    """Cores, as in %nproc."""
    memory: str = "2GB"
    """As in %mem."""
    input: dict[Literal["scf", "integral", "keywords"], str] = Field(default_factory=dict)
    """Options of the route section by name, for example `scf: (maxcycle=256)`; `keywords` are added as they are."""
    command: list[str] = ["g16"]
    """How Gaussian is started; the input's name follows."""
    remedies: dict[FailureKind, list[dict[str, JsonValue]]] = REMEDIES

    @model_validator(mode="after")
    def _fits(self) -> Self:
        PROGRAMS["gaussian"].check(self.command)
        route = " ".join((self.keywords, *(f"{key}={value}" for key, value in self.input.items()))).lower()
        for line in (self.keywords, self.memory, *self.input.values()):
            if "\n" in line or line.lstrip().startswith(("#", "%")):
                raise ValueError(f"keywords: {line!r}: give the words of the route section only, without # and %")
        if re.search(r"\b(opt|freq|irc|scan)\b", route):
            raise ValueError(f"keywords: {route!r}: a label is one single point with forces")
        beyond = re.search(BEYOND_SCF, route)
        if beyond:
            raise ValueError(
                f"keywords: {beyond.group(0)!r}: of methods beyond self-consistent fields the energy cannot be read; "
                "use Hartree-Fock or a density functional"
            )
        return self

    def seconds(self, natoms: int) -> float:
        """As one core takes."""
        return 5.0 + 0.1 * natoms**2


class GaussianLabeler(ProgramLabeler[Gaussian]):
    """Labeler by Gaussian."""

    output = "stdout.log"
    version_pattern = r"(?m)^ Gaussian (\d+, Revision [^,\s]+)"
    results = ("label.log",)
    temporary_files = ("*.chk", "Gau-*", "*.rwf")

    def command(self, settings: Gaussian) -> list[str]:
        """Gaussian writes label.log for label.gjf."""
        return [*settings.command, "label.gjf"]

    def environment(self, settings: Gaussian, frame: Frame) -> dict[str, str]:
        """Scratch files lie beside the input."""
        del settings, frame
        return {"GAUSS_SCRDIR": "."}

    def files(self, settings: Gaussian, frame: Frame) -> dict[str, str | Path]:
        """label.gjf. Raises ValueError for a periodic frame and an impossible multiplicity."""
        if frame.pbc:
            raise ValueError("Gaussian labels isolated systems, and this frame is periodic")
        spin = settings.multiplicity if settings.multiplicity != "auto" else multiplicity(frame, settings.charge)
        electrons = int(frame.numbers.sum()) - settings.charge
        if (electrons + spin) % 2 == 0 or electrons < spin - 1:
            raise ValueError(f"multiplicity {spin} is impossible with {electrons} electrons (charge {settings.charge})")
        options = [f"{key}={value}" for key, value in settings.input.items() if key != "keywords"]
        route = " ".join(["#p", settings.keywords, *options, settings.input.get("keywords", "")])
        for word in ("force", "nosymm"):
            if word not in route.lower().split():
                route += f" {word}"
        atoms = "".join(
            f"{symbol} {x:.10f} {y:.10f} {z:.10f}\n"
            for symbol, (x, y, z) in zip(frame.symbols, frame.positions, strict=True)
        )
        head = f"%nproc={settings.nproc}\n%mem={settings.memory}\n{' '.join(route.split())}\n"
        return {"label.gjf": f"{head}\nlamflow\n\n{settings.charge} {spin}\n{atoms}\n"}

    def read(self, settings: Gaussian, frame: Frame, folder: Path) -> Labels | LabelFailure:
        """The labels in label.log."""
        del settings
        return read_log(folder / "label.log", frame)


def multiplicity(frame: Frame, charge: int = 0) -> int:
    """The spin multiplicity 2S + 1 of a frame's molecules, as `auto` means it.

    Molecules are atoms within ASE's natural bond lengths. With a charge the whole is one molecule.
    """
    if charge:
        return 1 + (int(frame.numbers.sum()) - charge) % 2
    unpaired = 0
    for members in molecules(frame):
        numbers = frame.numbers[members]
        unpaired += 2 if sorted(numbers) == [8, 8] else int(numbers.sum()) % 2
    return 1 + unpaired


def molecules(frame: Frame) -> list[np.ndarray]:
    """Indices of the atoms of each molecule."""
    from ase.neighborlist import build_neighbor_list, get_connectivity_matrix
    from scipy.sparse.csgraph import connected_components

    neighbors = build_neighbor_list(frame.to_ase(), self_interaction=False)
    count, label = connected_components(get_connectivity_matrix(neighbors.nl), directed=False)
    return [np.flatnonzero(label == place) for place in range(count)]


def read_log(path: Path, frame: Frame) -> Labels | LabelFailure:
    """The labels in Gaussian's log for `frame`, or why there are none."""
    text = path.read_text(errors="replace", encoding="utf-8") if path.is_file() else ""
    tail = process.tail(path)
    if "Convergence failure" in text or _gave_up(text):
        return LabelFailure("the SCF cycle did not converge", tail, "unconverged")
    error = re.search(r"Error termination.*", text)
    if error:
        return LabelFailure(f"Gaussian stopped: {error.group(0).strip()}", tail)
    if "Normal termination of Gaussian" not in text:
        return LabelFailure("Gaussian stopped early" if text else "there is no label.log", tail, "incomplete")
    if CORRELATED.search(text):
        return LabelFailure("the energy of a method beyond self-consistent fields cannot be read", tail, "refused")
    try:
        labeled = read_labeled(path, "gaussian/log")[-1]
    except InputError as error:
        return LabelFailure(f"Gaussian's log cannot be read: {error}", tail, "incomplete")
    found_frame = Frame(labeled.frame.numbers, labeled.frame.positions, np.zeros((3, 3)), pbc=False)
    return aligned(LabeledFrame(found_frame, replace(labeled.labels, virial=None)), frame)


def _gave_up(text: str) -> bool:
    """The cycle ran out of steps, and no quadratically convergent one (link 508, of scf=xqc) ended after it."""
    _, ran_out, after = text.rpartition("Convergence criterion not met")
    return bool(ran_out) and re.search(r"l508\.exe.*SCF Done", after, re.S) is None


def _example(folder: Path) -> Example:
    del folder
    return Example({"keywords": "hf/sto-3g"}, [frame for frame in hydrogen_frames() if not frame.pbc])


ENGINE = Engine(
    "gaussian",
    on_path("g16"),
    install="licensed: see gaussian.com",
    image="label-gaussian",
    label=Role(Gaussian, GaussianLabeler, example=_example),
)
