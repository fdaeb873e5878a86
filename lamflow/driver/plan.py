"""What a run will do and cost, before it does anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lamflow.config.engines import LabelerSettings, SearcherSettings
from lamflow.config.learning import Config
from lamflow.config.pods import BATCH, Pod
from lamflow.config.properties import PropertiesStudy
from lamflow.config.schema import DataStudy, EvaluationStudy, TrainingStudy
from lamflow.data import Frame
from lamflow.data.graph import Graph, Resources, Step
from lamflow.data.results import Iteration
from lamflow.driver.plan_costs import PlannedCost, PlannedStep, planned_costs
from lamflow.driver.prepare import label_jobs
from lamflow.driver.references import resolved
from lamflow.driver.start_data import start_items
from lamflow.driver.structures import frames_of
from lamflow.errors import InputError
from lamflow.flow.kinds import kind_of
from lamflow.policy.simulations import PlannedSimulation, plan_simulations
from lamflow.superops.capacity import Capacity, LocalCapacity
from lamflow.superops.state import RunState

SMALL_SECONDS = 1.0
"""A guess of what select, merge and the like take."""


@dataclass(frozen=True)
class PlannedStage:
    """A round of one stage."""

    name: str
    steps: list[PlannedStep]
    measured: bool
    """The times are those of a round that has run; otherwise they are guesses from the settings."""

    @property
    def jobs(self) -> int:
        """Jobs of one round."""
        return sum(step.jobs for step in self.steps)

    @property
    def seconds(self) -> float:
        """Wall time of one round, in s."""
        return sum(step.seconds for step in self.steps)


@dataclass(frozen=True)
class Plan:
    """A run before it runs.

    start_labels  structures that are labeled before the first training
    data_frames   labeled frames that were brought
    stages        one round of each stage
    labels        most labels that the run can cost
    iterations    rounds after the start, at most
    cluster       jobs of each step of the largest round on a cluster, at most
    node_hours    of the whole run on a batch system by queue, where a study names one; empty otherwise
    costs         of the whole run by kind of step
    """

    start_labels: int
    data_frames: int
    stages: list[PlannedStage]
    labels: int
    iterations: int
    cluster: dict[str, int]
    node_hours: dict[str, float]
    costs: dict[str, PlannedCost]


def plan(study: DataStudy, done: Sequence[Iteration] = (), capacity: Capacity | None = None) -> Plan:
    """The plan of `study` on this machine; times come from the finished rounds `done` where there are any.

    Reads and builds all structures and data, so it finds what is wrong with them. Raises InputError.
    """
    study, _ = resolved(study, only_if_here=True)
    capacity, kind = capacity or LocalCapacity.of_this_machine(), kind_of(study)
    structures = {settings.name: frames_of(settings, study) for settings in study.structures}
    start = sum(len(structures[name]) for names in study.labeled_first.values() for name in names)
    data_frames, rounds = _data_frames(study), kind.most_rounds(study)
    most = start + (rounds - 1) * study.select.limit if isinstance(study, Config) else start
    stages = []
    for index, name in enumerate(kind.stages(study)):
        graph = kind.round_graph(study, planned_state(study, capacity, structures, data_frames), 1, index)
        stages.append(_stage(study, index, name, graph, structures, done))
    labels = min(most, study.budget.labels or most)
    natoms = max((frames[0].natoms for frames in structures.values()), default=1)
    steps = [step for stage in stages for step in stage.steps]
    return Plan(
        costs=planned_costs(study, steps, labels, rounds, done, natoms),
        start_labels=start,
        data_frames=data_frames,
        stages=stages,
        labels=labels,
        iterations=rounds,
        cluster=max(cluster_jobs(study, structures, data_frames), key=lambda jobs: sum(jobs.values())),
        node_hours=_node_hours(study, stages, rounds) if study.batch is not None or study.sites else {},
    )


def _node_hours(study: DataStudy, stages: Sequence[PlannedStage], rounds: int) -> dict[str, float]:
    """Hours that allocations last together, by queue, when every round costs what that of the costliest stage does."""
    hours: list[dict[str, float]] = []
    for stage in stages:
        found: dict[str, float] = {}
        for step in stage.steps:
            asked = asked_on_batch(study, step.resources)
            if asked is not None:
                queue, nodes, together = asked
                busy = step.seconds * min(step.jobs, step.at_once) * nodes / together / 3600
                found[queue] = found.get(queue, 0.0) + rounds * busy
        hours.append(found)
    return max(hours, key=lambda found: sum(found.values()), default={})


def asked_on_batch(study: DataStudy, resources: Resources) -> tuple[str, int, int] | None:
    """Queue, nodes and jobs at the same time of an allocation of a kind of step; None for one beside the driver."""
    pod: Pod = getattr(study.pods, resources)
    site = study.pods.batch_site(resources)
    system = study.batch if site == BATCH else study.sites.get(site)
    if system is None:
        return None
    ask = system.overridden(pod.batch)
    where = "" if site == BATCH else f"{site}: "
    return f"{where}{ask.queue or 'the default queue'}", ask.nodes or 1, ask.together or 1


def _data_frames(study: DataStudy) -> int:
    """Labeled frames that the user brought. Raises InputError for data that cannot be read."""
    return sum(len(items) for items in start_items(study).values())


def planned_state(
    study: DataStudy, capacity: Capacity, structures: Mapping[str, Sequence[Frame]], data_frames: int | None = None
) -> RunState:
    """The state that a run of `study` would begin with.

    data_frames  labeled frames that the user brought; counted where that is not known and matters
    """
    if data_frames is None:  # how many jobs train does not depend on the frames
        data_frames = 0 if isinstance(study, TrainingStudy) else _data_frames(study)
    return RunState(
        capacity=capacity,
        structures={name: len(frames) for name, frames in structures.items()},
        natoms={name: max(frame.natoms for frame in frames) for name, frames in structures.items() if frames},
        batches=len(label_jobs(study, structures, capacity.slots("label", study.pods.label))),
        frames=data_frames + sum(len(structures[name]) for names in study.labeled_first.values() for name in names),
        labeled_data=any(part.start.data or part.heldout.data for part in study.all_heads),
    )


def planned_graph(study: DataStudy, number: int, capacity: Capacity, stage: int = 0) -> Graph:
    """The graph of round `number`, as if the run came to it in stage number `stage`.

    Raises InputError for a round that the study never comes to.
    """
    most = kind_of(study).most_rounds(study)
    if not 0 <= number <= most:
        raise InputError(f"round {number}: a run of {study.name} has the start, round 0, and at most {most} after it")
    structures = {settings.name: frames_of(settings, study) for settings in study.structures}
    return kind_of(study).round_graph(study, planned_state(study, capacity, structures), number, stage)  # type: ignore[no-any-return]


def planned_graphs(study: DataStudy, capacity: Capacity) -> list[Graph]:
    """A round of each stage, and the start."""
    structures = {settings.name: frames_of(settings, study) for settings in study.structures}
    kind, state = kind_of(study), planned_state(study, capacity, structures)
    rounds = [kind.round_graph(study, state, 1, index) for index in range(len(kind.stages(study)))]
    return [*rounds, kind.round_graph(study, state, 0, 0)]


def cluster_jobs(study: DataStudy, structures: Mapping[str, Sequence[Frame]], data_frames: int) -> list[dict[str, int]]:
    """Jobs of each step of a round of each stage on a cluster, at most; data_frames: see `planned_state`."""
    from lamflow.superops.capacity import ClusterCapacity

    kind, state = kind_of(study), planned_state(study, ClusterCapacity(), structures, data_frames)
    graphs = [kind.round_graph(study, state, 1, index) for index in range(len(kind.stages(study)))]
    return [{step.name: _most_jobs(step) for step in graph.steps} for graph in graphs]


def _most_jobs(step: Step) -> int:
    return step.jobs if isinstance(step.jobs, int) else step.most_jobs


def _stage(
    study: DataStudy, index: int, name: str, graph: Graph, structures: Mapping[str, Sequence[Frame]],
    done: Sequence[Iteration],
) -> PlannedStage:  # fmt: skip
    """A round of a stage; the many steps of a split search are added up."""
    like = [item for item in done if item.stage == name]
    measured = {time.name: time.wall for time in like[-1].steps} if like else {}
    guesses = _guesses(study, index, structures)
    rows: dict[str, PlannedStep] = {}
    for step in graph.steps:
        label, jobs = step.name.rstrip("0123456789"), _most_jobs(step)
        seconds = measured.get(
            step.name, guesses.get(step.resources, SMALL_SECONDS) * -(-step.work // min(jobs, step.at_once or jobs))
        )
        before = rows.get(label, PlannedStep(label, 0, 0, 0.0))
        rows[label] = PlannedStep(
            label, before.work + step.work, before.jobs + jobs, before.seconds + seconds, step.resources,
            min(jobs, step.at_once or jobs),
        )  # fmt: skip
    return PlannedStage(name, list(rows.values()), bool(measured))


def _atoms(simulation: PlannedSimulation, structures: Mapping[str, Sequence[Frame]]) -> int:
    """Atoms of a simulation's or a search's frames, at most."""
    if isinstance(simulation.settings, SearcherSettings):
        return simulation.settings.natoms
    return structures[simulation.structure][0].natoms


def _units(simulation: PlannedSimulation) -> int:
    """Units of work that jobs share: the relaxations of a search that is split, anything else whole."""
    if simulation.split and isinstance(simulation.settings, SearcherSettings):
        return simulation.settings.population * simulation.settings.generations
    return 1


def _guesses(study: DataStudy, index: int, structures: Mapping[str, Sequence[Frame]]) -> dict[Resources, float]:
    """Seconds of a unit of work by resources, from the settings."""
    guesses: dict[Resources, float] = {"small": SMALL_SECONDS}
    if isinstance(study, TrainingStudy):
        guesses["train"] = study.train.seconds()
    atoms = max((frames[0].natoms for frames in structures.values()), default=1)
    if isinstance(study, Config):
        sizes = {name: len(frames) for name, frames in structures.items()}
        simulations = plan_simulations(study.stages[index], sizes, 1, study.seed)
        atoms = max((_atoms(simulation, structures) for simulation in simulations), default=1)
        units = sum(_units(simulation) for simulation in simulations)
        guesses["explore"] = sum(simulation.settings.seconds(atoms) for simulation in simulations) / max(1, units)
    if isinstance(study, EvaluationStudy) and isinstance(study.evaluate, LabelerSettings):
        guesses["explore"] = study.evaluate.seconds(atoms)
    if isinstance(study, PropertiesStudy):
        models = [p.evaluate for p in study.potentials if isinstance(p.evaluate, LabelerSettings)]
        guesses["explore"] = 5 * max((settings.seconds(atoms) for settings in models), default=0.01)
    labelers = [part.label for part in study.all_heads if part.label is not None]
    guesses["label"] = max((settings.seconds(atoms) for settings in labelers), default=1.0)
    return guesses
