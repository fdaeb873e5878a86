"""`lamflow quarantine`: what cleaning has taken out of the data, and the way back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lamflow.api import Run
from lamflow.cli.documents import print_document
from lamflow.config.cleaning import CleaningStudy
from lamflow.data.cleaning import Quarantine
from lamflow.data.layout import CHECKED, QUARANTINE, ROUNDS
from lamflow.driver.located import located
from lamflow.driver.loop import run as drive
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import InputError, StateError, printable

DIGITS = 11
"""Of an id that are always shown, less one."""


def list_frames(run: str, rule: str | None, as_json: bool) -> None:
    """Frames in quarantine with what speaks against them."""
    found = _quarantine(located(run).path)
    chosen = [item for item in found.frames if rule is None or any(part.rule == rule for part in item.evidence)]
    if as_json:
        print_document({"frames": chosen})
        return
    rules = Counter(part.rule for item in found.frames for part in item.evidence)
    if rule is not None and rule not in rules:
        raise InputError(f"no frame is in quarantine for {rule!r}; rules are {', '.join(sorted(rules)) or 'none'}")
    table = Table()
    for name in ("id", "formula", "source", "number", "evidence"):
        table.add_column(name, overflow="fold")
    shown = _shortest([item.id for item in found.frames])
    for item in chosen:
        says = "\n".join(f"{part.rule}: {part.says}" for part in item.evidence)
        table.add_row(shown[item.id], item.formula, item.source, str(item.number), printable(says))
    console = Console()
    console.print(table)
    console.print(", ".join(f"{name} {count}" for name, count in rules.most_common()) or "nothing is in quarantine")


def release(run: Path, ids: list[str]) -> None:
    """Put frames back: the last round is done again with their ids in `release`."""
    directory = RunDirectory(run.resolve())
    study = directory.config()
    if not isinstance(study, CleaningStudy):
        raise InputError(f"{run}: this run is of workflow {study.workflow}; only cleaning has a quarantine")
    held = {item.id for item in _quarantine(directory.path).frames}
    whole = []
    for wanted in ids:
        matching = sorted(name for name in held if name.startswith(wanted))
        if not matching:
            raise InputError(f"{run}: no frame in quarantine with an id that begins with {wanted!r}")
        if len(matching) > 1:
            raise InputError(
                f"{run}: {len(matching)} frames in quarantine with an id that begins with {wanted!r}; give more digits "
                f"of {', '.join(matching)}"
            )
        whole += matching
    released = list(dict.fromkeys([*study.release, *whole]))
    record = drive(study.model_copy(update={"release": released}), directory.path)
    print(f"{run}: {record.message}")
    print(f"report  {printable(str(Run.open(directory.path).report()))}")
    print(
        f"put `release: [{', '.join(released)}]` into the study's file, too: without it the next `lamflow run` of the "
        "file quarantines them again"
    )


def _shortest(ids: Iterable[str]) -> dict[str, str]:
    """The first digits of each id, as many as tell it from all others: those of frames of one structure begin alike."""
    ordered = sorted(set(ids))
    common = [0, *(_common(one, other) for one, other in pairwise(ordered)), 0]
    return {name: name[: max(DIGITS, *common[place : place + 2]) + 1] for place, name in enumerate(ordered)}


def _common(one: str, other: str) -> int:
    """Digits that two ids begin with alike."""
    return next(place for place in range(len(one) + 1) if one[: place + 1] != other[: place + 1])


def _quarantine(run: Path) -> Quarantine:
    files = sorted(run.glob(f"{ROUNDS}/*/{CHECKED}/{QUARANTINE}"))
    if not files:
        raise StateError(f"{run}: nothing has been checked here; a run of cleaning has a quarantine once it has ended")
    return Quarantine.read(files[-1])
