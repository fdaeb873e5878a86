"""Everything that can be wrong with the inputs of a study: looked for before anything runs, and said in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lamflow.config.engines import EngineSettings, LabelerSettings, TrainerSettings, WalkerSettings
from lamflow.config.learning import Config
from lamflow.config.pods import Cluster
from lamflow.config.schema import DataStudy, TrainingStudy
from lamflow.data import Frame
from lamflow.data.graph import sufficient
from lamflow.data.run import Reference
from lamflow.driver.pretrained import fetched
from lamflow.driver.references import resolved
from lamflow.driver.start_data import StartData, check_start, read_sources
from lamflow.driver.structures import frames_of, sample_of
from lamflow.engines import registry
from lamflow.engines.protocol import ChecksFrames
from lamflow.errors import EngineError, InputError, Problems
from lamflow.flow.kinds import kind_of
from lamflow.science.moment_range import extrapolation, moment_warnings
from lamflow.science.plausibility import GivenData
from lamflow.superops.capacity import ClusterCapacity

WAITS = (
    "select.enough: on this machine all labels of an iteration are waited for; `lamflow run FILE --on shell` runs here "
    "like a batch system and waits for this share only"
)


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a study was given, and what a person should know of it.

    structures  by the name of their set
    """

    data: StartData
    structures: dict[str, list[Frame]]
    summary: GivenData
    warnings: list[str]


def inspect_inputs(config: DataStudy) -> Inspection:
    """Read every file of structures, data and models that is here, and build all structures, of random ones a sample.

    Raises InputError with everything that cannot be used.
    """
    config, references = resolved(config, only_if_here=True)
    return inspected(config, fetched(config, only_if_here=True), references, sample=True)


def inspected(
    config: DataStudy, with_models: DataStudy, references: Sequence[Reference], *, sample: bool = False
) -> Inspection:
    """See `inspect_inputs`; `with_models` is `config` with its model files, as far as they are here, and `references`
    are what it takes from other runs."""
    problems = Problems()
    structures: dict[str, list[Frame]] = {}
    for settings in config.structures:
        with problems.collect(f"structures.{settings.name}"):
            structures[settings.name] = (sample_of if sample else frames_of)(settings, config)
    _check_explored(config, structures, problems)
    _check_channels(config, structures, problems)
    before = len(problems.found)
    data = read_sources(config, problems)
    if len(problems.found) == before:
        with problems.collect():
            check_start(config, data, structures)
    frames = [item.labeled.frame for items in data.items.values() for item in items]
    warnings = _examined(with_models, frames, problems)
    _check_labels(config, structures, problems)
    _check_budget(config, structures, problems)
    _check_potentials(config, structures, problems)
    _check_evaluated(with_models, frames, structures, problems)
    inspected_sources: list[str] = []
    with problems.collect():
        inspected_sources = kind_of(config).inspect(config, structures)
    problems.report()
    given = data.summary()
    said = _waited_for(config) if isinstance(config, Config) and config.select.enough < 1 else []
    said += _beyond_budget(config, structures) if isinstance(config, Config) else []
    if isinstance(config, TrainingStudy):
        first = {name for part in config.all_heads for name in part.start.label}
        trained = [item.labeled.frame for item in data.items["train"]]
        trained += [frame for name in sorted(first) for frame in structures.get(name, [])]
        said += moment_warnings(trained, config.train.magnetic_elements)
    else:
        judged = [*frames, *(frame for some in structures.values() for frame in some)]
        said += [
            f"the model of {reference.run} {text}"
            for reference in references
            if (text := extrapolation(reference.moments, judged))
        ]
    return Inspection(data, structures, given, [*given.warnings, *warnings, *said, *inspected_sources])


def _labeled_first(config: DataStudy, structures: Mapping[str, list[Frame]]) -> dict[str, list[Frame]]:
    """Structures that are labeled before the first iteration, by head, as far as they could be built."""
    first: dict[str, list[Frame]] = {}
    for (head, _), names in config.labeled_first.items():
        first.setdefault(head, []).extend(frame for name in names for frame in structures.get(name, []))
    return first


def _check_budget(config: DataStudy, structures: Mapping[str, list[Frame]], problems: Problems) -> None:
    """More structures are labeled first than labels may be paid for."""
    first, limit = sum(map(len, _labeled_first(config, structures).values())), config.budget.labels
    if limit is not None and first > limit:
        problems.found.append(
            f"budget.labels is {limit}, and {first} structures are to be labeled before the first iteration "
            "(start.label and heldout.label); raise it or label fewer"
        )


