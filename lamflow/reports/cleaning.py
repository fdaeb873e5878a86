"""cleaning.html and card.json: what the cleaned data are, and what became of everything else."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lamflow.data.arrays import read_arrays
from lamflow.data.cleaning import ZERO_SHOT, Card, CurvePoint, Quarantine, Quarantined
from lamflow.data.fields import Floats
from lamflow.data.graph import Graph
from lamflow.data.layout import (
    CARD,
    CARD_ARRAYS,
    CARDS,
    CHECKED,
    CLEANED,
    GRAPH,
    QUARANTINE,
    QUARANTINED,
    ROUNDS,
    TRAINING_STUDY,
)
from lamflow.reports.axes import BLUE, GREY, ORANGE, subplots
from lamflow.reports.figures import png
from lamflow.reports.html import embedded as embedded_images
from lamflow.reports.html import page

SHOWN, DRAWN = 200, 12
"""Quarantined frames that the page lists, and draws; card.json's neighbour quarantine.json has all."""
NAMES = {
    "energy": "energy (eV/atom)", "force_max": "largest force (eV/Å)", "volume": "volume (Å³/atom)",
    "pressure": "pressure (GPa)", "distance": "smallest distance / covalent radii", "natoms": "atoms",
}  # fmt: skip


def write_cleaning(run: Path, folder: Path, *, embedded: bool = True) -> Path | None:
    """Write the page of the cleaning in folder `run`, card.json, quarantine.json and the training study, if there is
    one, into `folder`; returns the page's path.

    Figures lie in the page cleaning.html, or beside index.html where it is not `embedded`. None, and nothing is
    written, while there is no card.
    """
    cards = sorted(run.glob(f"{ROUNDS}/*/{CARDS}/{CARD}"))
    if not cards:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    last = cards[-1].parent
    card = Card.read(last / CARD)
    quarantine = Quarantine.read(last.parent / CHECKED / QUARANTINE)
    for file in (last / CARD, last.parent / CHECKED / QUARANTINE):
        shutil.copyfile(file, folder / file.name)
    figures = drawn(card, read_arrays(last / CARD_ARRAYS), quarantine, last.parent / CLEANED)
    images = embedded_images(figures) if embedded else {name: f"{name}.png" for name in figures}
    if not embedded:
        for name, image in figures.items():
            (folder / f"{name}.png").write_bytes(image)
    target = folder / ("cleaning.html" if embedded else "index.html")
    training = last / TRAINING_STUDY
    target.write_text(
        page(
            "cleaning.html.jinja", card=card, images=images, quarantined=quarantine.frames[:SHOWN],
            all_quarantined=len(quarantine.frames), training=training if training.is_file() else None,
            stage=Graph.read(last.parent / GRAPH).stage,
        ),
        encoding="utf-8",
    )  # fmt: skip
    return target


def drawn(card: Card, arrays: dict[str, Any], quarantine: Quarantine, cleaned: Path) -> dict[str, bytes]:
    """Every figure that there are data for, as PNG."""
    found = {"histograms": png(histograms(arrays)), "elements": png(periodic_table(card.elements))}
    if card.curve:
        found["curve"] = png(learning_curves(card.curve))
    chosen = _spread(quarantine.frames)
    structures = _structures(chosen, cleaned) if chosen else None
    return found if structures is None else {**found, "quarantined": png(structures)}


