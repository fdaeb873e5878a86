"""From the files that the steps of a round have left to the one record of the round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lamflow.config import stored
from lamflow.config.installed import engine_packages
from lamflow.config.learning import Config
from lamflow.config.schema import DataStudy, EvaluationStudy, TrainingStudy
from lamflow.config.select import CalibratedWindow
from lamflow.data import layout
from lamflow.data.calibration import RiskCheck
from lamflow.data.dataset import Manifest
from lamflow.data.evaluation import Evaluation, Judgement
from lamflow.data.files import file_hash
from lamflow.data.graph import Graph
from lamflow.data.label_work import LabelCost
from lamflow.data.layout import INDEX, INPUT, iteration_key
from lamflow.data.properties import PropertiesRound, PropertyValues
from lamflow.data.provenance import PACKAGES, Provenance, made_with, versions
from lamflow.data.results import AUDIT, NEAR_HULL, Explored, Iteration, Labeled, LabelOutcome, Merged, ModelResult
from lamflow.data.selected import Selected
from lamflow.data.spent import Spent, StepTime, of_round, spent_on
from lamflow.ops.read import read_heldout
from lamflow.policy.budgets import costs
from lamflow.policy.calibration import calibrated, calibration_points, heldout_points
from lamflow.policy.jobs import merge_partial
from lamflow.policy.models import chosen_variant, without_absurd


@dataclass(frozen=True)
class Timing:
    """How long a round took.

    spans    when each step ran, in s of one clock
    seconds  wall time of the round
    cores    that were there for it; None where others use those that it leaves
    """

    spans: Mapping[str, tuple[float, float]]
    seconds: float
    cores: int | None = None


def gather(study: TrainingStudy, graph: Graph, folder: Path, past: Sequence[Iteration], timing: Timing) -> Iteration:
    """The record of a round of learning or training that has been carried out, from the run's `folder`."""
    iteration = gather_round(graph, folder, past, timing)
    values = _property_values(graph, folder)
    models = without_absurd(iteration.models)
    variant = chosen_variant(models, study.train.tolerance)
    outcomes = _outcomes(graph, folder)
    noise = [one.net_force for one in outcomes if one.net_force is not None]
    update = {
        "models": models, "variant": variant, "tracked": values.tracked() if values is not None else None,
        "risk_checks": _risk_checks(study, iteration, past, folder),
        "costs": costs(study, iteration.models, iteration.simulations, outcomes),
        "label_noise": median(noise) if noise else None,
        "label_costs": [
            LabelCost(**{name: getattr(one, name) for name in LabelCost.model_fields})
            for one in outcomes
            if not one.cached
        ],
    }  # fmt: skip
    return iteration.model_copy(update=update)


def _risk_checks(
    study: TrainingStudy, iteration: Iteration, past: Sequence[Iteration], folder: Path
) -> dict[str, RiskCheck]:
    """What a calibrated window stated of frames whose errors are known now, and what these were."""
    if not isinstance(study, Config) or not isinstance(study.select.window, CalibratedWindow):
        return {}
    models = folder / iteration_key(iteration.number) / layout.MODELS
    held = heldout_points(study.select, read_heldout(models))
    calibration, points = calibrated(study.select.window, past, held, study.select.allowed), iteration.calibration
    checks = {"labels": calibration.check(points), "audit": calibration.check([p for p in points if p.audit])}
    if calibration.basis == "labels" or calibration.refutation is not None:
        checks["held-out data"] = calibration.refutation or calibration.check(held)
    return {name: check for name, check in checks.items() if check is not None}


def gather_evaluation(
    study: EvaluationStudy, graph: Graph, folder: Path, past: Sequence[Evaluation], timing: Timing
) -> Evaluation:
    """The record of a round of an evaluation that has been carried out, from the run's `folder`."""
    file = folder / iteration_key(graph.round) / layout.EVALUATION / layout.JUDGEMENT
    model = stored(folder / INPUT, EvaluationStudy).evaluate.model_file  # the copy that the jobs were given
    return Evaluation(
        **dict(gather_round(graph, folder, past, timing)),
        engine=study.evaluate.engine,
        model=study.evaluate.title,
        sha256=file_hash(model) if model is not None else "",
        judgement=Judgement.read(file) if file.is_file() else None,
    )


def gather_properties(
    study: DataStudy, graph: Graph, folder: Path, past: Sequence[PropertiesRound], timing: Timing
) -> PropertiesRound:
    """The record of a round of a study of properties that has been carried out, from the run's `folder`."""
    del study
    values = _property_values(graph, folder)
    return PropertiesRound(**dict(gather_round(graph, folder, past, timing)), properties=values)


def _property_values(graph: Graph, folder: Path) -> PropertyValues | None:
    """The properties of a round; None for a round without any."""
    file = folder / iteration_key(graph.round) / layout.PROPERTIES / layout.PROPERTIES_RECORD
    return PropertyValues.read(file) if file.is_file() else None


