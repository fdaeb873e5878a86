"""properties.html, properties.json and properties.csv: what potentials say of crystals, beside what they should say."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamflow.data.comparisons import Comparison
from lamflow.data.layout import PROPERTIES, PROPERTIES_RECORD, RECORD, REPORT_PAGE, ROUNDS
from lamflow.data.properties import Curve, PropertiesRound, PropertyResult, PropertyValues
from lamflow.reports.apex import apex_document
from lamflow.reports.axes import GREY, PALETTE, subplots
from lamflow.reports.figures import png
from lamflow.reports.html import embedded as embedded_images
from lamflow.reports.html import page

COLUMNS = (
    "structure", "property", "value of", "where", "potential", "value", "±", "unit", "reference", "error", "error (%)",
    "source",
)  # fmt: skip
TEXT_COLUMNS = ("structure", "property", "value of", "where", "potential", "unit", "source")
FIELDS = (
    "structure", "property", "name", "where", "potential", "value", "uncertainty", "unit", "reference",
    "reference_uncertainty", "error", "relative_error", "source",
)  # fmt: skip
"""Columns of properties.csv; error is value minus reference, relative_error a fraction of the reference."""
UNSCORED = ("E", "E0", "E_atom", "frequency_min", "imaginary_fraction")
"""Values whose relative error means nothing."""
ARRHENIUS = "arrhenius "
"""Names of curves over inverse temperatures begin so, and end with the name of their values."""
MOST_PANELS = 12
"""Panels of one figure; more structures are in the tables."""


def write_properties(run: Path, folder: Path, *, embedded: bool = True) -> Path | None:
    """Write the page of the properties in folder `run`, with properties.json and .csv, into `folder`; returns its path.

    Figures lie in the page properties.html, or beside index.html where it is not `embedded`. None, and nothing is
    written, while there are no properties.
    """
    records = sorted(run.glob(f"{ROUNDS}/*/{RECORD}"))
    found = PropertiesRound.read(records[-1]).properties if records else None
    if found is None:
        return None
    return _write(found, folder, folder / ("properties.html" if embedded else REPORT_PAGE), embedded=embedded)


def write_last_properties(run: Path, folder: Path) -> Path | None:
    """The page of the last iteration of learning that has properties, in a folder of its own; None without any."""
    files = sorted(run.glob(f"{ROUNDS}/*/{PROPERTIES}/{PROPERTIES_RECORD}"))
    own = folder / PROPERTIES
    return _write(PropertyValues.read(files[-1]), own, own / "properties.html", embedded=True) if files else None


def _write(found: PropertyValues, folder: Path, target: Path, *, embedded: bool) -> Path:
    """The page `target`, and beside it the files with its values."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROPERTIES_RECORD).write_text(found.model_dump_json(indent=1), encoding="utf-8")
    (folder / "properties.csv").write_text(as_csv(found.comparisons), encoding="utf-8")
    for potential in dict.fromkeys(result.potential for result in found.results):
        document = json.dumps(apex_document(found.results, potential), indent=1)
        (folder / f"all_result_{potential}.json").write_text(document, encoding="utf-8")
    drawn = {name: png(figure) for name, figure in figures(found).items()}
    images = embedded_images(drawn) if embedded else {name: f"{name}.png" for name in drawn}
    if not embedded:
        for name, image in drawn.items():
            (folder / f"{name}.png").write_bytes(image)
    target.write_text(
        page("properties.html.jinja", found=found, images=images, columns=COLUMNS, text_columns=TEXT_COLUMNS,
             rows=[row(item) for item in found.comparisons], scores=score_table(found.comparisons),
             failed=[result for result in found.results if result.failed],
             noted=[result for result in found.results if result.notes]),
        encoding="utf-8",
    )  # fmt: skip
    return target


