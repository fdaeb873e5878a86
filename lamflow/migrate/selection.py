"""What of lamflow's selection has no counterpart in other programs, and how theirs is said in it."""

from __future__ import annotations

from lamflow.migrate.keys import Keys, Notes
from lamflow.migrate.paths import Spec

WIDE: Spec = {
    "min_distance": 0.0,
    "max_length_ratio": 1e6,
    "min_angle": 0.0,
    "volume_per_atom": [0.0, 1e9],
}
"""Filters that drop nothing."""


def filters(notes: Notes, theirs: str, translated: Spec) -> Spec:
    """`select.filters` that drop what the other program drops. given: its own, in lamflow's words."""
    new = sorted(set(WIDE) - set(translated))
    why = (
        f"{', '.join(new)}: {theirs} has no such filter, so they are written so wide that they drop nothing; without "
        "these lines lamflow's own limits hold"
    )
    notes.add("changed", "(filters)", "select.filters", why)
    return {**WIDE, **translated}


def bad_box(text: str, notes: Notes) -> Spec:
    """Filters of DP-GEN's fp_skip_bad_box, like `length_ratio:5;height_ratio:5`."""
    given: Spec = {}
    for part in text.split(";"):
        name, _, value = part.strip().partition(":")
        if name == "length_ratio":
            given["max_length_ratio"] = float(value)
            notes.add("translated", "fp_skip_bad_box length_ratio", "select.filters.max_length_ratio")
        elif name:
            why = f"there is no such filter, {float(value):g} is left out; min_angle is what there is"
            notes.add("lost", f"fp_skip_bad_box {name}", why=why)
    return given


def dpgen2_filters(sections: list[Keys]) -> Spec:
    """Filters of dpgen2's list `filters`; `type` names them."""
    given: Spec = {}
    for keys in sections:
        kind = str(keys.take("type"))
        keys.lose("max_workers", why="lamflow filters in one pass")
        if kind == "box_length":
            ratio = float(keys.take("length_ratio", default=5.0))
            given["max_length_ratio"] = ratio
            why = f"{ratio:g}, of the cell vectors' lengths instead of the box's edges"
            keys.notes.add("changed", f"{keys.where}: box_length", "select.filters.max_length_ratio", why)
        elif kind == "box_skewness":
            theta = float(keys.take("theta", default=60.0))
            given["min_angle"] = max(0.0, 90.0 - theta)
            why = f"a tilt of {theta:g}° at most becomes an angle of {90.0 - theta:g}° at least"
            keys.notes.add("changed", f"{keys.where}: box_skewness", "select.filters.min_angle", why)
        elif kind == "distance":
            ratio = float(keys.take("safe_dist_ratio", default=1.0))
            given["min_distance"] = 0.55
            why = f"distances of dpgen2's own table times {ratio:g} become 0.55 times the sum of the covalent radii"
            keys.notes.add("changed", f"{keys.where}: distance", "select.filters.min_distance", why)
        keys.lose(*(key for key in keys.raw if key not in keys.used), why="there is no such filter")
    return given


def pick(kind: str, candidates: str, notes: Notes) -> str:
    """`select.pick` of dpgen2's convergence type, which draws candidates or takes the largest deviations.

    candidates  candi_sel_prob
    """
    if kind == "fixed-levels-max-select":
        notes.add("translated", "explore.convergence.type", "select.pick")
        return "uncertain"
    if not candidates.startswith("uniform"):
        why = f"{candidates}: candidates are drawn with the same probability each"
        notes.add("changed", "explore.convergence.candi_sel_prob", "select.pick", why)
    else:
        why = "candidates are drawn at random as there; `pick: diverse` needs fewer labels"
        notes.add("changed", "fp.task_max", "select.pick", why)
    return "random"
