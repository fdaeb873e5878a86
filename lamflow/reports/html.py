"""report.html: one file, figures inside it, no script. report.json: the same numbers for programs."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from lamflow.data.layout import REPORT_PAGE
from lamflow.reports import search, trend
from lamflow.reports.figures import figures
from lamflow.reports.groups import GROUP_COLUMNS, group_rows
from lamflow.reports.moments import MOMENT_COLUMNS, moment_rows
from lamflow.reports.risk import RISK_COLUMNS, risk_rows
from lamflow.reports.source import Source
from lamflow.reports.tables import (
    COLUMNS,
    COST_COLUMNS,
    LABEL_COLUMNS,
    SPENT_COLUMNS,
    STRUCTURE_COLUMNS,
    cost_rows,
    dropped_rows,
    failed_simulations,
    head_rows,
    iteration_row,
    label_rows,
    model_row,
    provenance_rows,
    spent_rows,
    structure_rows,
)

SECTIONS = (
    (
        "learning",
        "Learning curve",
        "Errors on the held-out data, which no model is ever trained on. One dot a model.",
    ),
    (
        "heads",
        "What each head learns and forgets",
        "Errors on each head's held-out data; one that replays a head of the pre-trained model shows forgetting.",
    ),
    (
        "students",
        "Error against speed",
        "One mark a model; the architecture that is chosen is the fastest that is good enough (train.speed_tolerance).",
    ),
    (
        "fractions",
        "What the models know",
        "Explored frames by their deviation, or their error against the teacher: below, inside and above the window.",
    ),
    (
        "deviation",
        "What the window looks at",
        "Histogram of the explored frames; the window is shaded, the last bin holds all beyond.",
    ),
    (
        "calibration",
        "Does the window mean anything?",
        "Frames that were labeled: what the selection said of them, and how wrong the models really were before.",
    ),
    (
        "committee",
        "Does the committee know its errors?",
        "Held-out frames: how much the last models disagree, and how wrong their mean is; the line is equality.",
    ),
    (
        "hull",
        "Convex hull",
        "Structures of the last search; hulls by the models and by the labels, each from its own lowest end members.",
    ),
    (
        "generations",
        "Generations",
        "How near the structures of each generation of the last search came to the hull.",
    ),
    (
        "properties",
        "Properties",
        "Errors of the models' properties against their references, iteration by iteration; gates are listed below.",
    ),
    ("parity", "Parity", "Predictions of the last models for the held-out data."),
    ("loss", "Loss", "Errors on the training batches, of the trainings that run now or ran last."),
    (
        "structures",
        "Selected structures",
        "The most uncertain frames labeled last, with deviation and the beginning of the hash for `lamflow why`.",
    ),
    ("time", "Wall time", "By step of each iteration."),
)
TEXT_COLUMNS = ("stage", "then")


def write_report(source: Source, folder: Path) -> Path:
    """Write report.html and report.json into `folder` and return the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(summary(source), indent=1), encoding="utf-8")
    search.write_structures(source.path, source.iterations, folder / search.FOLDER)
    target = folder / "report.html"
    target.write_text(render(source, embedded(figures(source))), encoding="utf-8")
    return target