def as_csv(comparisons: Sequence[Comparison]) -> str:
    """A row a value, with the columns FIELDS."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(FIELDS)
    for item in comparisons:
        writer.writerow(["" if (cell := getattr(item, name)) is None else cell for name in FIELDS])
    return stream.getvalue()


def row(item: Comparison) -> list[str]:
    """The cells of one value, in the order of COLUMNS."""
    relative = "" if item.relative_error is None else f"{100 * item.relative_error:+.2f}"
    return [
        item.structure, item.property, item.name, item.where, item.potential, _number(item.value),
        "" if item.uncertainty is None else f"{item.uncertainty:.2g}", "" if item.unit == "1" else item.unit,
        "" if item.reference is None else _number(item.reference),
        "" if item.error is None else f"{item.error:+.4g}", relative, item.source,
    ]  # fmt: skip


def _number(value: float) -> str:
    """Six digits, and no more than six decimals."""
    return f"{value:.6g}" if abs(value) >= 1e-6 or value == 0 else f"{value:.3e}"


def is_scored(item: Comparison) -> bool:
    """Its relative error means something: not that of an angle, nor of an energy whose zero is the engine's own."""
    return item.relative_error is not None and item.unit != "°" and item.name not in UNSCORED


def scores(comparisons: Sequence[Comparison]) -> dict[tuple[str, str], dict[str, float]]:
    """Mean absolute relative error in % by structure and property, for each potential that has a reference there."""
    collected: dict[tuple[str, str], dict[str, list[float]]] = {}
    for item in comparisons:
        if is_scored(item):
            errors = collected.setdefault((item.structure, item.property), {})
            errors.setdefault(item.potential, []).append(100 * abs(item.relative_error or 0.0))
    return {key: {name: float(np.mean(own)) for name, own in found.items()} for key, found in collected.items()}


def score_table(comparisons: Sequence[Comparison]) -> dict[str, list[list[str]]]:
    """Header and rows: structures by properties, a column a potential."""
    found = scores(comparisons)
    potentials = list(dict.fromkeys(item.potential for item in comparisons))
    rows = [
        [structure, name, *(f"{own[p]:.2f}" if p in own else "" for p in potentials)]
        for (structure, name), own in found.items()
    ]
    return {"header": [["structure", "property", *potentials]], "rows": rows}


def figures(properties: PropertyValues) -> dict[str, Any]:
    """Every figure that there are values for, by name."""
    drawn: dict[str, Any] = {}
    kinds = dict.fromkeys((result.property, curve.name) for result in properties.results for curve in result.curves)
    for title, name in kinds:
        results = [r for r in properties.results if r.property == title and any(c.name == name for c in r.curves)]
        drawn[f"{title}-{name}"] = _curves(results, name, properties.comparisons)
    errors = scores(properties.comparisons)
    if errors:
        drawn["errors"] = _heat_map(errors)
        drawn["parity"] = _parity([item for item in properties.comparisons if item.reference is not None])
    return drawn


