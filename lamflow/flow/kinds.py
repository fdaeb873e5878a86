"""The kinds of workflow that lamflow has, a row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lamflow.config.cleaning import CleaningStudy
from lamflow.config.kinds import Kind, kind_named
from lamflow.config.learning import Config
from lamflow.config.properties import PropertiesStudy
from lamflow.config.schema import DataStudy, EvaluationStudy, Study, TrainingStudy
from lamflow.config.transport import TransportStudy
from lamflow.data.cleaning import Cleaning
from lamflow.data.evaluation import Evaluation
from lamflow.data.frames import Frame
from lamflow.data.graph import Graph
from lamflow.data.properties import PropertiesRound
from lamflow.data.results import Iteration
from lamflow.errors import StateError

if TYPE_CHECKING:
    from lamflow.superops.gather import Timing
    from lamflow.superops.state import RunState


Structures = Mapping[str, Sequence[Frame]]


def kind_of(study: Study) -> Kind:
    """The row that a study belongs to."""
    return kind_named(study.workflow)


def _learning_graph(study: Config, state: RunState) -> Graph | None:
    from lamflow.superops.learning import next_graph

    return next_graph(study, state)


def _training_graph(study: TrainingStudy, state: RunState) -> Graph | None:
    from lamflow.superops.training import next_graph

    return next_graph(study, state)


def _learning_round(study: Config, state: RunState, number: int, stage: int) -> Graph:
    from lamflow.superops.learning import round_graph

    return round_graph(study, state, number, stage)


def _training_round(study: TrainingStudy, state: RunState, number: int, stage: int) -> Graph:
    from lamflow.superops.training import round_graph

    del stage
    return round_graph(study, state, number)


def _one_stage(study: TrainingStudy) -> list[str]:
    del study
    return ["train"]


def _stage_names(study: Config) -> list[str]:
    return [stage.name for stage in study.stages]


def _gather(
    study: TrainingStudy, graph: Graph, folder: Path, finished: Sequence[Iteration], timing: Timing
) -> Iteration:
    from lamflow.superops.gather import gather

    return gather(study, graph, folder, finished, timing)


def _report(run: Path, folder: Path, embedded: bool) -> Path:
    from lamflow.reports.html import write_pages, write_report
    from lamflow.reports.properties import write_last_properties
    from lamflow.reports.source import read_source

    write_last_properties(run, folder)
    return (write_report if embedded else write_pages)(read_source(run), folder)


def _stages_are_known(study: Config, finished: Sequence[Iteration]) -> None:
    gone = {item.stage for item in finished if item.selected} - {stage.name for stage in study.stages}
    if gone:
        raise StateError(f"the run has been through stage {sorted(gone)[0]!r}, which is not in the file")


def _iterations(study: Config) -> int:
    return study.budget.iterations


def _evaluation_graph(study: EvaluationStudy, state: RunState) -> Graph | None:
    from lamflow.superops.evaluation import next_graph

    return next_graph(study, state)


def _evaluation_round(study: EvaluationStudy, state: RunState, number: int, stage: int) -> Graph:
    from lamflow.superops.evaluation import round_graph

    del stage
    return round_graph(study, state, number)


def _evaluation_stage(study: EvaluationStudy) -> list[str]:
    del study
    return ["evaluate"]


def _gather_evaluation(
    study: EvaluationStudy, graph: Graph, folder: Path, finished: Sequence[Evaluation], timing: Timing
) -> Evaluation:
    from lamflow.superops.gather import gather_evaluation

    return gather_evaluation(study, graph, folder, finished, timing)


def _report_evaluation(run: Path, folder: Path, embedded: bool) -> Path | None:
    from lamflow.reports.evaluation import write_evaluation

    return write_evaluation(run, folder, embedded=embedded)


def _properties_graph(study: PropertiesStudy, state: RunState) -> Graph | None:
    from lamflow.superops.properties import next_graph

    return next_graph(study, state)


def _properties_round(study: PropertiesStudy, state: RunState, number: int, stage: int) -> Graph:
    from lamflow.superops.properties import round_graph

    del stage
    return round_graph(study, state, number)


def _properties_stage(study: PropertiesStudy) -> list[str]:
    del study
    return ["properties"]


def _gather_properties(
    study: PropertiesStudy, graph: Graph, folder: Path, finished: Sequence[PropertiesRound], timing: Timing
) -> PropertiesRound:
    from lamflow.superops.gather import gather_properties

    return gather_properties(study, graph, folder, finished, timing)


def _transport_graph(study: TransportStudy, state: RunState) -> Graph | None:
    from lamflow.superops.transport import next_graph

    return next_graph(study, state)


def _transport_round(study: TransportStudy, state: RunState, number: int, stage: int) -> Graph:
    from lamflow.superops.transport import round_graph

    del stage
    return round_graph(study, state, number)


def _transport_stage(study: TransportStudy) -> list[str]:
    del study
    return ["transport"]


def _transport_rounds(study: TransportStudy) -> int:
    return study.rounds


def _report_properties(run: Path, folder: Path, embedded: bool) -> Path | None:
    from lamflow.reports.properties import write_properties

    return write_properties(run, folder, embedded=embedded)


def _cleaning_graph(study: CleaningStudy, state: RunState) -> Graph | None:
    from lamflow.superops.cleaning import next_graph

    return next_graph(study, state)


def _cleaning_round(study: CleaningStudy, state: RunState, number: int, stage: int) -> Graph:
    from lamflow.superops.cleaning import round_graph

    return round_graph(study, state, number, stage)


def _cleaning_stages(study: CleaningStudy) -> list[str]:
    from lamflow.superops.cleaning import stage_names

    return stage_names(study)


def _gather_cleaning(
    study: CleaningStudy, graph: Graph, folder: Path, finished: Sequence[Cleaning], timing: Timing
) -> Cleaning:
    from lamflow.superops.cleaning import gather

    return gather(study, graph, folder, finished, timing)


def _report_cleaning(run: Path, folder: Path, embedded: bool) -> Path | None:
    from lamflow.reports.cleaning import write_cleaning

    return write_cleaning(run, folder, embedded=embedded)


def _begin_cleaning(study: CleaningStudy, folder: Path, slots: int) -> None:
    from lamflow.superops.sources import begin

    begin(study, folder, slots)


def _labels_redone(study: DataStudy, changed: set[str]) -> int:
    """Labels are of the start, trainings and judgements of the round after it."""
    del study
    return 0 if changed & {"label", "heads"} else 1


def _properties_redone(study: PropertiesStudy, changed: set[str]) -> int:
    del study
    return 1 if changed <= {"properties", "reference", "gates"} else 0


def _transport_redone(study: TransportStudy, changed: set[str]) -> int:
    """Displacements are of the first round on; what is made of them, of the last one."""
    if changed & {"potentials", "relax"}:
        return 0
    return study.rounds if changed <= {"method", "extrapolate", "error", "rounds", "reference", "gates"} else 1


def _cleaning_redone(study: CleaningStudy, changed: set[str]) -> int:
    from lamflow.superops.cleaning import redone_from

    return redone_from(study, changed)


def _inspect_properties(study: PropertiesStudy, structures: Structures) -> list[str]:
    from lamflow.superops.properties import inspect

    return inspect(study, structures)


def _inspect_tracked(study: Config, structures: Structures) -> list[str]:
    from lamflow.superops.properties import inspect

    return inspect(study.properties, structures) if study.properties is not None else []


def _inspect_sources(study: CleaningStudy, structures: Structures) -> list[str]:
    from lamflow.superops.sources import inspect

    del structures
    return inspect(study)


LEARNING = Kind(
    "learning", Config, _learning_graph, _learning_round, _stage_names, _gather, Iteration, _report,
    open_ended=True, check_resumable=_stages_are_known, most_rounds=_iterations, inspect=_inspect_tracked,
)  # fmt: skip
TRAINING = Kind(
    "training", TrainingStudy, _training_graph, _training_round, _one_stage, _gather, Iteration, _report,
    redone_from=_labels_redone,
)  # fmt: skip
EVALUATION = Kind(
    "evaluation", EvaluationStudy, _evaluation_graph, _evaluation_round, _evaluation_stage, _gather_evaluation,
    Evaluation, _report_evaluation, begins_again=True, redone_from=_labels_redone,
)  # fmt: skip
PROPERTIES = Kind(
    "properties", PropertiesStudy, _properties_graph, _properties_round, _properties_stage, _gather_properties,
    PropertiesRound, _report_properties, begins_again=True, redone_from=_properties_redone, inspect=_inspect_properties,
)  # fmt: skip
CLEANING = Kind(
    "cleaning", CleaningStudy, _cleaning_graph, _cleaning_round, _cleaning_stages, _gather_cleaning, Cleaning,
    _report_cleaning, begins_again=True, most_rounds=lambda study: len(_cleaning_stages(study)), begin=_begin_cleaning,
    inspect=_inspect_sources, redone_from=_cleaning_redone,
)  # fmt: skip
TRANSPORT = Kind(
    "transport", TransportStudy, _transport_graph, _transport_round, _transport_stage, _gather_properties,
    PropertiesRound, _report_properties, begins_again=True, most_rounds=_transport_rounds, inspect=_inspect_properties,
    redone_from=_transport_redone,
)  # fmt: skip
