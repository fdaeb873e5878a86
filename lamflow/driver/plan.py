"""What a run will do and cost, before it does anything."""

from __future__ import annotations

from dataclasses import dataclass

from lamflow.config.engines import SearcherSettings
from lamflow.config.schema import Config
from lamflow.data import Frame
from lamflow.data.results import Iteration
from lamflow.driver.prepare import frames_of, start_items
from lamflow.driver.shape import KINDS, Machine
from lamflow.science.tasks import PlannedTask, plan_tasks, pods_needed


@dataclass(frozen=True)
class PlannedStep:
    """One step: how many tasks, how many pods share them, and how long it may take here, in s."""

    name: str
    tasks: int
    pods: int
    seconds: float


@dataclass(frozen=True)
class PlannedStage:
    """An iteration of one stage."""

    name: str
    steps: list[PlannedStep]
    measured: bool
    """The times are those of an iteration that has run; otherwise they are guesses from the settings."""

    @property
    def pods(self) -> int:
        """Pods of one iteration."""
        return sum(step.pods for step in self.steps)

    @property
    def seconds(self) -> float:
        """Wall time of one iteration, in s."""
        return sum(step.seconds for step in self.steps)


@dataclass(frozen=True)
class Plan:
    """A run before it runs.

    start_labels  structures that are labeled before the first iteration
    given         labeled frames that were brought
    stages        one iteration of each stage
    labels        most labels that the run can cost
    """

    start_labels: int
    given: int
    stages: list[PlannedStage]
    labels: int
    iterations: int


def plan(config: Config, done: list[Iteration] | None = None, machine: Machine | None = None) -> Plan:
    """The plan of `config` on `machine`; times come from the finished iterations `done` where there are any.

    Reads and builds all structures and data, so it finds what is wrong with them. Raises InputError.
    """
    machine, done = machine or Machine.here(), done or []
    structures = {settings.name: frames_of(settings, config) for settings in config.structures}
    given = start_items(config)
    start = sum(len(structures[name]) for names in config.labeled_first.values() for name in names)
    iterations = config.budget.iterations if config.stages else 1
    most = start + (iterations - 1) * config.select.limit
    stages = [_stage(config, place, structures, done, machine) for place in range(len(config.stages))]
    if not config.stages:
        stages = [PlannedStage("train", [_training(config, done, machine)], measured=bool(done))]
    return Plan(
        start_labels=start,
        given=sum(len(items) for items in given.values()),
        stages=stages,
        labels=min(most, config.budget.labels or most),
        iterations=iterations,
    )


def _training(config: Config, done: list[Iteration], machine: Machine) -> PlannedStep:
    """Training once and nothing more."""
    pod, count = config.pods.train, config.train.total
    slots = machine.slots("train", pod)
    pods = pods_needed(count, slots, pod.tasks_per_pod)
    measured = {time.name: time.wall for time in done[-1].steps} if done else {}
    guess = config.train.seconds() * -(-count // min(pods, slots))
    return PlannedStep("train", count, pods, measured.get("train", guess))


def _atoms(task: PlannedTask, structures: dict[str, list[Frame]]) -> int:
    """Atoms of a task's frames, at most."""
    if isinstance(task.settings, SearcherSettings):
        return task.settings.natoms
    return structures[task.structure][0].natoms


def _stage(
    config: Config, place: int, structures: dict[str, list[Frame]], done: list[Iteration], machine: Machine
) -> PlannedStage:
    stage, pods = config.stages[place], config.pods
    sizes = {name: len(frames) for name, frames in structures.items()}
    tasks = plan_tasks(stage, sizes, 1, config.seed)
    atoms = max((_atoms(task, structures) for task in tasks), default=1)
    slots = {kind: machine.slots(kind, getattr(pods, kind)) for kind in KINDS}
    counts = {"train": config.train.total, "explore": len(tasks), "label": config.select.limit}
    guesses = {
        "train": config.train.seconds(),
        "explore": sum(task.settings.seconds(atoms) for task in tasks) / max(1, len(tasks)),
        "label": max(part.label.seconds(atoms) for part in config.parts if part.label is not None),
    }
    like = [item for item in done if item.stage == stage.name]
    measured = {time.name: time.wall for time in like[-1].steps} if like else {}
    steps = []
    split = [task.settings for task in tasks if task.split and isinstance(task.settings, SearcherSettings)]
    counts["explore"] -= len(split)
    for name in ("train", "explore", "search", "select", "label", "merge"):
        if name == "search":
            steps += _split_searches(split, slots["explore"], guesses["explore"])
            continue
        if counts.get(name) == 0:
            continue
        if name in counts:
            number = pods_needed(counts[name], slots[name], getattr(pods, name).tasks_per_pod)
            waves = -(-counts[name] // min(number, slots[name]))
            seconds = measured.get(name, guesses[name] * waves)
            steps.append(PlannedStep(name, counts[name], number, seconds))
        else:
            steps.append(PlannedStep(name, 1, 1, measured.get(name, 1.0)))
    return PlannedStage(stage.name, steps, bool(measured))


def _split_searches(split: list[SearcherSettings], slots: int, seconds: float) -> list[PlannedStep]:
    """Steps of searches whose generations are dealt out to pods: relaxations in all, and pods of all generations."""
    if not split:
        return []
    together = sum(settings.population for settings in split)
    generations, pods = max(settings.generations for settings in split), max(1, min(slots, together))
    relaxed = sum(settings.population * settings.generations for settings in split)
    return [
        PlannedStep("propose", generations + 1, generations + 1, 2.0 * (generations + 1)),
        PlannedStep("relax", relaxed, pods * generations, seconds * len(split) / pods),
    ]
