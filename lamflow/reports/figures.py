"""Figures of a report, as PNG."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from lamflow.config.select import Select
from lamflow.data.frames import Floats
from lamflow.data.results import Iteration, mean_force_rmse
from lamflow.reports import search, trend
from lamflow.reports.axes import BLUE, GREEN, GREY, ORANGE, PALETTE, PURPLE, RED, subplots
from lamflow.reports.source import Source

MOST_POINTS = 20_000
"""Points of a parity plot; more are thinned out evenly."""
MOST_HEADS = 12
"""Tasks, and lines, that a figure names."""
FEWEST_POINTS = 5
"""Labels that say something about a deviation."""
ARROW = 0.35
"""Half the length of the arrow that stands for 1 μB, Å."""
STEP_COLORS = {
    "train": BLUE, "explore": ORANGE, "select": GREY, "label": GREEN, "merge": PURPLE, "evaluate": RED,
}  # fmt: skip


def figures(source: Source) -> dict[str, bytes]:
    """Every figure that the run has data for, by name, as PNG."""
    drawers = {
        "learning": _learning_curve,
        "heads": _heads,
        "students": _students,
        "fractions": _fractions,
        "deviation": _deviation,
        "calibration": _calibration,
        "committee": _committee,
        "hull": lambda source: search.hull_figure(source.iterations),
        "generations": lambda source: search.generations_figure(source.iterations),
        "parity": _parity,
        "loss": _loss,
        "properties": lambda source: trend.figure(source.iterations),
        "structures": _structures,
        "time": _time,
    }
    found = {}
    for name, draw in drawers.items():
        figure = draw(source)
        if figure is not None:
            found[name] = png(figure)
    return found


def png(figure: Any) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _learning_curve(source: Source) -> Any:
    """Held-out errors against the labels that the models were trained on."""
    learned = [it for it in source.trained if any(model.errors for model in it.models)]
    if not learned:
        return None
    labels = [source.iterations[it.number - 1].labels for it in learned]
    magnetic = any(m.errors.magnetic_force_rmse is not None for it in learned for m in it.models if m.errors)
    figure, axes = subplots(3 if magnetic else 2)
    wanted = source.learning.converge.heldout_force_rmse if source.learning else None
    for axis, name, unit, scale in (
        (axes[0, 0], "force_rmse", "force RMSE (eV/Å)", 1.0),
        (axes[0, 1], "energy_rmse", "energy RMSE (meV/atom)", 1000.0),
        *([(axes[0, 2], "magnetic_force_rmse", "magnetic force RMSE (eV/μB)", 1.0)] if magnetic else []),
    ):
        values = [[scale * (getattr(m.errors, name) or 0.0) for m in it.models if m.errors] for it in learned]
        for x, points in zip(labels, values, strict=True):
            axis.plot([x] * len(points), points, "o", color=BLUE, alpha=0.35, markersize=4)
        axis.plot(labels, [float(np.mean(points)) for points in values], "-", color=BLUE, label="mean of the models")
        axis.set_xlabel("labels paid for before training", fontsize=9)
        axis.set_ylabel(f"held-out {unit}", fontsize=9)
        before = getattr(source.zero_shot, name, None)
        if before is not None:
            level = scale * before
            axis.axhline(level, color=ORANGE, linestyle=":", linewidth=1.5, label="pre-trained, zero-shot")
        axis.set_ylim(bottom=0)
    if wanted is not None:
        axes[0, 0].axhline(wanted, color=GREEN, linestyle="--", linewidth=1, label="wanted")
    axes[0, 0].legend(fontsize=8, frameon=False)
    return figure


def _heads(source: Source) -> Any:
    """Held-out force error of each head by iteration, and what it was before any training."""
    trained = [it for it in source.trained if any(model.heads for model in it.models)]
    if not trained:
        return None
    figure, axes = subplots(1, width=8.4, height=3.2)
    axis = axes[0, 0]
    names = [head.name for head in source.config.heads]
    for place, name in enumerate(names[:MOST_HEADS]):
        found = [(it.number, mean_force_rmse(it.models, head=name)) for it in trained]
        points = [(number, error) for number, error in found if error is not None]
        if name in source.baseline:
            points.insert(0, (0, source.baseline[name].force_rmse))
        axis.plot(*zip(*points, strict=True), "o-", color=_color(place), markersize=4, label=name)
    axis.set_xticks(range(0, trained[-1].number + 1), ["before"] + [str(n) for n in range(1, trained[-1].number + 1)])
    axis.set_xlabel("iteration", fontsize=9)
    axis.set_ylabel("held-out force RMSE (eV/Å)", fontsize=9)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8, frameon=False, ncols=2)
    return figure


def _students(source: Source) -> Any:
    """Error against speed of every model whose speed was measured, where several architectures are tried."""
    last = source.trained[-1:] or []
    models = [model for it in last for model in it.models if model.speed and model.errors and model.variant]
    if not models:
        return None
    figure, axes = subplots(1, width=6.0, height=3.4)
    axis = axes[0, 0]
    for place, name in enumerate(dict.fromkeys(model.variant for model in models)):
        own = [model for model in models if model.variant == name]
        points = np.array([[m.speed, m.errors.force_rmse] for m in own if m.errors], dtype=np.float64)
        chosen = name == last[0].variant
        label = f"{name} (chosen)" if chosen else name
        axis.plot(points[:, 0], points[:, 1], "*" if chosen else "o", color=_color(place), label=label,
                  markersize=12 if chosen else 7)  # fmt: skip
    axis.set_xlim(0, 1.15 * max(model.speed for model in models if model.speed))
    axis.set_xlabel("speed (atoms × evaluations / s)", fontsize=9)
    axis.set_ylabel("held-out force RMSE (eV/Å)", fontsize=9)
    axis.set_ylim(0, 1.25 * max(model.errors.force_rmse for model in models if model.errors))
    axis.legend(fontsize=8, frameon=False)
    return figure


def _calibration(source: Source) -> Any:
    """What the selection said of the labeled frames against the true error of the models that said it."""
    points = np.array([[s.deviation, s.error] for it in source.iterations for s in it.calibration]).reshape(-1, 2)
    if source.learning is None or source.learning.select.score == "teacher":
        return None
    select = source.learning.select
    window = next((it.selected for it in reversed(source.iterations) if it.selected), None)
    levels = (window.low, window.high) if window is not None else None
    return _scores_and_errors(points, "labels", _score_name(select), levels, diagonal=select.unit == "eV/Å")


def _committee(source: Source) -> Any:
    """How much the last models disagree on the held-out frames against how wrong their mean is."""
    return _scores_and_errors(source.committee, "held-out frames", "largest force deviation (eV/Å)", diagonal=True)


def _scores_and_errors(
    points: Floats, what: str, score: str, levels: tuple[float, float] | None = None, *, diagonal: bool
) -> Any:
    """Scores and true errors (F, 2) of frames, with a shade between two levels of the score."""
    points = points[(points > 0).all(axis=1)]
    if len(points) < FEWEST_POINTS:
        return None
    from scipy.stats import spearmanr

    figure, axes = subplots(1, width=5.2, height=3.8)
    axis = axes[0, 0]
    if levels is not None:
        axis.axvspan(*levels, color=ORANGE, alpha=0.18, linewidth=0)
    axis.loglog(points[:, 0], points[:, 1], ".", color=BLUE, alpha=0.7)
    if diagonal:
        ends = [float(points.min()), float(points.max())]
        axis.plot(ends, ends, color=GREY, linewidth=1)
    correlation = float(spearmanr(points[:, 0], points[:, 1]).statistic)
    axis.set_title(f"{len(points)} {what}, rank correlation {correlation:.2f}", fontsize=9)
    axis.set_xlabel(score, fontsize=9)
    axis.set_ylabel("largest true error of a force (eV/Å)", fontsize=9)
    return figure


def _loss(source: Source) -> Any:
    """Errors on the training batches while the models learn."""
    if not source.curves:
        return None
    magnetic = any(curve.of("magnetic_force_rmse") for curve in source.curves.values())
    figure, axes = subplots(3 if magnetic else 2)
    for axis, name, label in (
        (axes[0, 0], "force_rmse", "force error on the batch (eV/Å)"),
        (axes[0, 1], "energy_rmse", "energy error on the batch (eV/atom)"),
        *([(axes[0, 2], "magnetic_force_rmse", "magnetic force error on the batch (eV/μB)")] if magnetic else []),
    ):
        lines = [
            (f"model {number + 1}" + (f" · {head}" if head else ""), curve.steps, values)
            for number, curve in source.curves.items()
            for head, values in list(curve.of(name).items())[:MOST_HEADS]
        ]
        for place, (line, steps, values) in enumerate(lines):
            axis.plot(steps, values, color=_color(place), linewidth=1, label=line)
        axis.set_yscale("log")
        axis.set_xlabel("training step", fontsize=9)
        axis.set_ylabel(label, fontsize=9)
        if len(lines) <= MOST_HEADS and axis is axes[0, 0]:
            axis.legend(fontsize=7, frameon=False)
    return figure


def _score_name(select: Select) -> str:
    """What the window looks at, with its unit."""
    what = "deviation" if select.score == "committee" else "error"
    return f"{select.metric.replace('_', ' ')} {what} ({select.unit})".replace(" ()", "")


def _color(place: int) -> str:
    return PALETTE[place % len(PALETTE)]


def _fractions(source: Source) -> Any:
    """What the committee said of the explored frames, iteration by iteration."""
    learned = source.learned
    if source.learning is None or not learned:
        return None
    figure, axes = subplots(1, width=8.4, height=2.6)
    axis, left = axes[0, 0], np.zeros(len(learned))
    for name, color in (("accurate", GREEN), ("candidates", ORANGE), ("failed", RED), ("refused", GREY)):
        seen = [it.selected for it in learned if it.selected]
        fraction = np.array([getattr(selected, name) / max(1, selected.explored) for selected in seen])
        axis.barh(range(len(learned)), fraction, left=left, color=color, label=name, height=0.7)
        left = left + fraction
    axis.axvline(source.learning.converge.accurate, color="black", linestyle="--", linewidth=1)
    axis.set_yticks(range(len(learned)), [f"{it.number} · {it.stage}" for it in learned])
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.set_xlabel("fraction of the explored frames (dashed: wanted accurate)", fontsize=9)
    axis.legend(fontsize=8, frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def _deviation(source: Source) -> Any:
    """Histogram of the deviations of each iteration with the window."""
    learned = source.learned[-9:]
    if source.learning is None or not learned:
        return None
    columns = min(3, len(learned))
    rows = -(-len(learned) // columns)
    figure, axes = subplots(columns, rows, width=8.4 / columns, height=2.2)
    for axis, iteration in zip(axes.flat, learned, strict=False):
        selected = iteration.selected
        if selected is None:
            continue
        edges = np.array(selected.edges)
        axis.stairs(selected.histogram, edges, fill=True, color=BLUE, alpha=0.8)
        axis.axvspan(selected.low, min(selected.high, edges[-1]), color=ORANGE, alpha=0.18, linewidth=0)
        axis.set_title(f"iteration {iteration.number} · {iteration.stage}", fontsize=9)
        axis.set_xlabel(_score_name(source.learning.select), fontsize=8)
        axis.set_ylabel("frames", fontsize=8)
    for axis in list(axes.flat)[len(learned) :]:
        axis.set_visible(False)
    return figure


def _parity(source: Source) -> Any:
    """Predicted against reference forces and energies of the held-out data."""
    return parity(source.energies, source.forces, source.magnetic) if len(source.forces) else None


def parity(energies: Floats, forces: Floats, magnetic: Floats) -> Any:
    """Predicted against reference components (K, 2) of forces in eV/Å, energies (F, 2) in eV/atom, and components of
    magnetic forces in eV/μB; of the last two there may be none."""
    panels = [
        (forces, "force component (eV/Å)"), (energies, "energy (eV/atom)"),
        (magnetic, "magnetic force component (eV/μB)"),
    ]  # fmt: skip
    panels = [(points, name) for points, name in panels if len(points)]
    figure, axes = subplots(len(panels), height=3.8)
    for axis, (points, name) in zip(axes.flat, panels, strict=True):
        shown = points[:: max(1, len(points) // MOST_POINTS)]
        low, high = float(shown.min()), float(shown.max())
        axis.plot([low, high], [low, high], color=GREY, linewidth=1)
        axis.plot(shown[:, 1], shown[:, 0], ".", color=BLUE, markersize=2.5, alpha=0.5)
        axis.set_xlabel(f"reference {name}", fontsize=9)
        axis.set_ylabel(f"predicted {name}", fontsize=9)
        axis.set_aspect("equal", adjustable="datalim")
    return figure


def _structures(source: Source) -> Any:
    """The most uncertain frames that were labeled last, magnetic moments as arrows."""
    if not source.drawn:
        return None
    from ase.visualize.plot import Matplotlib

    columns = 3
    rows = -(-len(source.drawn) // columns)
    figure, axes = subplots(columns, rows, width=2.8, height=2.9)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (frame, text) in zip(axes.flat, source.drawn, strict=False):
        drawing = Matplotlib(frame.to_ase(), axis, radii=0.45, rotation="10x,-15y,0z")
        drawing.write()
        if frame.spins is not None:
            tails, heads = (
                drawing.to_image_plane_positions(frame.positions + end * ARROW * frame.spins)[:, :2] for end in (-1, 1)
            )
            axis.quiver(*tails.T, *(heads - tails).T, angles="xy", scale_units="xy", scale=1, color=RED, width=0.012)
        axis.set_title(text.replace(", step", "\nstep"), fontsize=7)
    return figure


def _time(source: Source) -> Any:
    """Wall time of each step of each iteration."""
    timed = [it for it in source.iterations if it.steps]
    if not timed:
        return None
    figure, axes = subplots(1, width=8.4, height=2.6)
    axis, left = axes[0, 0], np.zeros(len(timed))
    for name, color in STEP_COLORS.items():
        spent = np.array([_wall(it, name) for it in timed])
        axis.barh(range(len(timed)), spent, left=left, color=color, label=name, height=0.7)
        left = left + spent
    axis.set_yticks(range(len(timed)), [f"{it.number} · {it.stage}" for it in timed])
    axis.invert_yaxis()
    axis.set_xlabel("wall time (s)", fontsize=9)
    axis.legend(fontsize=8, frameon=False, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def _wall(iteration: Iteration, step: str) -> float:
    return sum(time.wall for time in iteration.steps if time.name == step)