def write_pages(source: Source, folder: Path) -> Path:
    """Write index.html, its figures beside it and report.json into `folder`, and return the path of the first.

    Argo's UI shows it: its content security policy wants images from the same server and no script.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = figures(source)
    for name, png in drawn.items():
        (folder / f"{name}.png").write_bytes(png)
    (folder / "report.json").write_text(json.dumps(summary(source), indent=1), encoding="utf-8")
    search.write_structures(source.path, source.iterations, folder / search.FOLDER)
    target = folder / REPORT_PAGE
    target.write_text(render(source, {name: f"{name}.png" for name in drawn}), encoding="utf-8")
    return target


def render(source: Source, images: dict[str, str]) -> str:
    """The page; `images` are the addresses of its figures by name."""
    return page(
        "report.html.jinja",
        source=source,
        images=images,
        sections=SECTIONS,
        columns=COLUMNS,
        text_columns=TEXT_COLUMNS,
        rows=[iteration_row(iteration) for iteration in source.iterations],
        cards=_cards(source),
        models=[model_row(model, source.iterations[-1].variant) for model in source.iterations[-1].models]
        if source.iterations
        else [],
        heads=head_rows(source.config.heads, source.baseline, source.trained[-1].models if source.trained else []),
        labelers=list(dict.fromkeys(part.label.engine for part in source.config.all_heads if part.label)),
        hulls=search.tables(source.iterations),
        hull_columns=search.COLUMNS,
        dropped=dropped_rows(source.iterations),
        structures=structure_rows(source.config.structures, source.starts),
        structure_columns=STRUCTURE_COLUMNS,
        label_table=label_rows(source.iterations),
        label_columns=LABEL_COLUMNS,
        costs=cost_rows(source.iterations),
        cost_columns=COST_COLUMNS,
        risks=risk_rows(source.iterations),
        risk_columns=RISK_COLUMNS,
        moments=moment_rows(source.iterations),
        moment_columns=MOMENT_COLUMNS,
        groups=group_rows(source.iterations),
        group_columns=GROUP_COLUMNS,
        failed=failed_simulations(source.iterations),
        trend=trend.rows(source.iterations),
        trend_columns=trend.COLUMNS,
        trend_words=trend.TEXT_COLUMNS,
        tracked=next((it.tracked for it in reversed(source.iterations) if it.tracked is not None), None),
        provenance=provenance_rows(source.iterations),
        spent_columns=SPENT_COLUMNS,
        spent=spent_rows(source.iterations),
    )


def page(template: str, **values: Any) -> str:
    """A template of this package, filled in."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("lamflow.reports", "."), autoescape=True)
    return environment.get_template(template).render(**values)


def summary(source: Source) -> dict[str, Any]:
    """The run in numbers: its record and those of its iterations, without the list of every chosen frame."""
    without: Any = {"selected": {"chosen": True}, "simulations": {"__all__": {"log"}}}
    return {
        "schema_version": 1,
        "run": source.run.model_dump(mode="json"),
        "iterations": [
            {**iteration.model_dump(mode="json", exclude=without), "force_rmse": iteration.force_rmse}
            for iteration in source.iterations
        ],
    }


def _cards(source: Source) -> list[tuple[str, str]]:
    if not source.iterations:
        return []
    last = source.iterations[-1]
    cards = []
    if last.force_rmse is not None:
        cards.append((f"{last.force_rmse:.4f} eV/Å", "held-out force RMSE"))
    if last.magnetic_force_rmse is not None:
        cards.append((f"{last.magnetic_force_rmse:.4f} eV/μB", "held-out magnetic force RMSE"))
    if source.zero_shot is not None:
        cards.append((f"{source.zero_shot.force_rmse:.4f} eV/Å", "zero-shot, before fine-tuning"))
    if last.variant:
        cards.append((last.variant, "chosen architecture"))
    if last.selected is not None:
        cards.append((f"{last.selected.accurate_fraction:.1%}", "of explored frames accurate"))
        if last.selected.gain is not None:
            gain = last.selected.gain
            cards.append(
                (f"{gain.expected:.2g} ± {gain.uncertainty:.1g} eV/Å", f"that {gain.labels} labels would bring")
            )
        if last.selected.calibration is not None and last.selected.calibration.above is not None:
            cards.append((f"{last.selected.calibration.above:.1%}", "of explored frames predicted to err too much"))
    searched = search.newest(source.iterations)
    if searched is not None and searched.selected is not None:
        states = sum(len(hull.corners) for hull in searched.selected.hulls)
        cards.append((str(states), "ground states found"))
        if searched.selected.ground_state_error is not None:
            cards.append(
                (f"{1000 * searched.selected.ground_state_error:.1f} meV/atom", "ground-state error by the labels")
            )
    if last.selected is not None and last.selected.trajectory_force_rmse is not None:
        cards.append((f"{last.selected.trajectory_force_rmse:.4f} eV/Å", "against the teacher on own trajectories"))
    cached = sum(iteration.merged.cached for iteration in source.iterations if iteration.merged)
    cards.append((str(last.labels - cached), "labels paid for"))
    if cached:
        cards.append((str(cached), "labels from the cache"))
    cards.append((str(last.training_frames), "frames trained on"))
    cards.append((f"{sum(it.seconds for it in source.iterations) / 60:.1f} min", "wall time"))
    return cards


def embedded(images: dict[str, bytes]) -> dict[str, str]:
    """PNG images as addresses that hold them."""
    return {name: "data:image/png;base64," + base64.b64encode(png).decode() for name, png in images.items()}