def gather_round(graph: Graph, folder: Path, past: Sequence[Iteration], timing: Timing) -> Iteration:
    """What the steps that lamflow has itself have left of a round, whatever its kind."""
    files = folder / iteration_key(graph.round)
    models = [ModelResult.read(path) for path in _records(files / layout.MODELS, layout.MODEL)]
    explored = [Explored.read(path) for path in sorted((files / layout.EXPLORED).glob(f"*/{layout.EXPLORED_RECORD}"))]
    outcomes = _outcomes(graph, folder)
    selected_file = files / layout.SELECTED / layout.SELECTED_RECORD
    selected = Selected.read(selected_file) if selected_file.is_file() else None
    merged, merged_late = (_merged(files / name) for name in (layout.MERGED, layout.LATE))
    now = _labeled(files, merged)
    trained, held = _frames(folder)
    spent = _spent(graph, folder)
    spans = sorted(timing.spans.items(), key=lambda span: span[1])
    return Iteration(
        number=graph.round,
        stage=graph.stage,
        models=models,
        simulations=merge_partial(result for shard in explored for result in shard.simulations),
        selected=selected,
        merged=merged,
        merged_late=merged_late,
        late=len(selected.chosen) - len(now) if selected is not None and now else 0,
        calibration=calibration_points(outcomes, _audits(selected, *(item.selected for item in past[-1:]))),
        hull_labels=_hull_labels([selected, *(item.selected for item in past[-1:])], outcomes),
        training_frames=trained,
        heldout_frames=held,
        labels=(past[-1].labels if past else 0) + len(outcomes),
        steps=[StepTime(name=name, wall=end - start, spent=spent.get(name, Spent())) for name, (start, end) in spans],
        seconds=timing.seconds,
        spent=of_round(sum(spent.values(), Spent()), timing.spans.values(), timing.seconds, timing.cores),
        versions=versions((*PACKAGES, *engine_packages())),
        provenance=_provenance(graph, folder),
    )


def _outcomes(graph: Graph, folder: Path) -> list[LabelOutcome]:
    """The labels that a round has brought: its own, and those that were late in the one before."""
    files, before = folder / iteration_key(graph.round), folder / iteration_key(graph.round - 1)
    late = _merged(files / layout.LATE)
    return [*_labeled(files, _merged(files / layout.MERGED)), *(_labeled(before, late) if late is not None else [])]


def _merged(folder: Path) -> Merged | None:
    file = folder / layout.MERGED_RECORD
    return Merged.read(file) if file.is_file() else None


def _labeled(files: Path, merged: Merged | None) -> list[LabelOutcome]:
    """Outcomes of a round's label jobs that were merged; of all of them where nothing was."""
    records = _records(files / layout.LABELED, layout.LABELED_RECORD)
    kept = [file for file in records if merged is None or int(file.parent.name) in merged.jobs]
    return [outcome for file in kept for outcome in Labeled.read(file).outcomes]


def _provenance(graph: Graph, folder: Path) -> dict[str, list[Provenance]]:
    """By step what its records in the run's `folder` say made them, each once; steps of one name share a row.

    Raises StateError for a record that cannot be read.
    """
    found: dict[str, list[Provenance]] = {}
    seen: set[Path] = set()
    for step in graph.steps:
        name = step.name.rstrip("0123456789")
        for file in sorted({file for record in step.records for file in folder.glob(record)} - seen):
            seen.add(file)
            made_by = made_with(file)
            if made_by is not None and made_by not in found.setdefault(name, []):
                found[name].append(made_by)
    return {name: makers for name, makers in found.items() if makers}


def _spent(graph: Graph, folder: Path) -> dict[str, Spent]:
    """By step what its jobs have spent, as their records in the run's `folder` say it."""
    found: dict[str, Spent] = {}
    seen: set[Path] = set()
    for step in graph.steps:
        for file in sorted({file for record in step.records for file in folder.glob(record)} - seen):
            seen.add(file)
            found[step.name] = found.get(step.name, Spent()) + spent_on(file)
    return found


def _audits(*selected: Selected | None) -> frozenset[str]:
    """Hashes of the frames that were labeled to see whether accurate frames are accurate."""
    return frozenset(item.hash for each in selected if each for item in each.chosen if item.rule == AUDIT)


def _hull_labels(selected: Sequence[Selected | None], outcomes: Sequence[LabelOutcome]) -> dict[str, float]:
    """Energies of the structures that were labeled because they lie near the convex hull."""
    near = {item.hash for each in selected if each for item in each.chosen if item.rule.startswith(NEAR_HULL)}
    return {each.hash: each.energy for each in outcomes if each.hash in near and each.energy is not None}


def _records(folder: Path, name: str) -> list[Path]:
    """Files called `name` in the numbered folders below `folder`, in order."""
    return sorted(folder.glob(f"*/{name}"), key=lambda path: int(path.parent.name))


def _frames(folder: Path) -> tuple[int, int]:
    """Frames that are trained on, and held out."""

    def count(name: str) -> int:
        files = (folder / INDEX).glob(f"*/{name}")
        return sum(len(Manifest.read(file).frames) for file in files)

    return count(layout.MANIFEST), count(layout.HELDOUT_MANIFEST)
