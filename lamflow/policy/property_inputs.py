"""What can be told of a study's properties before anything runs: crystals that have none, references that fit none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lamflow.config.dynamics import DynamicProperty
from lamflow.config.engines import LabelerSettings
from lamflow.config.properties import Gate, PropertiesStudy, PropertySettings, ReferenceValue
from lamflow.config.tracked import AskedProperties
from lamflow.data.frames import Frame
from lamflow.data.properties import RELAXATION
from lamflow.engines.periodic import PeriodicSettings
from lamflow.errors import InputError
from lamflow.policy.references import factor
from lamflow.science.properties import defects
from lamflow.science.properties.sample import Crystal, Phase, composition
from lamflow.science.properties.table import PROPERTIES, UNITS

LOOKED_AT, MOST_ATOMS = 3, 64
"""Structures of a set whose frames are made to see whether they can be, and atoms of the largest such structure."""
SHOWN = 3
"""Names in a message."""
SMOOTH = ("eos", "elastic", "quasiharmonic")
"""Properties that are slopes of what frames of a few other cells say."""


@dataclass(eq=False)
class Findings:
    """What is wrong, and what a person should know."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def examined(
    asked: AskedProperties, structures: Mapping[str, Sequence[Frame]], references: Sequence[ReferenceValue]
) -> Findings:
    """What is wrong with the properties that a study asks for.

    structures  by the name of their set
    references  values of a file, beside those that stand in the study
    """
    found = Findings()
    crystals = _crystals({name: frames for name, frames in structures.items() if name in asked.set_names})
    for index, (_, settings) in enumerate(asked.named_properties()):
        _fit(f"properties[{index}] ({settings.property})", settings, crystals, found)
    known = {title: settings.property for title, settings in asked.named_properties()} | {RELAXATION: RELAXATION}
    if isinstance(asked, PropertiesStudy):
        frames = [frame for frames in structures.values() for frame in frames]
        found.problems += _without_stress(asked, frames)
        _native(asked, any(frame.pbc for frame in frames), found)
        found.warnings += _changing_meshes(asked, crystals)
    given = asked.reference.values if asked.reference is not None else []
    keys = [(value.structure, value.property, value.name, value.where) for value in given]
    for index, value in enumerate(given):
        reason = _unfit(value, known)
        if reason is None and keys[index] in keys[:index]:
            reason = f"{value.name} {value.where}".strip() + f" of {value.structure} is given twice"
        found.problems += [f"reference.values[{index}]: {reason}"] if reason else []
    strange = [f"{v.structure} {reason}" for v in references if v.property in known and (reason := _unfit(v, known))]
    if strange:
        more = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
        found.warnings.append(f"reference.file: {strange[0]}; it is compared with nothing{more}")
    for index, gate in enumerate(asked.gates):
        reason = _gate_problem(gate, known)
        found.problems += [f"gates[{index}]: {reason}"] if reason else []
    return found


def _without_stress(study: PropertiesStudy, frames: Sequence[Frame]) -> Iterator[str]:
    """Engines that give no virial where one is needed."""
    needy = [
        s.property
        for s in study.properties
        if (isinstance(s, DynamicProperty) and s.needs_stress()) or s.property == "elastic"
    ]
    needs = [f"{name} needs it" for name in dict.fromkeys(needy)]
    if study.relax.cell and any(frame.pbc for frame in frames):
        needs.append("cells cannot be relaxed without it; set relax.cell to false")
    for index, potential in enumerate(study.potentials):
        engine = potential.engine
        if needs and isinstance(engine, LabelerSettings) and not engine.gives_virial:
            yield f"potentials[{index}]: {engine.engine} gives no virial as it is set up here: {'; '.join(needs)}"


def _changing_meshes(study: PropertiesStudy, crystals: Sequence[Crystal]) -> Iterator[str]:
    """Properties whose frames have several meshes of k points, so that energies and stresses jump between them."""
    for index, potential in enumerate(study.potentials):
        settings = potential.label
        if not isinstance(settings, PeriodicSettings):
            continue
        for place, (_, asked) in enumerate(study.named_properties()):
            for crystal in crystals if asked.property in SMOOTH else ():
                try:
                    samples = PROPERTIES[asked.property].frames(crystal, **asked.model_dump(exclude={"property"}))
                except (InputError, ValueError):  # said elsewhere
                    continue
                meshes = sorted({mesh for one in samples if (mesh := settings.mesh(one.frame)) and one.frame.pbc})
                if len(meshes) > 1:
                    first, last = ("x".join(map(str, mesh)) for mesh in (meshes[0], meshes[-1]))
                    yield (
                        f"potentials[{index}]: k points of {crystal.name} go from {first} to {last} within "
                        f"properties[{place}] ({asked.property}), and energies jump where they change; give "
                        f"{settings.engine} kpoints, or a smaller kspacing"
                    )
                    break


