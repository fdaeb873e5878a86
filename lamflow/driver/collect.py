"""From the files that an iteration's steps left to the one record of the iteration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lamflow.config.schema import Config
from lamflow.data.dataset import MANIFEST, Manifest
from lamflow.data.results import (
    NEAR_HULL,
    Explored,
    Iteration,
    Labeled,
    Merged,
    ModelResult,
    Selected,
    Shape,
    StepTime,
    Surprise,
)
from lamflow.data.store import INDEX
from lamflow.driver.rundir import RunDirectory, versions
from lamflow.science.metrics import chosen_variant
from lamflow.science.tasks import collected, deal


def collect(
    directory: RunDirectory, config: Config, shape: Shape, spans: Mapping[str, tuple[float, float]], seconds: float
) -> Iteration:
    """The record of an iteration whose workflow has succeeded; `spans` say when each step ran."""
    folder = directory.iteration(shape.number)
    models = [ModelResult.read(path) for path in sorted(folder.glob("models/*/model.json"), key=_number)]
    explored = [Explored.read(path) for path in sorted(folder.glob("explored/*/explored.json"))]
    labeled = [Labeled.read(path) for path in sorted(folder.glob("labeled/*/labeled.json"), key=_number)]
    selected = Selected.read(folder / "selected" / "selected.json") if shape.number and shape.explores else None
    merged_file = folder / "merged" / "merged.json"
    merged = Merged.read(merged_file) if merged_file.is_file() else None
    past = directory.iterations()
    labels = (past[-1].labels if past else 0) + sum(len(part.outcomes) for part in labeled)
    engine = {
        "train": max(
            (sum(models[i].seconds for i in deal(len(models), shape.train, p)) for p in range(shape.train)),
            default=0.0,
        ),
        "explore": max((sum(task.seconds for task in shard.tasks) for shard in explored), default=0.0),
        "label": max((sum(outcome.seconds for outcome in part.outcomes) for part in labeled), default=0.0),
    }
    trained, held = _frames(directory)
    return Iteration(
        number=shape.number,
        stage=config.stage_name(shape.number, shape.stage),
        models=models,
        tasks=collected(task for shard in explored for task in shard.tasks),
        selected=selected,
        merged=merged,
        variant=chosen_variant(models, config.train.within),
        surprises=[
            Surprise(deviation=outcome.origin.deviation, error=outcome.error)
            for part in labeled
            for outcome in part.outcomes
            if outcome.error is not None and outcome.origin.deviation is not None
        ],
        hull_labels=_hull_labels(selected, labeled),
        training_frames=trained,
        heldout_frames=held,
        labels=labels,
        steps=[
            StepTime(name=name, wall=end - start, engine=engine.get(name, 0.0))
            for name, (start, end) in sorted(spans.items(), key=lambda item: item[1])
        ],
        seconds=seconds,
        versions=versions(),
    )


def _hull_labels(selected: Selected | None, labeled: list[Labeled]) -> dict[str, float]:
    """Energies of the structures that were labeled because they lie near the convex hull."""
    near = {chosen.hash for chosen in selected.chosen if chosen.rule.startswith(NEAR_HULL)} if selected else set()
    outcomes = [outcome for part in labeled for outcome in part.outcomes]
    return {each.hash: each.energy for each in outcomes if each.hash in near and each.energy is not None}


def _number(path: Path) -> int:
    return int(path.parent.name)


def _frames(directory: RunDirectory) -> tuple[int, int]:
    """Frames that are trained on, and held out."""

    def count(name: str) -> int:
        files = (directory.path / INDEX).glob(f"*/{name}")
        return sum(len(Manifest.model_validate_json(file.read_bytes()).frames) for file in files)

    return count(MANIFEST), count(f"heldout-{MANIFEST}")
