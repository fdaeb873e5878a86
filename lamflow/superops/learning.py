"""Rounds of learning: train → (properties) → explore → select → label → merge, and before them label → merge."""

from __future__ import annotations

from lamflow.config.engines import SearcherSettings, WalkerSettings
from lamflow.config.learning import Config
from lamflow.config.select import CalibratedWindow
from lamflow.data import layout
from lamflow.data.graph import Condition, EngineUse, Graph, Key, Output, Step
from lamflow.data.layout import INDEX, INPUT, STRUCTURES, iteration_key
from lamflow.ops.explore import explore
from lamflow.ops.search import propose, relax
from lamflow.ops.select import select
from lamflow.policy.jobs import jobs_needed, seconds_per_unit
from lamflow.policy.simulations import PlannedSimulation, frames_written, plan_simulations
from lamflow.superops.state import RunState
from lamflow.superops.steps import add, committee_engines, label_step, late_step, merge_step, start_graph, train_step
from lamflow.superops.tracked import failed_starts, tracked_steps

BYTES_OF_AN_ATOM = 150
"""That a frame takes for an atom: LAMMPS's text, and the arrays that are made of it."""


def next_graph(study: Config, state: RunState) -> Graph | None:
    """The graph of the round that comes next: the start, then iterations; None when the run has ended."""
    finished = state.finished
    if finished and finished[-1].ended is not None and not state.extended:
        return None
    return round_graph(study, state, len(finished), next_stage(study, state) if finished else 0)


def round_graph(study: Config, state: RunState, number: int, stage: int) -> Graph:
    """The graph of round `number`, in a stage if it is an iteration.

    A run whose budget was lowered goes one iteration beyond it, which labels nothing: it trains on what was labeled.
    """
    return iteration_graph(study, number, stage, state) if number else start_graph(study, state)


def next_stage(study: Config, state: RunState) -> int:
    """Index of the stage that comes next: the same until it has converged or had its iterations."""
    last = state.finished[-1]
    if last.selected is None:
        return 0
    index = [stage.name for stage in study.stages].index(last.stage)
    limit = study.stages[index].max_iterations
    had = sum(iteration.selected is not None and iteration.stage == last.stage for iteration in state.finished)
    through = limit is not None and had >= limit
    return min(index + (through or last.selected.decision == "advance"), len(study.stages) - 1)


def iteration_graph(study: Config, number: int, stage: int, state: RunState) -> Graph:
    """One whole iteration of a stage. Any level of a temperature ramp has as many simulations."""
    failed = failed_starts(study, state)
    planned = plan_simulations(study.stages[stage], {**state.structures, **failed}, number, study.seed)
    label_slots = state.capacity.slots("label", study.pods.label)
    steps = [
        train_step(study, number, state),
        *tracked_steps(study, number, state),
        *_explore_steps(study, number, stage, state, planned),
        *_search_steps(study, number, stage, state, planned),
        _select_step(study, number, stage, label_slots, queued=state.queued, disk=_trajectory_bytes(planned, state)),
    ]
    chosen = Condition(output=Output(step="select", name="decision"), equals="label")
    batches = Output(step="select", name="batches")
    enough = study.select.enough if number < study.budget.iterations - 1 else 1.0
    steps += [
        label_step(study, number, batches, work=study.select.limit, slots=label_slots, when=chosen, enough=enough),
        *([late_step(number)] if state.finished and state.finished[-1].late else []),
        merge_step(number, labeled=True, start_data=False, when=chosen),
    ]
    return Graph(
        kind=study.workflow, round=number, name=f"iteration-{number}", stage=study.stages[stage].name, steps=steps
    )


