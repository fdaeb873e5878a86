"""Rounds of a study of properties: the start relaxes, then frames are made, labeled and turned into values."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

from lamflow.config.dynamics import DynamicProperty
from lamflow.config.magnets import CuriePoint
from lamflow.config.properties import PropertiesStudy
from lamflow.config.tracked import AskedProperties
from lamflow.data import layout
from lamflow.data.cache import CACHE
from lamflow.data.frames import Frame
from lamflow.data.graph import EngineUse, Graph, Key, Resources, Step
from lamflow.data.layout import INPUT, STRUCTURES, iteration_key
from lamflow.errors import Problems
from lamflow.ops.operation import Operation
from lamflow.ops.properties import answer, expand, reduce, relax_structures
from lamflow.ops.reference_files import references_of
from lamflow.ops.relaxed import set_of
from lamflow.policy.element_tables import tabulated
from lamflow.policy.jobs import jobs_needed
from lamflow.policy.property_inputs import examined
from lamflow.superops.state import RunState
from lamflow.superops.steps import TOOLS, add, start_then_one

FRAMES_PER_PROPERTY = 8
"""A guess of how many frames a property asks for."""
FRAMES_PER_JOB = 50
"""A job that evaluates fewer frames by a model is not worth its start."""

RECORDS = {"relax": layout.SAMPLES_RECORD, "label": layout.ANSWERS_RECORD}
"""What a job of each step leaves."""


def next_graph(study: PropertiesStudy, state: RunState) -> Graph | None:
    """The graph of the round that comes next: relaxed structures, then their properties; None when both have ended."""
    return start_then_one(study, state, round_graph)


PACKAGES = {"phonon": "phonopy", "quasiharmonic": "phonopy", "surface": "pymatgen"}
"""What properties need beside NumPy, SciPy and ASE."""


def inspect(asked: AskedProperties, structures: Mapping[str, Sequence[Frame]]) -> list[str]:
    """Warnings about crystals, references and packages.

    Raises InputError for a file of references that cannot be used, properties that no structure has, and references
    and gates that fit no value.
    """
    tabulated(asked, {})
    from_file = references_of(asked, {name: frames[0] for name, frames in structures.items() if len(frames) == 1})
    asks = [settings for _, settings in asked.named_properties()]
    found = examined(asked, structures, from_file)
    problems = Problems()
    problems.found += found.problems
    numbered = {f"{name}-{place + 1}" for name, own in structures.items() if len(own) > 1 for place in range(len(own))}
    problems.found += [
        f"structures.{name}: the structures of another set are numbered so, and results would be mixed; rename one"
        for name in sorted(numbered & structures.keys())
    ]
    problems.report()
    values = [*(asked.reference.values if asked.reference is not None else []), *from_file]
    strange = sorted({v.structure for v in values if set_of(v.structure, asked.set_names) is None})
    warnings = [*found.warnings]
    warnings += [
        f"reference: there is no structure set {name!r}, so its values are compared with nothing" for name in strange
    ]
    lacking = {PACKAGES[s.property] for s in asks if s.property in PACKAGES}
    warnings += [
        f'properties: {name} is not installed here; where jobs run, they need pip install "lamflow[properties]"'
        for name in sorted(lacking)
        if importlib.util.find_spec(name) is None
    ]
    return warnings


def round_graph(study: PropertiesStudy, state: RunState, number: int) -> Graph:
    """The graph of round 0 or 1."""
    structures = sum(state.structures.values())
    if not number:
        return relax_graph(study, state)
    folder = iteration_key(1)
    relaxed, expanded = Key(key=f"{iteration_key(0)}/{layout.RELAXED}"), Key(key=f"{folder}/{layout.EXPANDED}")
    answers, found = f"{folder}/{layout.ANSWERS}", f"{folder}/{layout.PROPERTIES}"
    moved = [settings for settings in study.properties if isinstance(settings, DynamicProperty | CuriePoint)]
    steps = [
        add(
            "expand", expand, writes={"expanded": expanded.key},
            records=[f"{expanded.key}/{potential.name}/{layout.SAMPLES_RECORD}" for potential in study.potentials],
            image=TOOLS, input=Key(key=INPUT), relaxed=relaxed,
        ),
        *(
            _work(study, state, index, "label", answer, f"{answers}/{potential.name}",
                  frames=structures * (len(study.properties) - len(moved)) * FRAMES_PER_PROPERTY,
                  runs=structures * sum(map(_runs, moved)), expanded=expanded)
            for index, potential in enumerate(study.potentials)
        ),
        add(
            "reduce", reduce, writes={"properties": found}, records=[f"{found}/{layout.PROPERTIES_RECORD}"],
            image=TOOLS, input=Key(key=INPUT), relaxed=relaxed, expanded=expanded, answers=Key(key=answers),
        ),
    ]  # fmt: skip
    return Graph(kind=study.workflow, round=1, name="properties", stage="properties", steps=steps)


def relax_graph(study: PropertiesStudy, state: RunState) -> Graph:
    """The start: every potential relaxes all structures."""
    structures, folder = sum(state.structures.values()), f"{iteration_key(0)}/{layout.RELAXED}"
    steps = [
        _work(study, state, index, "relax", relax_structures, f"{folder}/{potential.name}",
              frames=structures, structures=Key(key=STRUCTURES))
        for index, potential in enumerate(study.potentials)
    ]  # fmt: skip
    return Graph(kind=study.workflow, round=0, name="start", stage="relax", steps=steps)


def _work(
    study: PropertiesStudy, state: RunState, index: int, name: str, operation: Operation, key: str, *,
    frames: int, runs: int = 0, **reads: Key,
) -> Step:  # fmt: skip
    """A step whose jobs ask one potential; several potentials have steps of their own, each with its own image.

    frames  about so many of them are evaluated or relaxed
    runs    simulations among the work: each is worth a job
    """
    potential = study.potentials[index]
    resources: Resources = "explore" if potential.evaluate is not None else "label"
    pod = study.pods.explore if resources == "explore" else study.pods.label
    slots = state.capacity.slots(resources, pod)
    units = runs + (-(-frames // FRAMES_PER_JOB) if resources == "explore" else frames)
    jobs = jobs_needed(units, slots, pod.work_per_job)
    [port] = operation.artifacts
    record = RECORDS[name]
    return add(
        f"{name}{index}" if len(study.potentials) > 1 else name, operation, writes={port: key}, resources=resources,
        jobs=jobs, most_jobs=jobs, work=frames + runs, records=[f"{key}/*/{record}"],
        engines=[EngineUse(role=potential.role, name=potential.engine.engine)],
        label_cache=label_cache_of(study, index), input=Key(key=INPUT), potential=index, **reads,
    )  # fmt: skip


def _runs(settings: DynamicProperty | CuriePoint) -> int:
    """Simulations of each structure."""
    if isinstance(settings, DynamicProperty):
        return settings.runs
    return len(settings.sizes) * len(settings.temperatures) * settings.repeats


def label_cache_of(study: PropertiesStudy, index: int) -> str | None:
    """Key of the label cache, for a potential whose labels are worth keeping."""
    label = study.potentials[index].label
    return f"{study.cluster.prefix}{CACHE}" if study.label_cache and label is not None and label.cached else None
