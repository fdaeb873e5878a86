"""LAMMPS inputs: lamflow's own, and templates of the user with structured placeholders."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from lamflow.errors import EngineError, InputError

NEEDED = ("structure", "potential", "trajectory")
OFFERED = (
    *NEEDED, "steps", "timestep", "every", "seed", "elements", "plumed",
)  # fmt: skip
CONDITIONS = ("temperature", "pressure", "electronic_temperature")
"""Placeholders whose values are given under the same name with an s."""


def lammps_seed(seed: int) -> int:
    """A seed from 1 to 900 000 000, less room for the numbers of processes: LAMMPS's heat baths refuse larger ones."""
    return 1 + seed % 899_000_000


HEAD = """\
units           metal
boundary        {{ boundary }}
atom_style      {{ atom_style }}
atom_modify     map array
box             tilt large
region          cell {{ region }}
create_box      {{ elements | length }} cell
{% for mass in masses -%}
mass            {{ loop.index }} {{ mass }}
{% endfor -%}
{{ potential }}
neighbor        1.0 bin
neigh_modify    every 1 delay 0 check yes
timestep        {{ timestep }}
thermo          {{ every }}
thermo_modify   lost error flush yes
"""
"""Of every process, however many runs it makes: models are loaded here."""
RUN = """\

print           "lamflow begins {{ place }}"
reset_timestep  0
read_dump       {{ structure }} 0 x y z box yes purge yes replace no add keep format native
{{ moments }}
{% if temperature is defined -%}
velocity        all create {{ temperature }} {{ seed }} mom yes rot yes dist gaussian
{% endif -%}
{{ integrate }}
{{ plumed }}
dump            trajectory all custom {{ every }} {{ trajectory }} id type x y z vx vy vz fx fy fz {{ columns }}
dump_modify     trajectory sort id format float %.12g delay {{ every }}
{{ go }}
undump          trajectory
{{ after }}
{% if columns -%}
uncompute       moments
{% endif -%}
print           "lamflow finished {{ place }}"
"""
"""Of each run. A dump can bring another box and other atoms into a process; read_data would need models anew."""


MIXED = "frames are periodic in all directions or in none; write `boundary p p p` with vacuum, or `boundary f f f`"
"""What is said of boxes that are periodic in some directions only."""


WORD = re.compile(r"(?<![\w./${])V_[A-Z][A-Z0-9_]*(?![\w./:])")
NAMING = re.compile(
    r"^\s*(?:(?:fix|compute|region|group|dump|variable|molecule)\s+|(?=\w+:)|\S.*\bLABEL=)(\w+)", re.MULTILINE
)
"""What gives something a name: commands of LAMMPS, labels of PLUMED."""


def left_words(text: str) -> list[tuple[int, str]]:
    """Words of an input of LAMMPS or PLUMED, with their lines, that look like placeholders of DP-GEN: V_PRES.

    Names that the input gives by itself, comments and placeholders of lamflow are none.
    """
    named = set(NAMING.findall(text))
    lines = [re.sub(r"\{\{.*?\}\}|#.*", "", line) for line in text.splitlines()]
    return [(index, word) for index, line in enumerate(lines, 1) for word in WORD.findall(line) if word not in named]


def check_words(path: Path, text: str, remedy: str) -> None:
    """Raise InputError for a placeholder of DP-GEN's that has no value; `remedy` is what to do instead."""
    for number, word in left_words(text)[:1]:
        raise InputError(
            f"{path}, line {number}: {word} looks like a placeholder of DP-GEN's, and nothing has a value for it; "
            + remedy.format(word=word)
        )


def check_template(path: Path, text: str, variables: tuple[str, ...] = ()) -> None:
    """Raise ValueError when a template lacks a needed placeholder or uses one that nobody fills in.

    given  conditions and variables that have values
    """
    from jinja2 import TemplateSyntaxError, meta

    try:
        used = meta.find_undeclared_variables(_environment().parse(text))
    except TemplateSyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.message}") from error
    for line in re.findall(r"^\s*(boundary\s[^#\n]*)", text, re.MULTILINE):
        sides = line.split()[1:]
        if len({"p" in side for side in sides}) > 1 and all(re.fullmatch("[pfsm]{1,2}", side) for side in sides):
            raise ValueError(f"{path}: {' '.join(line.split())}: {MIXED}")
    missing = [name for name in NEEDED if name not in used]
    if missing:
        wanted = ", ".join("{{ " + name + " }}" for name in missing)
        raise ValueError(f"{path}: this LAMMPS template has no {wanted}; without it lamflow cannot run it")
    for name in variables:
        if name in OFFERED:
            raise ValueError(f"variables: {name!r} is a placeholder of lamflow's own")
        if name not in used and name not in CONDITIONS:
            raise ValueError(f"{path}: the variable {name!r} is nowhere in this template, so its values change nothing")
    known = [*OFFERED, *variables]
    for name in sorted(used - set(known)):
        if name in CONDITIONS:
            raise ValueError(f"{path}: the placeholder {name!r} has no value; give {name}s")
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; give its values under variables:"
        raise ValueError(f"{path}: nothing fills in the placeholder {name!r}{hint}")


def render(text: str, values: dict[str, Any]) -> str:
    """`text` with its placeholders filled in. Raises EngineError for one without a value."""
    from jinja2 import TemplateError

    try:
        return str(_environment().from_string(text).render(values))
    except TemplateError as error:
        raise EngineError(f"the LAMMPS input cannot be written: {error.message}") from error


def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