def _beyond_budget(config: Config, structures: Mapping[str, list[Frame]]) -> list[str]:
    """That the first labels alone take more than is to be spent, as the label engines guess; they are bought anyway."""
    pod, seconds = config.pods.label, 0.0
    engines = {part.name: part.label for part in config.all_heads}
    for head, frames in _labeled_first(config, structures).items():
        engine = engines[head]
        seconds += sum(engine.seconds(frame.natoms) for frame in frames) if engine is not None else 0.0
    spent = {"core_hours": seconds * pod.threads / 3600, "gpu_hours": seconds * pod.gpus / 3600}
    return [
        f"budget.{name} is {limit:g}, and the labels before the first iteration take about {value:.3g} by a guess; "
        "budgets are looked at when an iteration labels, so these are paid whatever they cost"
        for name, value in spent.items() if (limit := getattr(config.budget, name)) is not None and value > limit
    ]  # fmt: skip


def _waited_for(config: Config) -> list[str]:
    """Why all labels of an iteration are waited for, although a part of them is said to be enough."""
    pod, share = config.pods.label, config.select.enough
    if config.batch is None and config.cluster == Cluster():
        return [WAITS]
    capacity = ClusterCapacity() if config.batch is None else ClusterCapacity.of(config.batch)
    slots = capacity.slots("label", pod)
    if pod.work_per_job is not None or sufficient(share, slots) < slots:
        return []
    return [
        f"select.enough: {share:g} of {slots} label jobs are all of them, so all labels are waited for; "
        "`pods: {label: {work_per_job: 1}}` makes a job of each label"
    ]


def check_inputs(config: DataStudy) -> list[str]:
    """Read every file that is here, and return warnings: see `inspect_inputs`."""
    return inspect_inputs(config).warnings


def examine(config: DataStudy) -> list[str]:
    """Warnings about the model files that engines are given. Raises InputError for those that cannot be used."""
    problems = Problems()
    warnings = _examined(config, [], problems)
    problems.report()
    return warnings


def labelers(config: DataStudy) -> list[LabelerSettings]:
    """Every label engine of the run."""
    return [part.label for part in config.all_heads if part.label is not None]


def _examined(config: DataStudy, frames: Sequence[Frame], problems: Problems) -> list[str]:
    """Warnings of the engines about what they are given."""
    warnings: list[str] = []
    for where, settings in _engines(config):
        own = Problems()
        with own.collect():
            warnings += settings.examine(config)
            if isinstance(settings, TrainerSettings):
                warnings += settings.examine_data(config, frames)
        problems.found += [_placed(where, message, config) for message in own.found]
    return warnings


def _engines(config: DataStudy) -> list[tuple[str, EngineSettings]]:
    """The settings of every engine, and the name of its key."""
    found: list[tuple[str, EngineSettings]] = [
        (name, getattr(config, name)) for name in ("train", "evaluate") if hasattr(config, name)
    ]
    models = getattr(config, "models", None)
    found += [(f"models.engines[{index}]", item) for index, item in enumerate(models.engines if models else [])]
    for number, stage in enumerate(getattr(config, "stages", [])):
        found += [(f"stages[{number}].explore[{index}]", group) for index, group in enumerate(stage.explore)]
    for number, potential in enumerate(getattr(config, "potentials", [])):
        found.append((f"potentials[{number}].{potential.role}", potential.engine))
    return [*found, *((_label(part.name), part.label) for part in config.all_heads if part.label is not None)]


def _label(head: str) -> str:
    return f"heads.{head}.label" if head else "label"


def _placed(where: str, message: str, config: DataStudy) -> str:
    """An engine's message that begins with the setting that it is about."""
    first = message.replace(":", ".").split(".")[0]
    if where.endswith(".label") and first == "label":
        return where.removesuffix("label") + message
    return message if first in type(config).model_fields else f"{where}: {message}"


def _refusing(settings: LabelerSettings) -> ChecksFrames | None:
    """The label engine, if it knows what it refuses; one whose model has not been fetched does not."""
    try:
        labeler = registry.labeler(settings)
    except (EngineError, InputError):  # what is wrong with it is said where engines are examined
        return None
    return labeler if isinstance(labeler, ChecksFrames) else None


