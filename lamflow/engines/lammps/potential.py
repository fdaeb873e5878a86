"""What LAMMPS is told of the models: pair styles, with what lies over them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ase.data import atomic_numbers

from lamflow.config.section import expand
from lamflow.engines.lammps.settings import LammpsExploration
from lamflow.engines.protocol import LammpsPotential, Model
from lamflow.errors import EngineError


@dataclass(frozen=True)
class Potential:
    """What the models need: the lines of the input, files by name, variables of the process."""

    lines: str
    files: dict[str, Path]
    environment: dict[str, str]


def potential_with_overlays(
    settings: LammpsExploration,
    committee: Sequence[Model],
    elements: list[str],
    electronic_temperature: float | None,
    file: str,
) -> Potential:
    """The models as pair style, the first one driving, with what lies over it.

    electronic_temperature   electronic temperature, K
    file  that the committee's deviations are written into
    Raises EngineError for models that know no electronic temperature, and for overlays of other elements.
    """
    potentials = [model.lammps() for model in committee]
    if potentials[0].commands:
        return _by_commands(settings, potentials[0], elements)
    first, files, names = potentials[0], dict[str, Path](), []
    for number, each in enumerate(potentials):
        names.append(f"{number}-{each.model}")
        files[names[-1]] = each.files[each.model]
        files |= {name: path for name, path in each.files.items() if name != each.model}
    arguments = " ".join([first.style, *names])
    if len(potentials) > 1 and first.deviations is not None:
        arguments += " " + first.deviations.format(every=settings.every, file=file)
    if electronic_temperature is not None:
        if first.electronic_temperature is None:
            raise EngineError("these models know no electronic temperature; see train.electronic_temperature")
        arguments += " " + first.electronic_temperature.format(temperature=electronic_temperature)
    layers = [(arguments, [f"{first.coefficients} {{elements}}"]), *_overlays(settings, elements)]
    types = {element: str(place) for place, element in enumerate(elements, 1)}
    if len(layers) == 1:
        lines = [f"pair_style      {arguments}", f"pair_coeff      {first.coefficients} {' '.join(elements)}"]
    else:
        lines = [f"pair_style      hybrid/overlay {' '.join(style for style, _ in layers)}"]
        for style, coefficients in layers:
            for line in coefficients:
                atoms, rest = _filled(line, types)
                lines.append(f"pair_coeff      {atoms} {style.split()[0]} {rest}".rstrip())
    return Potential("\n".join(lines), files | {path.name: expand(path) for path in settings.files}, first.environment)


def _by_commands(settings: LammpsExploration, potential: LammpsPotential, elements: list[str]) -> Potential:
    """A potential that says its own commands. Raises EngineError for overlays, which these leave no room for."""
    if settings.has_overlays:
        raise EngineError("zbl, d3 and overlays go with trained models; write them into the potential's own pair_style")
    types = {element: str(place) for place, element in enumerate(elements, 1)}
    lines = [command.format(elements=" ".join(elements), **types) for command in potential.commands]
    files = potential.files | {path.name: expand(path) for path in settings.files}
    return Potential("\n".join(lines), files, potential.environment)


def _overlays(settings: LammpsExploration, elements: list[str]) -> list[tuple[str, list[str]]]:
    """Pair styles on top of the model, with their coefficients: two atom types, then what belongs to them."""
    found = []
    if settings.zbl is not None:
        pairs = [(a, b) for place, a in enumerate(elements) for b in elements[place:]]
        lines = [f"{{{a}}} {{{b}}} {atomic_numbers[a]} {atomic_numbers[b]}" for a, b in pairs]
        found.append((f"zbl {settings.zbl.inner} {settings.zbl.outer}", lines))
    if settings.d3 is not None:
        d3 = settings.d3
        style = f"dispersion/d3 {d3.damping} {d3.functional} {d3.cutoff} {d3.cn_cutoff}"
        found.append((style, ["* * {elements}"]))
    present = set(elements)
    for overlay in settings.overlays:
        named = [set(re.findall(r"\{([A-Z][a-z]?)\}", line)) for line in overlay.coefficients]
        lines = [line for line, names in zip(overlay.coefficients, named, strict=True) if names <= present]
        if lines:  # LAMMPS refuses a style that no pair of atoms uses
            found.append((overlay.style, lines))
    return found


def _filled(line: str, types: dict[str, str]) -> tuple[str, str]:
    """The two atom types of a line of coefficients, and the rest; raises EngineError for an unknown element."""
    try:
        words = line.format(elements=" ".join(types), **types).split()
    except (KeyError, IndexError, ValueError) as error:
        raise EngineError(f"overlays: {line!r} names {error}, which is no element of the structure") from error
    return " ".join(words[:2]), " ".join(words[2:])
