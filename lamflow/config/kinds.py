"""Kinds of workflow as settings see them: what an entry point in the group `lamflow.workflows` names.

`workflow:` in a YAML file names the kind. A third party's kind is a peer of the built-in ones.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from lamflow.errors import InputError

GROUP = "lamflow.workflows"
DEFAULT = "learning"
"""The kind of a file that names none."""


@dataclass(frozen=True)
class Kind:
    """A kind of workflow: one row.

    name         the word after `workflow:`
    settings     what a file of this kind may say; a Study
    next_graph   (study, RunState) -> Graph of the round that comes next, or None when the run has ended
    round_graph  (study, RunState, number, stage) -> Graph of a round, as if the run came to it in stage number `stage`
    stages       (study) -> names of its different rounds after the start
    gather       (study, graph, folder, finished, Timing) -> record of a round that has been carried out, a Round
    record       class of these records
    report       (folder of the run, folder to write to, embedded) -> path of the page, or None while there is nothing
                 to show; figures lie in it or beside it
    open_ended   a run that has ended goes on with another round when settings change; otherwise rounds are done again
    redone_from  (study, sections that have changed) -> the first round that reads any of them, which is done again with
                 all after it where a run is not open ended
    begins_again whether a round that is not finished is begun again when settings change in its middle; otherwise a
                 person has to say so
    check_resumable  (study, finished) raises StateError when a run cannot go on with these settings
    most_rounds  (study) -> rounds after the start, at most
    begin        (study, folder of the run, jobs that run at once): writes what the first round reads, beside what every
                 study has
    inspect      (study, start structures by set) -> warnings about what the kind alone reads and asks; raises
                 InputError for what cannot be used

    Functions import what they need when they are called.
    """

    name: str
    settings: type[Any]
    next_graph: Callable[[Any, Any], Any]
    round_graph: Callable[[Any, Any, int, int], Any]
    stages: Callable[[Any], list[str]]
    gather: Callable[[Any, Any, Any, Any, Any], Any]
    record: type[Any]
    report: Callable[[Any, Any, bool], Any]
    open_ended: bool = False
    begins_again: bool = False
    check_resumable: Callable[[Any, Any], None] = lambda study, finished: None  # noqa: ARG005
    most_rounds: Callable[[Any], int] = lambda study: 1  # noqa: ARG005
    redone_from: Callable[[Any, set[str]], int] = lambda study, changed: 0  # noqa: ARG005
    begin: Callable[[Any, Path, int], None] = lambda study, folder, slots: None  # noqa: ARG005
    inspect: Callable[[Any, Any], list[str]] = lambda study, structures: []  # noqa: ARG005


@functools.cache
def kinds() -> dict[str, Kind | str]:
    """Every kind of workflow that is installed, by name; for one that cannot be used, the reason."""
    known: dict[str, Kind | str] = {}
    owners: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        owner = point.dist.name if point.dist is not None else point.value
        if point.name in owners and owners[point.name] != owner:
            known[point.name] = f"it is claimed by two packages, {owners[point.name]} and {owner}; uninstall one"
            continue
        owners[point.name] = owner
        try:
            kind = point.load()
        except Exception as error:  # noqa: BLE001  a third party's package must not take lamflow down
            known[point.name] = f"{point.value} of {owner} does not load: {error}"
            continue
        fits = isinstance(kind, Kind) and kind.name == point.name
        known[point.name] = kind if fits else f"{point.value} of {owner} is no kind of this name"
    return known


def kind_named(name: str) -> Kind:
    """The kind of workflow called `name`. Raises InputError where there is none, and for one that cannot be used."""
    known = kinds()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
        raise InputError(f"workflow: there is no kind of workflow {name!r}; {hint}")
    kind = known[name]
    if isinstance(kind, str):
        raise InputError(f"workflow {name!r} cannot be used: {kind}")
    return kind


def study_schema() -> dict[str, Any]:
    """The JSON Schema of a study of any kind that is installed; `workflow` says which of them it has to be."""
    usable = [kind for kind in kinds().values() if isinstance(kind, Kind)]
    schemas, definitions = models_json_schema([(kind.settings, "validation") for kind in usable])
    document: dict[str, Any] = {"title": "Study", "anyOf": [], **definitions}
    for kind in usable:
        reference = schemas[kind.settings, "validation"]
        section = document["$defs"][reference["$ref"].rsplit("/", 1)[1]]
        section["properties"]["workflow"] |= {"const": kind.name}
        if kind.name != DEFAULT:
            section["required"] = ["workflow", *section.get("required", [])]
        document["anyOf"].append(reference)
    return document
