"""Rounds of a study of transport: the start relaxes, then simulations, and what they say together."""

from __future__ import annotations

from lamflow.config.transport import TransportStudy
from lamflow.data import layout
from lamflow.data.graph import EngineUse, Graph, Key, Step
from lamflow.data.layout import INPUT, iteration_key
from lamflow.data.properties import PropertiesRound
from lamflow.ops.transport import measure, simulate
from lamflow.policy.jobs import jobs_needed
from lamflow.superops.properties import relax_graph
from lamflow.superops.state import RunState
from lamflow.superops.steps import TOOLS, add


def next_graph(study: TransportStudy, state: RunState) -> Graph | None:
    """The graph of the round that comes next; None when errors are small enough or no round is left."""
    number = len(state.finished)
    if number > study.rounds:
        return None
    if number >= 2:
        last = state.finished[-1]
        if study.error is None or (isinstance(last, PropertiesRound) and last.largest_error() <= study.error):
            return None
    return round_graph(study, state, number)


def round_graph(study: TransportStudy, state: RunState, number: int) -> Graph:
    """The graph of round 0, or of simulations."""
    if not number:
        return relax_graph(study, state)
    folder = iteration_key(number)
    relaxed = Key(key=f"{iteration_key(0)}/{layout.RELAXED}")
    simulated, values = f"{folder}/{layout.SIMULATED}", f"{folder}/{layout.PROPERTIES}"
    earlier = Key(key=f"{iteration_key(number - 1)}/{layout.PROPERTIES}") if number > 1 else None
    steps = [_simulate(study, state, index, number, relaxed) for index in range(len(study.potentials))]
    steps.append(
        add(
            "measure", measure, writes={"properties": values}, records=[f"{values}/{layout.PROPERTIES_RECORD}"],
            image=TOOLS, input=Key(key=INPUT), relaxed=relaxed, simulated=Key(key=simulated), earlier=earlier,
        )
    )  # fmt: skip
    return Graph(kind=study.workflow, round=number, name=f"transport-{number}", stage="transport", steps=steps)


def _simulate(study: TransportStudy, state: RunState, index: int, number: int, relaxed: Key) -> Step:
    """Simulations of one potential."""
    potential, pod = study.potentials[index], study.pods.explore
    key = f"{iteration_key(number)}/{layout.SIMULATED}/{potential.name}"
    starts = sum(count for name, count in state.structures.items() if name in study.dynamics.structures)
    work = max(1, starts * len(study.dynamics.conditions()) * study.repeats)
    slots = state.capacity.slots("explore", pod)
    jobs = jobs_needed(work, slots, pod.work_per_job)
    return add(
        f"simulate{index}" if len(study.potentials) > 1 else "simulate", simulate, writes={"simulated": key},
        records=[f"{key}/*/{layout.SIMULATED_RECORD}"], jobs=jobs, most_jobs=jobs, work=work, resources="explore",
        engines=[
            EngineUse(role="explore", name=study.simulate.engine),
            EngineUse(role="evaluate", name=potential.engine.engine),
        ],
        input=Key(key=INPUT), relaxed=relaxed, potential=index, iteration=number,
    )  # fmt: skip