def _explore_steps(
    study: Config, number: int, stage: int, state: RunState, planned: list[PlannedSimulation]
) -> list[Step]:
    """Simulations and whole searches, shared by the explore jobs; none if all searches are split."""
    whole = [simulation for simulation in planned if not simulation.split]
    if not whole:
        return []
    folder, pod = iteration_key(number), study.pods.explore
    slots = state.capacity.slots("explore", pod)
    before = f"{iteration_key(number - 1)}/{layout.PROPERTIES}" if failed_starts(study, state) else None
    ramps = any(isinstance(group, WalkerSettings) and group.ramp is not None for group in study.stages[stage].explore)
    looks_back = ramps or isinstance(study.select.window, CalibratedWindow)
    jobs = jobs_needed(len(whole), slots, pod.work_per_job, seconds_per_unit(state.finished).get("explore"))
    step = add(
        "explore", explore, writes={"explored": f"{folder}/{layout.EXPLORED}"},
        records=[f"{folder}/{layout.EXPLORED}/*/{layout.EXPLORED_RECORD}"],
        jobs=jobs, at_once=slots if isinstance(pod.work_per_job, int) else None, work=len(whole), resources="explore",
        disk=_trajectory_bytes(whole, state) // jobs,
        engines=committee_engines(study, stage),
        input=Key(key=INPUT), structures=Key(key=STRUCTURES), models=Key(key=f"{folder}/{layout.MODELS}"),
        failed=Key(key=before) if before is not None else None,
        history=Key(key=f"{folder}/{layout.HISTORY}") if looks_back else None, iteration=number, stage=stage,
    )  # fmt: skip
    return [step]


def _trajectory_bytes(simulations: list[PlannedSimulation], state: RunState) -> int:
    """What simulations and searches write, by estimate."""
    written = 0
    for simulation in simulations:
        settings, natoms = simulation.settings, state.natoms.get(simulation.structure, 0)
        written += frames_written(settings) * (settings.natoms if isinstance(settings, SearcherSettings) else natoms)
    return BYTES_OF_AN_ATOM * written


def _search_steps(
    study: Config, number: int, stage: int, state: RunState, planned: list[PlannedSimulation]
) -> list[Step]:
    """Searches that are split: for each generation a job that proposes it and jobs that relax it."""
    searches = [item.settings for item in planned if item.split and isinstance(item.settings, SearcherSettings)]
    generations = max((settings.generations for settings in searches), default=-1)
    structures = sum(settings.population for settings in searches)
    jobs = max(1, min(state.capacity.slots("explore", study.pods.explore), structures))
    folder, engines = iteration_key(number), committee_engines(study, stage)
    searching = [EngineUse(role="search", name=name) for name in {settings.engine: None for settings in searches}]
    steps: list[Step] = []
    before, relaxed = None, None
    for generation in range(1, generations + 2):
        proposed = Key(key=f"{folder}/{layout.SEARCHES}/{generation}/{layout.PROPOSED}")
        steps.append(
            add(
                f"propose{generation}", propose, writes={"proposed": proposed.key}, engines=searching,
                input=Key(key=INPUT), before=before, relaxed=relaxed, iteration=number, stage=stage,
                generation=generation,
            )
        )  # fmt: skip
        if generation > generations:
            break
        before, relaxed = proposed, Key(key=f"{folder}/{layout.SEARCHES}/{generation}/{layout.RELAXED}")
        steps.append(
            add(
                f"relax{generation}", relax, jobs=jobs, work=structures, resources="explore", engines=engines,
                most_jobs=jobs,
                writes={"explored": f"{folder}/{layout.EXPLORED}", "relaxed": relaxed.key},
                records=[f"{folder}/{layout.EXPLORED}/*/{layout.EXPLORED_RECORD}"],
                input=Key(key=INPUT), models=Key(key=f"{folder}/{layout.MODELS}"), proposed=proposed,
                history=Key(key=f"{folder}/{layout.HISTORY}") if study.select.allowed else None, iteration=number,
                stage=stage, generation=generation,
            )
        )  # fmt: skip
    return steps


def _select_step(study: Config, number: int, stage: int, label_slots: int, *, queued: bool, disk: int) -> Step:
    """`disk` is what it is given at most: every frame that was explored."""
    folder = iteration_key(number)
    return add(
        "select", select, disk=disk, writes={"selected": f"{folder}/{layout.SELECTED}"},
        records=[f"{folder}/{layout.SELECTED}/{layout.SELECTED_RECORD}"], details=[f"{folder}/{layout.SELECTED}/*"],
        engines=[EngineUse(role="train", name=study.train.engine)] if study.select.asks_models else [],
        input=Key(key=INPUT), explored=Key(key=f"{folder}/{layout.EXPLORED}"),
        queued=Key(key=f"{folder}/{layout.QUEUED}") if queued else None,
        models=Key(key=f"{folder}/{layout.MODELS}"), index=Key(key=INDEX),
        properties=Key(key=f"{folder}/{layout.PROPERTIES}") if study.properties is not None else None,
        history=Key(key=f"{folder}/{layout.HISTORY}"), iteration=number, stage=stage, jobs_at_once=label_slots,
    )  # fmt: skip