def _check_explored(config: DataStudy, structures: Mapping[str, list[Frame]], problems: Problems) -> None:
    """Structures that an explorer cannot begin with: the first of each set."""
    for where, group in [(where, group) for where, group in _engines(config) if isinstance(group, WalkerSettings)]:
        for name in group.structures:
            with problems.collect():
                for index, frame in enumerate(structures.get(name, [])):
                    reason = group.unsupported_start(frame)
                    if reason is not None:
                        raise InputError(f"{where}: structures.{name}, structure {index}: {reason}")


def _check_channels(config: DataStudy, structures: Mapping[str, list[Frame]], problems: Problems) -> None:
    """Channels that no frame of a group has, or of any group where they hold for all: isolated ones have no virial."""
    isolated = list[bool]()
    for where, group in [(where, group) for where, group in _engines(config) if isinstance(group, WalkerSettings)]:
        frames = [frame for name in group.structures for frame in structures.get(name, [])]
        virial = any(channel.metric.startswith("virial") for channel in group.channels or [])
        if virial and frames and not any(frame.pbc for frame in frames):
            named = ", ".join(group.structures)
            problems.found.append(f"{where}.channels: virial_max: all structures of {named} are isolated and have none")
        isolated.append(bool(frames) and not any(frame.pbc for frame in frames))
    select = config.select if isinstance(config, Config) else None
    if select is not None and isolated and all(isolated) and any(m.startswith("virial") for m in select.metrics):
        problems.found.append("select: virial_max: all structures that are explored are isolated and have none")


def _check_potentials(config: DataStudy, structures: Mapping[str, list[Frame]], problems: Problems) -> None:
    """Crystals that the label engine of a potential cannot treat: the first of each set."""
    for number, potential in enumerate(getattr(config, "potentials", [])):
        where = f"potentials[{number}].label"
        faulty = potential.label is None or any(problem.startswith(where) for problem in problems.found)
        labeler = None if faulty else _refusing(potential.label)
        for name, frames in structures.items() if labeler is not None else ():
            reason = labeler.unsupported_reason(frames[0]) if labeler is not None else None
            if reason is not None:
                problems.found.append(f"{where}: structures.{name} cannot be labeled: {reason}")


def _check_evaluated(
    config: DataStudy, labeled: Sequence[Frame], structures: Mapping[str, list[Frame]], problems: Problems
) -> None:
    """Frames of elements that an engine does not know which evaluates them, with magnetic moments that it does not see,
    or without those that it needs."""
    judged = [*labeled, *(frame for frames in structures.values() for frame in frames)]
    for where, settings in _engines(config):
        if not where.endswith("evaluate") or any(problem.startswith(where) for problem in problems.found):
            continue
        known, elements = settings.known_elements(), {symbol for frame in labeled for symbol in frame.symbols}
        if known is not None and elements - known and where == "evaluate" and not config.heads:
            strange, listed = (", ".join(sorted(some)) for some in (elements - known, known))
            problems.found.append(
                f"evaluate: {settings.title} cannot treat {strange}; as set up here it knows {listed}"
            )
            continue
        blind = isinstance(settings, LabelerSettings) and not settings.uses_spins
        seen = () if blind else settings.moments_seen
        lacking = [frame for frame in judged if frame.spins is None and set(frame.symbols) & set(seen or ())]
        if seen is not None and not seen and any(frame.spins is not None for frame in judged):
            problems.found.append(
                f"{where}: {settings.title} sees no magnetic moments, and the frames have some; take a model that was "
                "trained with spins, or set `spins: ignore` beside the data, or leave `spins` out of structures"
            )
        elif lacking:
            problems.found.append(
                f"{where}: {settings.title} needs the magnetic moments of {', '.join(seen or ())}, and a frame has "
                "none; give them by `keys: {spin: NAME}` beside the data, or by `spins` of structures"
            )


def _check_labels(config: DataStudy, structures: Mapping[str, list[Frame]], problems: Problems) -> None:
    """Structures that are labeled or explored and none for their label engine; not where that has a fault itself."""
    for part in config.all_heads:
        faulty = any(problem.startswith(_label(part.name)) for problem in problems.found)
        labeler = None if faulty or part.label is None else _refusing(part.label)
        if labeler is None:
            continue
        explored = config.explored_structures(part.name)
        for name in dict.fromkeys([*part.start.label, *part.heldout.label, *explored]):
            reason = labeler.unsupported_reason(structures[name][0]) if name in structures else None
            if reason is not None:
                problems.found.append(f"{_label(part.name)}: structures.{name} cannot be labeled: {reason}")
