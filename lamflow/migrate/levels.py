"""DP-GEN's trust levels: of forces, virials and energies, for the run, for a job, and for each system of either."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from lamflow.migrate.keys import Keys, Notes
from lamflow.migrate.paths import Spec

OFF = 1e9
"""Levels from here on mean none; DP-GEN's default of virials is 1e10."""
MOST = 1e4
"""The largest level of lamflow."""
SMALL = 1e-4
"""In place of a lower level of 0, eV/Å."""
METRICS = {"f": "force_max", "v": "virial_max", "e": "energy"}
UNITS = {"f": "eV/Å", "v": "eV/atom", "e": "eV/atom"}
GUESS = {"lo": 0.05, "hi": 0.15}
"""Of forces, where the file says none, eV/Å."""


def trust_levels(keys: Keys, job: Keys, system: int) -> Spec:
    """`window` and `channels` of the explore group of a system in a job, by the job's levels before the run's."""
    levels = {kind: _levels(keys, job, kind, system) for kind in METRICS}
    low, high = levels["f"] or (GUESS["lo"], GUESS["hi"])
    channels = []
    for kind in ("v", "e"):
        found = levels[kind]
        if found is not None:
            channels.append({"metric": METRICS[kind], "low": found[0], "high": found[1]})
    return {"window": {"low": low, "high": high}, "channels": channels}


def _levels(keys: Keys, job: Keys, kind: str, system: int) -> tuple[float, float] | None:
    """Lower and upper level of a quantity; None where there is none."""
    low, high = (_level(keys, job, f"model_devi_{kind}_trust_{end}", system) for end in ("lo", "hi"))
    name, unit = f"model_devi_{kind}_trust", UNITS[kind]
    if kind == "f":
        low, high = _guessed(keys, "lo", low), _guessed(keys, "hi", high)
    elif (low is None or low >= OFF) and (high is None or high >= OFF):
        return None
    if high is None or high > MOST:
        keys.notes.add("changed", f"{name}_hi", _to(kind, "high"), f"no frame fails by it there; {MOST:g} {unit} here")
        high = MOST
    if kind == "f" and (low or 0.0) >= high:
        upper = 2 * (low or 0.05)
        why = f"{high:g} {unit} is not above the lower level; {upper:g} was put in"
        keys.notes.add("changed", f"{name}_hi", _to(kind, "high"), why)
        high = upper
    if low is None or low >= high:
        low = round(0.999 * high, 10)
        why = f"no frame is a candidate by it there; {low:g} {unit} is just below the upper level"
        keys.notes.add("changed", f"{name}_lo", _to(kind, "low"), why)
    return low, high


def _guessed(keys: Keys, end: str, level: float | None) -> float:
    if level is not None:
        return level
    to = _to("f", "low" if end == "lo" else "high")
    keys.notes.add("changed", f"model_devi_f_trust_{end}", to, f"it says none; {GUESS[end]} eV/Å was put in")
    return GUESS[end]


def _to(kind: str, end: str) -> str:
    return f"select.window.{end}" if kind == "f" else f"select.channels: {METRICS[kind]}.{end}"


def _level(keys: Keys, job: Keys, key: str, system: int) -> float | None:
    """A level of a system: a number for all, or a list or mapping by the system's index in `sys_configs`."""
    for section in (job, keys):
        value = section.take(key)
        if value is None:
            continue
        found = _by_system(value).get(str(system)) if isinstance(value, list | dict) else value
        if found is None:
            why = f"it has none for system {system}, where DP-GEN ends with an error"
            section.notes.add("changed", section.name(key), "stages: window", why)
            continue
        return float(found)
    return None


def common_levels(stages: Sequence[Spec], notes: Notes) -> Spec:
    """`select.window` and `select.channels`: the first group's, which all groups that have the same then leave out."""
    groups = [group for stage in stages for group in stage["explore"]]
    given = [group for group in groups if "window" in group]
    if not given:
        return {"window": {"rule": "fixed", "low": GUESS["lo"], "high": GUESS["hi"]}}
    window, channels = given[0]["window"], given[0]["channels"]
    own = any((group["window"], group["channels"]) != (window, []) for group in given)
    for group in given:
        if own and not group["window"]["low"]:
            group["window"] = {**group["window"], "low": SMALL}
            why = f"0 there, {SMALL:g} eV/Å here: levels of groups and of virials are put on a scale above 0"
            notes.add("changed", "model_devi_f_trust_lo", "select.window.low", why)
    window = given[0]["window"]
    for group in given:
        if group["window"] == window:
            del group["window"]
        if group["channels"] == channels:
            del group["channels"]
    return {"window": {"rule": "fixed", **window}, **({"channels": channels} if channels else {})}


def levels_in(groups: Sequence[Spec]) -> set[float]:
    """Every level that a group has."""
    bounds = [bounds for group in groups if "window" in group for bounds in (group["window"], *group["channels"])]
    return {one[end] for one in bounds for end in ("low", "high")}


def note_levels(keys: Keys, used: set[float], several: bool) -> None:
    """Say where each level went. used: levels of groups; several: groups have levels of their own"""
    for section, key, value in _given(keys):
        kind, end = key.split("_")[2], "low" if key.endswith("lo") else "high"
        target = _to(kind, end) + ("; stages: the same of groups that differ" if several else "")
        if isinstance(value, int | float) and value >= OFF:
            section.notes.add("lost", section.name(key), why=f"{value:g} means none")
        elif kind == "e":
            why = "the largest deviation of an atom's energy there, that of the frame's energy per atom here"
            section.notes.add("changed", section.name(key), target, why)
        elif unused := [system for system, level in _by_system(value).items() if float(level) not in used]:
            why = f"no job explores system {', '.join(unused)}, whose level is not taken"
            section.notes.add("changed", section.name(key), target, why)
        else:
            section.notes.add("translated", section.name(key), target)


def _by_system(value: Any) -> dict[str, Any]:
    """Levels by the system's index; none where there is one for all."""
    if isinstance(value, list):
        return {str(index): item for index, item in enumerate(value)}
    return {str(index): item for index, item in value.items()} if isinstance(value, dict) else {}


def note_lost_levels(keys: Keys, channels: bool) -> None:
    """Say which levels an adaptive window has no use for. channels: some of them are of virials or energies"""
    for section, key, _ in _given(keys):
        if key == "model_devi_f_trust_lo":
            section.notes.add("lost", section.name(key), why="the lower level follows the deviations")
        elif key != "model_devi_f_trust_hi":
            why = "an adaptive window looks at one deviation" if channels else ""
            section.notes.add("lost", section.name(key), why=why)


def _given(keys: Keys) -> Iterator[tuple[Keys, str, Any]]:
    """Sections with the keys and values of levels that they have."""
    for section in (keys, *keys.inner):
        for kind, end in itertools.product(METRICS, ("lo", "hi")):
            key = f"model_devi_{kind}_trust_{end}"
            if key in section:
                yield section, key, section.take(key)
