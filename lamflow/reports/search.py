"""What structure searches have found, as figures, a table, and files of the best structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamflow.data import Frame
from lamflow.data.files import write_whole
from lamflow.data.frames import Floats
from lamflow.data.hulls import Hull, HullEntry
from lamflow.data.layout import HULLS, SELECTED, iteration_key
from lamflow.data.packed import PackedFrames
from lamflow.data.results import Iteration
from lamflow.reports.axes import BLUE, GREEN, GREY, PALETTE, subplots
from lamflow.science.hull import above_hull

COLUMNS = (
    "structure", "space group", "above the hull (meV/atom)", "by the labels (meV/atom)", "volume (Å³/atom)",
    "deviation", "found in", "hash",
)  # fmt: skip
MOST = 20
"""Structures in the table and in the folder, for each hull."""
FOLDER = "best-structures"
Labels = dict[tuple[str, tuple[tuple[str, float], ...]], list[tuple[HullEntry, float]]]


def newest(iterations: Sequence[Iteration]) -> Iteration | None:
    """The last iteration that has searched."""
    return next((item for item in reversed(iterations) if item.selected and item.selected.hulls), None)


def labeled(iterations: Sequence[Iteration]) -> Labels:
    """Labeled structures of every hull, with their enthalpies by the labels in eV/atom."""
    found: Labels = {}
    for item in iterations:
        for hull in item.selected.hulls if item.selected else []:
            found.setdefault(hull.key, []).extend(hull.labeled(item.hull_labels))
    return found


def hull_figure(iterations: Sequence[Iteration]) -> Any:
    """The convex hulls of the last search, by the models and by the labels; None without any."""
    last = newest(iterations)
    if last is None or last.selected is None:
        return None
    hulls, labels = last.selected.hulls, labeled(iterations)
    figure, axes = subplots(len(hulls), width=6.0 if len(hulls) == 1 else 4.8, height=3.6)
    for axis, hull in zip(axes[0], hulls, strict=True):
        known = labels.get(hull.key, [])
        (_binary if len(hull.elements) == 2 else _heights)(axis, hull, known)
        axis.set_title(title(hull), fontsize=9)
    axes[0, 0].legend(fontsize=8, frameon=False)
    return figure


def generations_figure(iterations: Sequence[Iteration]) -> Any:
    """How near to the hull the generations of the last search came; None without any."""
    last = newest(iterations)
    if last is None or last.selected is None:
        return None
    figure, axes = subplots(1, width=7.0)
    axis = axes[0, 0]
    for place, hull in enumerate(last.selected.hulls):
        color = PALETTE[place % len(PALETTE)]
        known = [each for each in hull.generations if each.lowest is not None and each.mean is not None]
        numbers = [each.number for each in known]
        axis.plot(
            numbers, [1000 * (each.mean or 0.0) for each in known], "o-", color=color, label=f"mean, {title(hull)}"
        )
        axis.plot(numbers, [1000 * (each.lowest or 0.0) for each in known], "o:", color=color, label="lowest")
    axis.set_xlabel("generation", fontsize=9)
    axis.set_ylabel("above the hull (meV/atom)", fontsize=9)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8, frameon=False)
    return figure


def title(hull: Hull) -> str:
    """What a hull is of."""
    under = ", ".join(
        f"{value:g} bar" if key == "pressure" else f"{key} {value:g}" for key, value in hull.condition.items()
    )
    return " ".join(part for part in ("-".join(hull.elements), hull.head, under and f"at {under}") if part)


def _binary(axis: Any, hull: Hull, known: list[tuple[HullEntry, float]]) -> None:
    """Formation enthalpy over composition."""
    second = hull.elements[1]
    drawn = [
        ("models", BLUE, ".", [(entry, entry.enthalpy) for entry in hull.entries]),
        ("labels", GREEN, "D", known),
    ]
    for name, color, marker, entries in drawn:
        if not entries:
            continue
        fractions = np.array([entry.fractions.get(second, 0.0) for entry, _ in entries])
        values = np.array([value for _, value in entries])
        formed = 1000 * (values - _reference(fractions, values))
        axis.plot(fractions, formed, marker, color=color, alpha=0.5, markersize=4, label=f"by the {name}")
        corners = np.flatnonzero(_heights_of([entry for entry, _ in entries], values, hull.elements) < 1e-6)
        corners = corners[np.argsort(fractions[corners])]
        axis.plot(fractions[corners], formed[corners], "-", color=color, linewidth=1.2, label=f"hull by the {name}")
    axis.axhline(0, color=GREY, linewidth=0.6)
    axis.set_xlabel(f"fraction of {second}", fontsize=9)
    axis.set_ylabel("formation enthalpy (meV/atom)", fontsize=9)
    axis.set_xlim(-0.02, 1.02)


def _reference(fractions: Floats, values: Floats) -> Floats:
    """The line between the lowest structures at both ends."""
    ends = [fractions.min(), fractions.max()]
    lowest = [float(values[fractions == end].min()) for end in ends]
    if ends[0] == ends[1]:
        return np.full(len(values), lowest[0])
    return np.asarray(lowest[0] + (fractions - ends[0]) / (ends[1] - ends[0]) * (lowest[1] - lowest[0]))


def _heights(axis: Any, hull: Hull, known: list[tuple[HullEntry, float]]) -> None:
    """How high the best structures lie above the hull, composition by composition."""
    names = sorted({reduced(entry) for entry in hull.entries})
    places = {name: place for place, name in enumerate(names)}
    axis.plot(
        [places[reduced(entry)] for entry in hull.entries], [1000 * entry.above_hull for entry in hull.entries],
        ".", color=BLUE, alpha=0.6, label="by the models",
    )  # fmt: skip
    if known:
        entries = [entry for entry, _ in known]
        heights = _heights_of(entries, np.array([value for _, value in known]), hull.elements)
        inside = [(places[reduced(e)], 1000 * h) for e, h in zip(entries, heights, strict=True) if reduced(e) in places]
        if inside:
            axis.plot(*zip(*inside, strict=True), "D", color=GREEN, markersize=4, alpha=0.6, label="by the labels")
    axis.set_xticks(range(len(names)), names, rotation=60, fontsize=7)
    axis.set_ylabel("above the hull (meV/atom)", fontsize=9)


def _heights_of(entries: Sequence[HullEntry], values: Floats, elements: Sequence[str]) -> Floats:
    fractions = np.array([[entry.fractions.get(element, 0.0) for element in elements] for entry in entries])
    return above_hull(fractions.reshape(-1, len(elements)), values)


def reduced(entry: HullEntry) -> str:
    """The formula in smallest whole numbers."""
    divisor = int(np.gcd.reduce(list(entry.counts.values())))
    return "".join(f"{e}{n // divisor if n > divisor else ''}" for e, n in entry.counts.items())


def tables(iterations: Sequence[Iteration]) -> list[tuple[str, str, list[list[str]]]]:
    """For each hull of the last search its title, what was relaxed, and its best structures."""
    last = newest(iterations)
    if last is None or last.selected is None:
        return []
    labels = labeled(iterations)
    made = []
    for hull in last.selected.hulls:
        text = (
            f"{hull.structures} structures relaxed in iteration {last.number}; {hull.failed} exploded, "
            f"{hull.unfinished} had not converged, {hull.duplicates} of those near the hull were repetitions of others."
        )
        known = labels.get(hull.key, [])
        heights = _heights_of([each for each, _ in known], np.array([value for _, value in known]), hull.elements)
        by_label = {each.hash: float(height) for (each, _), height in zip(known, heights, strict=True)}
        made.append((title(hull), text, [_row(entry, by_label.get(entry.hash)) for entry in hull.entries[:MOST]]))
    return made


def _row(entry: HullEntry, height: float | None) -> list[str]:
    """The cells of one structure; `height` by the labels in eV/atom, where it has one."""
    return [
        entry.formula, f"{symbol(entry.space_group)} ({entry.space_group})", f"{1000 * entry.above_hull:.1f}",
        "" if height is None else f"{1000 * height:.1f}", f"{entry.volume:.2f}",
        "" if entry.deviation is None else f"{entry.deviation:.3f}",
        f"search {entry.search}, generation {entry.generation}", entry.hash[:12],
    ]  # fmt: skip


def symbol(number: int) -> str:
    """Hermann-Mauguin symbol of a space group."""
    if not number:
        return "?"
    from ase.spacegroup import Spacegroup

    return str(Spacegroup(number).symbol).replace(" ", "")


def write_structures(run: Path, iterations: Sequence[Iteration], folder: Path) -> int:
    """Write the best structures of the last search as CIF and POSCAR into `folder`; returns how many there are."""
    last = newest(iterations)
    if last is None or last.selected is None:
        return 0
    count = 0
    for number, hull in enumerate(last.selected.hulls):
        file = run / iteration_key(last.number) / SELECTED / HULLS / f"{number}.npz"
        frames = list(PackedFrames.load(file)) if file.is_file() else []
        for rank, (entry, frame) in enumerate(zip(hull.entries[:MOST], frames, strict=False), 1):
            name = f"{number + 1}-{rank:02d}-{entry.formula}-{entry.space_group}"
            for suffix, text in _texts(frame).items():
                write_whole(folder / f"{name}.{suffix}", text)
            count += 1
    return count


def _texts(frame: Frame) -> Mapping[str, str]:
    """The structure as CIF, with its symmetry where pymatgen is there, and as POSCAR."""
    from io import BytesIO, StringIO

    from ase.io import write

    atoms = frame.to_ase()
    atoms = atoms[np.argsort(atoms.numbers, kind="stable")]
    poscar = StringIO()
    write(poscar, atoms, format="vasp", direct=True)
    try:
        from pymatgen.io.ase import AseAtomsAdaptor
        from pymatgen.io.cif import CifWriter

        cif = str(CifWriter(AseAtomsAdaptor.get_structure(atoms), symprec=0.05))
    except ImportError:
        plain = BytesIO()
        write(plain, atoms, format="cif")
        cif = plain.getvalue().decode()
    return {"cif": cif, "vasp": poscar.getvalue()}