def _curves(results: Sequence[PropertyResult], name: str, comparisons: Sequence[Comparison]) -> Any:
    """A panel for each structure, potentials over each other; over an Arrhenius line what it is compared with."""
    structures = list(dict.fromkeys(result.structure for result in results))[:MOST_PANELS]
    potentials = list(dict.fromkeys(result.potential for result in results))
    columns = min(3, len(structures))
    figure, axes = subplots(columns, -(-len(structures) // columns), width=4.2 if columns > 1 else 5.6, height=3.2)
    for axis in list(axes.flat)[len(structures) :]:
        axis.set_visible(False)
    for axis, structure in zip(axes.flat, structures, strict=False):
        for result in results:
            if result.structure == structure:
                color = PALETTE[potentials.index(result.potential) % len(PALETTE)]
                _draw(axis, [curve for curve in result.curves if curve.name == name], color, result.potential)
        if name.startswith(ARRHENIUS):
            _references(axis, [c for c in comparisons if (c.structure, c.name) == (structure, name[len(ARRHENIUS) :])])
        axis.set_title(structure, fontsize=9)
    axes.flat[0].legend(fontsize=8, frameon=False)
    return figure


def _references(axis: Any, comparisons: Sequence[Comparison]) -> None:
    """What values at temperatures are compared with, over inverse temperatures; its source once in the legend."""
    points: dict[str, set[tuple[float, float]]] = {}
    for item in comparisons:
        warm = re.fullmatch(r"([\d.]+) K", item.where)
        if warm and item.reference is not None and item.reference > 0:
            points.setdefault(item.source, set()).add((1000 / float(warm[1]), float(np.log10(item.reference))))
    for marker, (source, own) in zip(itertools.cycle("*DsP"), points.items(), strict=False):
        x, y = zip(*sorted(own), strict=True)
        axis.plot(x, y, marker, color=GREY, markersize=8, label=source)


def _draw(axis: Any, curves: Sequence[Curve], color: str, label: str) -> None:
    for index, curve in enumerate(curves):
        y = np.array(curve.y) - (min(curve.y) if curve.name == "energy" else 0.0)
        marker = "o-" if len(curve.x) < 40 else "-"
        axis.plot(curve.x, y, marker, color=color, markersize=3, linewidth=1, label=label if index == 0 else None)
        axis.set_xlabel(curve.x_label, fontsize=9)
        axis.set_ylabel(curve.y_label, fontsize=9)
        if curve.ticks and index == 0:
            places = {place: name for name, own in curve.ticks.items() for place in own}
            axis.set_xticks(list(places), list(places.values()), fontsize=8)
            axis.grid(visible=True, axis="x", color=GREY, linewidth=0.5)
            axis.axhline(0.0, color=GREY, linewidth=0.5)
        if curve.name == "dimer":
            axis.set_ylim(min(min(curve.y) - 1, -1), 10)


def _heat_map(errors: dict[tuple[str, str], dict[str, float]]) -> Any:
    """Mean absolute relative errors: rows are structures and properties, columns potentials."""
    potentials = list(dict.fromkeys(name for own in errors.values() for name in own))
    rows = list(errors)
    table = np.array([[errors[key].get(name, np.nan) for name in potentials] for key in rows])
    figure, axes = subplots(1, width=2.6 + 0.9 * len(potentials), height=0.8 + 0.22 * len(rows))
    axis = axes[0, 0]
    image = axis.imshow(np.log10(np.maximum(table, 0.01)), aspect="auto", cmap="RdYlGn_r", vmin=-1, vmax=2)
    axis.set_xticks(range(len(potentials)), potentials, fontsize=8)
    axis.set_yticks(range(len(rows)), [f"{structure} · {name}" for structure, name in rows], fontsize=7)
    for (line, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            axis.text(column, line, f"{value:.1f}", ha="center", va="center", fontsize=7)
    bar = figure.colorbar(image, ax=axis, ticks=[-1, 0, 1, 2])
    bar.ax.set_yticklabels(["0.1 %", "1 %", "10 %", "100 %"], fontsize=7)
    return figure


def _parity(comparisons: Sequence[Comparison]) -> Any:
    """Ratio of value and reference of everything, by property."""
    figure, axes = subplots(1, width=8.0, height=3.2)
    axis, names = axes[0, 0], list(dict.fromkeys(item.property for item in comparisons))
    potentials = list(dict.fromkeys(item.potential for item in comparisons))
    for item in comparisons:
        if is_scored(item) and item.reference:
            place = potentials.index(item.potential)
            x = names.index(item.property) + 0.12 * (place - (len(potentials) - 1) / 2)
            axis.plot(x, item.value / item.reference, ".", color=PALETTE[place % len(PALETTE)], markersize=5)
    for place, name in enumerate(potentials):
        axis.plot([], [], ".", color=PALETTE[place % len(PALETTE)], label=name)
    axis.axhline(1.0, color=GREY, linewidth=1)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    axis.set_ylabel("value / reference", fontsize=9)
    axis.legend(fontsize=8, frameon=False)
    return figure
