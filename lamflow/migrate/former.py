"""A study in lamflow's grammar of before, brought into the present one; its comments and its layout stay."""

from __future__ import annotations

import re
from pathlib import Path

from lamflow.config import parse
from lamflow.config.schema import Study
from lamflow.errors import InputError
from lamflow.migrate.keys import Notes
from lamflow.migrate.paths import Spec

RENAMED = re.compile(r"line (\d+) +(\S+): no such key; it is called '(\w+)' now")
"""What the grammar says of a key that it knew under another name."""
LEARNING = ("stages", "select", "converge")
"""Sections of studies that explore."""
MOST = 1000
"""Passes over a file: each renames the keys that the grammar comes to."""


def is_study(raw: Spec) -> bool:
    """It is a study of lamflow."""
    train = raw.get("train")
    return "elements" in raw and isinstance(train, dict) and "engine" in train


def renewed(file: Path, target: Path, raw: Spec, notes: Notes) -> str:
    """The text of the study with the names that keys have now.

    Raises InputError for one that is of the present grammar already, for one that is wrong for other reasons, and for
    a target in another folder, for paths in the study are relative to its own.
    """
    if file.parent.absolute() != target.absolute():
        raise InputError(f"{file}: paths in it are relative to its folder; write the new one there, with --output")
    text = file.read_text(encoding="utf-8")
    if "workflow" not in raw and not raw.get("stages"):
        text = _trained_once(text, raw, notes)
    for _ in range(MOST):
        problems = _problems(text, target)
        found = RENAMED.findall(problems)
        if not found:
            break
        for line, where, new in found:
            text = _with_name(text, int(line), where, new, notes)
    if problems:
        raise InputError(f"{file}: more than names of keys is wrong with it\n{problems}")
    if not notes.items:
        raise InputError(f"{file}: it is of lamflow's present grammar already; nothing is to be done")
    return text


def _problems(text: str, target: Path) -> str:
    """What the grammar says of a text; nothing when it is good."""
    try:
        parse(text, "the study", target.absolute(), kind=Study, files=False)
    except InputError as error:
        return str(error)
    return ""


def _with_name(text: str, number: int, where: str, new: str, notes: Notes) -> str:
    """The text with a key of line `number` renamed."""
    old = where.rsplit(".", 1)[-1]
    lines = text.splitlines(keepends=True)
    changed = re.sub(rf"(?<![\w.-]){re.escape(old)}(?=[\"']?\s*:)", new, lines[number - 1], count=1)
    if changed == lines[number - 1]:
        raise InputError(f"line {number}: {where} is called {new!r} now; rename it by hand")
    lines[number - 1] = changed
    notes.add("translated", where, f"{where.removesuffix(old)}{new}")
    return "".join(lines)


def _trained_once(text: str, raw: Spec, notes: Notes) -> str:
    """A study without stages is of workflow training, which selects nothing."""
    for section in LEARNING:
        if section in raw:
            text = re.sub(rf"^{section}\s*:.*\n(?:[ \t#\-].*\n|\n)*", "", f"{text}\n", flags=re.M).rstrip("\n") + "\n"
            notes.add("lost", section, why="there are no stages, so nothing is explored and selected")
    budget = raw.get("budget")
    if isinstance(budget, dict) and "iterations" in budget:
        text = re.sub(r"^(\s+)iterations\s*:.*\n", "", text, count=1, flags=re.M)
        text = re.sub(r"(budget\s*:\s*\{.*?)iterations\s*:\s*\d+\s*,?\s*", r"\1", text, count=1)
        if set(budget) == {"iterations"}:
            text = re.sub(r"^budget\s*:\s*(\{\s*\})?\s*\n", "", text, count=1, flags=re.M)
        notes.add("lost", "budget.iterations", why="models are trained once")
    notes.add("changed", "(no stages)", "workflow", "models are trained once: `workflow: training`")
    return f"workflow: training\n{text}"