def _native(study: PropertiesStudy, periodic: bool, found: Findings) -> None:
    """Engines that cannot relax structures by themselves where they are asked to."""
    if study.relax.method != "native":
        return
    cell = study.relax.cell_changes if study.relax.cell and periodic else "none"
    if all(potential.label is None for potential in study.potentials):
        found.problems.append("relax.method: native is for first-principles codes, and there is none in potentials")
        return
    for index, potential in enumerate(study.potentials):
        where, name = f"potentials[{index}]", potential.engine.engine
        if potential.label is None:
            found.warnings.append(
                f"{where}: {name} is relaxed by lbfgs: relax.method native is for codes with optimisers"
            )
        elif not (cells := potential.label.relaxed_cells if isinstance(potential.label, PeriodicSettings) else None):
            found.problems.append(f"{where}: {name} relaxes no structures by itself; set relax.method to lbfgs")
        elif cell not in cells:
            found.problems.append(
                f"{where}: {name} cannot relax cells with cell_changes {cell} by itself; set relax.method to lbfgs, or "
                "cell_changes to all"
            )
    if study.relax.symmetry:
        found.problems.append("relax.symmetry: with relax.method native codes keep symmetry as they do; take it out")


def _crystals(structures: Mapping[str, Sequence[Frame]]) -> list[Crystal]:
    """The first structures of each set, unrelaxed and without energies, each among all compositions of the study."""
    phases = [Phase(name, composition(frame), 0.0) for name, frames in structures.items() for frame in frames]
    return [
        Crystal(name, frame, 0.0, phases)
        for name, frames in structures.items()
        for frame in frames[:LOOKED_AT]
        if frame.natoms <= MOST_ATOMS
    ]


def _fit(where: str, settings: PropertySettings, crystals: Sequence[Crystal], found: Findings) -> None:
    """A property that no structure has is a problem; one that some do not have is worth a warning."""
    reasons: dict[str, list[str]] = {}
    for crystal in crystals:
        reason = _refusal(settings, crystal)
        if reason is not None:
            reasons.setdefault(reason, []).append(crystal.name)
    refused = [name for names in reasons.values() for name in names]
    said = "; ".join(f"structures.{', '.join(dict.fromkeys(names[:SHOWN]))}: {r}" for r, names in reasons.items())
    if crystals and len(refused) == len(crystals):
        found.problems.append(f"{where}: no structure that is asked about has this property: {said}")
    elif refused:
        found.warnings.append(f"{where}: {said}; it will have no value there")


def _refusal(settings: PropertySettings, crystal: Crystal) -> str | None:
    """Why a crystal cannot have a property; None if it can, or if only jobs can tell."""
    options = settings.model_dump(exclude={"property"})
    try:
        samples = PROPERTIES[settings.property].frames(crystal, **options)
        if settings.property in defects.KINDS:
            defects.check_limits(crystal, samples, options["chemical_potentials"])
    except InputError:  # a package is missing here, which is said elsewhere
        return None
    except ValueError as error:
        return str(error)
    return None


def _unfit(value: ReferenceValue, known: Mapping[str, str]) -> str | None:
    """Why a reference can be compared with nothing; None if it can, or if nothing is known of its property."""
    names = UNITS.get(known.get(value.property, value.property))
    if names is None:
        return None
    unit = _unit(names, value.name)
    if unit is None:
        return f"{value.property} has no value {value.name!r}; it has {_listed(names)}"
    try:
        factor(value.unit, unit)
    except ValueError as error:
        return f"{value.name} of {value.property} is in {unit}: {error}"
    return None


def _gate_problem(gate: Gate, known: Mapping[str, str]) -> str | None:
    """Why a gate looks at nothing."""
    if gate.property not in known:
        own = ", ".join(known)
        return None if gate.property not in UNITS else f"property {gate.property} is not asked for; there are {own}"
    names = UNITS.get(known[gate.property])
    if names is None or _unit(names, gate.name) is not None:
        return None
    return f"{gate.property} has no value {gate.name!r}; it has {_listed(names)}"


def _unit(names: Mapping[str, str], name: str) -> str | None:
    return next((unit for pattern, unit in names.items() if re.fullmatch(pattern, name)), None)


def _listed(names: Mapping[str, str]) -> str:
    return ", ".join(_readable(names))


def _readable(names: Mapping[str, str]) -> Iterator[str]:
    """Names as people write them."""
    for pattern in names:
        yield pattern.replace("[1-6][1-6]", "11 … C66").replace(r"\d+", "1 …").replace("(_unrelaxed)?", "")
