"""Any other code: a command, and formats of dpdata or ASE for what it reads and writes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from lamflow.config.section import InputFolder, VariableName, check_names, expand
from lamflow.data import FailureKind, Frame, Labels
from lamflow.data.io import read_labeled, write_structure
from lamflow.engines.commands import named_files
from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example
from lamflow.engines.program.labeler import ProgramLabeler
from lamflow.engines.program.settings import ProgramSettings
from lamflow.engines.protocol import LabelFailure
from lamflow.engines.species import aligned
from lamflow.errors import InputError


class Custom(ProgramSettings):
    """Labels by a command of your own that reads and writes formats which dpdata or ASE know."""

    nonphysical_keys = frozenset({"label_timeout", "remedies"})  # here the command is what is computed

    engine: Literal["custom"]
    command: list[str] = Field(min_length=1)
    """What is run in a folder of its own for each frame; labels count when it exits with status 0."""
    input_file: str = "POSCAR"
    """Name of the structure's file that the command reads."""
    input_format: str = "vasp/poscar"
    """dpdata's or ASE's name of its format."""
    output_file: str = "labeled.extxyz"
    """Name of what the command writes, a file or a folder with energy, forces and, of periodic frames, virial or
    stress; `.` for the folder itself."""
    output_format: str = "extxyz"
    """dpdata's or ASE's name of its format; the last frame in it is taken."""
    files: list[InputFolder] = Field(default_factory=list)
    """Further files that the command needs, linked into the folder."""
    converged: str | None = None
    """A regular expression that must be found in what the command prints; without it the SCF cycle is unconverged."""
    unconverged: str | None = None
    """A regular expression that says so when it is found there."""
    electronic_temperature: bool = False
    """The command knows one, and looks into LAMFLOW_ELECTRONIC_TEMPERATURE (K) of its environment for it."""
    environment: list[VariableName] = Field(default_factory=list)
    """Names of variables of lamflow's own environment that the command reads. What they hold belongs to the label:
    under another value it is computed anew. Values are kept nowhere; on a cluster
    `pods.label.environment` gives them."""
    input: dict[Literal["environment"], dict[str, str]] = Field(default_factory=dict)
    """Further variables of the command's environment; remedies change them."""
    remedies: dict[FailureKind, list[dict[str, JsonValue]]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in (self.input_file, self.output_file):
            if name.startswith("/") or ".." in Path(name).parts:
                raise ValueError(f"{name!r}: give a name in the folder that the command runs in")
        check_names("files", self.files, (self.input_file, self.output_file))
        for key in ("converged", "unconverged"):
            pattern = getattr(self, key)
            try:
                re.compile(pattern or "")
            except re.error as error:
                raise ValueError(f"{key}: {pattern!r} is no regular expression: {error}") from error
        return self

    @property
    def uses_electronic_temperature(self) -> bool:
        """As the user says."""
        return self.electronic_temperature

    def implementation_hash(self) -> str:
        """The programs and scripts that the command names, and the variables that it reads."""
        path = self.input.get("environment", {}).get("PATH")
        variables = {name: os.environ.get(name) for name in self.environment}
        told = [named_files(self.command, path), variables]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


class CustomLabeler(ProgramLabeler[Custom]):
    """Labeler by a command."""

    output = "stdout.log"
    require_exit_zero = True

    def __init__(self, settings: Custom) -> None:
        super().__init__(settings)
        self.results = () if settings.output_file == "." else (settings.output_file,)

    def environment(self, settings: Custom, frame: Frame) -> dict[str, str]:
        """The user's variables, and the electronic temperature."""
        heat = frame.electronic_temperature
        variables = {} if heat is None else {"LAMFLOW_ELECTRONIC_TEMPERATURE": repr(heat)}
        return {**settings.input.get("environment", {}), **variables}

    def files(self, settings: Custom, frame: Frame) -> dict[str, str | Path]:
        """The structure and the user's files."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / settings.input_file
            try:
                write_structure(path, frame, settings.input_format)
            except InputError as error:
                raise ValueError(str(error)) from error
            text = path.read_text(encoding="utf-8")
        return {settings.input_file: text, **{file.name: expand(file) for file in settings.files}}

    def read(self, settings: Custom, frame: Frame, folder: Path) -> Labels | LabelFailure:
        """The labels in what the command wrote."""
        said = (
            (folder / self.output).read_text(errors="replace", encoding="utf-8")
            if (folder / self.output).is_file()
            else ""
        )
        if settings.unconverged and re.search(settings.unconverged, said):
            return LabelFailure("the command says that it did not converge", kind="unconverged")
        if not (folder / settings.output_file).exists():
            return LabelFailure(f"the command wrote no {settings.output_file}", kind="incomplete")
        if settings.converged and not re.search(settings.converged, said):
            return LabelFailure(f"nothing that was printed matches {settings.converged!r}", kind="unconverged")
        try:
            labeled = read_labeled(folder / settings.output_file, settings.output_format)[-1]
        except InputError as error:
            return LabelFailure(str(error), kind="incomplete")
        return aligned(labeled, frame)


def _probe() -> str:
    return "a command of the user"


EXAMPLE = """\
from ase.calculators.emt import EMT
from ase.io import read, write

atoms = read("POSCAR")
atoms.calc = EMT()
atoms.get_stress(), atoms.get_forces()
write("labeled.extxyz", atoms)
"""


def _example(folder: Path) -> Example:
    (folder / "label.py").write_text(EXAMPLE, encoding="utf-8")
    return Example({"command": [sys.executable, "label.py"], "files": [folder / "label.py"]})


ENGINE = Engine("custom", _probe, install="your own", label=Role(Custom, CustomLabeler, example=_example))