def histograms(arrays: dict[str, Floats]) -> Any:
    """Energy, force, volume, pressure, distance and size of what is kept, and of what is not."""
    present = [name for name in NAMES if f"{name}-edges" in arrays]
    figure, axes = subplots(3, -(-len(present) // 3), height=2.4)
    for axis, name in zip(axes.flat, present, strict=False):
        edges = arrays[f"{name}-edges"]
        for part, color, label in (("kept", BLUE, "kept"), ("rest", ORANGE, "quarantined or dropped")):
            counts = arrays[f"{name}-{part}"]
            if counts.any():
                axis.stairs(counts, edges, color=color, fill=part == "kept", alpha=0.6, label=label)
        axis.set_yscale("log")
        axis.set_xlabel(NAMES[name], fontsize=8)
    axes.flat[0].set_ylabel("frames", fontsize=8)
    axes.flat[0].legend(fontsize=7, frameon=False)
    for axis in list(axes.flat)[len(present) :]:
        axis.set_visible(False)
    return figure


def learning_curves(points: Sequence[CurvePoint]) -> Any:
    """Force errors on held-out frames against the number of frames, a panel a head, both axes logarithmic."""
    heads = list(dict.fromkeys(point.head for point in points))[:DRAWN]
    columns = min(3, len(heads))
    figure, axes = subplots(columns, -(-len(heads) // columns), height=2.8)
    for axis, head in zip(axes.flat, heads, strict=False):
        for line, color, marker in (("worst", BLUE, "o-"), ("random", ORANGE, "s--"), ("all", GREY, "*")):
            own = [point for point in points if (point.head, point.line) == (head, line)]
            axis.plot(
                [p.frames for p in own], [p.force_rmse for p in own], marker, color=color, markersize=4, label=line
            )
        for before in (point for point in points if (point.head, point.line) == (head, ZERO_SHOT)):
            axis.axhline(before.force_rmse, color=GREY, linestyle=":", linewidth=1, label="pre-trained")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_title(head, fontsize=8)
        axis.set_xlabel("frames", fontsize=8)
    axes.flat[0].set_ylabel("held-out force RMSE (eV/Å)", fontsize=8)
    axes.flat[0].legend(fontsize=7, frameon=False)
    for axis in list(axes.flat)[len(heads) :]:
        axis.set_visible(False)
    return figure


def periodic_table(elements: dict[str, int]) -> Any:
    """The periodic table, coloured by how many frames have each element."""
    from ase.data import atomic_numbers, chemical_symbols
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    figure, axes = subplots(1, width=8.4, height=4.2)
    axis, most = axes[0, 0], max(elements.values(), default=1)
    norm, colors = LogNorm(1, max(most, 2)), colormaps["viridis"]
    for number in range(1, 104):
        row, column = _position(number)
        count = elements.get(chemical_symbols[number], 0)
        color = colors(norm(count)) if count else "#f3f5f8"
        axis.add_patch(Rectangle((column, -row), 0.95, 0.95, color=color))
        ink = "white" if count and norm(count) < 0.7 else "black"
        axis.text(column + 0.47, -row + 0.55, chemical_symbols[number], ha="center", fontsize=7, color=ink)
        if count:
            axis.text(column + 0.47, -row + 0.15, str(count), ha="center", fontsize=4.5, color=ink)
    assert set(elements) <= set(atomic_numbers)  # noqa: S101
    axis.set_xlim(0.8, 19.2)
    axis.set_ylim(-9.8, 0.2)
    axis.set_axis_off()
    return figure


def _position(number: int) -> tuple[float, int]:
    """Row and column of an element in the long periodic table, lanthanides and actinides below."""
    if 57 <= number <= 71:
        return 8.4, number - 57 + 3
    if 89 <= number <= 103:
        return 9.4, number - 89 + 3
    for row, (first, last) in enumerate(((1, 2), (3, 10), (11, 18), (19, 36), (37, 54), (55, 86), (87, 118)), start=1):
        if first <= number <= last:
            offset = number - first
            if row == 1:
                return row, 1 if offset == 0 else 18
            if row in (2, 3):
                return row, offset + 1 if offset < 2 else offset + 11
            return row, offset + 1 if offset < 2 or row < 6 else offset + 1 - 14
    return 10, 18


def _spread(frames: Sequence[Quarantined]) -> list[Quarantined]:
    """A few of them, of every rule some."""
    by_rule: dict[str, list[Quarantined]] = {}
    for item in frames:
        by_rule.setdefault(item.evidence[0].rule if item.evidence else "", []).append(item)
    chosen: list[Quarantined] = []
    while len(chosen) < DRAWN and any(by_rule.values()):
        chosen += [members.pop(0) for members in by_rule.values() if members]
    return chosen[:DRAWN]


def _structures(chosen: Sequence[Quarantined], cleaned: Path) -> Any:
    """The frames drawn, each with its rule."""
    from ase.io import iread
    from ase.visualize.plot import plot_atoms

    wanted = {item.id: item for item in chosen}
    images = {}
    for file in sorted(cleaned.glob(f"*/{QUARANTINED}/*.extxyz")):
        for atoms in iread(file, index=":", format="extxyz"):
            if str(atoms.info.get("id")) in wanted:
                images[str(atoms.info["id"])] = atoms
    if not images:
        return None
    figure, axes = subplots(4, -(-len(images) // 4), width=2.2, height=2.2)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, atoms) in zip(axes.flat, images.items(), strict=False):
        plot_atoms(atoms, axis, radii=0.45, rotation="10x,-15y,0z")
        rule = wanted[name].evidence[0].rule if wanted[name].evidence else ""
        axis.set_title(f"{wanted[name].formula}\n{rule} · {name[:8]}", fontsize=7)
    return figure
