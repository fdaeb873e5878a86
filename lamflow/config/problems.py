"""What is wrong with a study as a person wants to read it: the line, the key, the value with its unit, what to do."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from lamflow.config.installed import ChosenByEngine
from lamflow.config.section import Section
from lamflow.units import Unit

Loc = tuple[str | int, ...]
RENAMED = {
    "tasks": "heads", "task": "head", "old_data_share": "old_data_fraction", "share": "fraction", "by": "metric",
    "climb": "ramp", "hull_change": "hull_shift", "hull_regret": "ground_state_error", "safe": "advance_at",
    "tasks_per_pod": "work_per_job", "choose_within": "speed_tolerance",
}  # fmt: skip
"""Keys of earlier versions and what they are called now."""
MAPPING = "must be a mapping of keys to values"


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong with a file."""

    line: int
    where: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line:<4} {self.where + ': ' if self.where else ''}{self.message}"


def problem_of(error: dict[str, Any], raw: Any, lines: dict[Loc, int], settings: type[Section]) -> Problem:
    """A pydantic error as a person wants to read it."""
    loc: Loc = error["loc"]
    shown = _without_tags(loc, raw, keep_last=error["type"] == "missing")
    if not loc and error["type"] == "value_error":  # a rule across sections names its section first
        message = _message(error, None, "")
        return Problem(line_named(message, raw, lines) or 1, "", message)
    line = next(lines[shown[:n]] for n in range(len(shown), -1, -1) if shown[:n] in lines or n == 0)
    section, field = _describe(loc, settings)
    unit = unit_of(field.annotation, field.metadata) if field else ""
    message = _message(error, section, unit)
    is_null = error.get("input", "") is None and error["type"].endswith("_type")
    if field is not None and is_null and not message.endswith(MAPPING):
        message = _without_value(field)
    if field is not None and message.endswith(MAPPING):
        message += _with_key(error.get("input"), _members(field.annotation, field.metadata).values())
    return Problem(line, ".".join(map(str, shown)), message)


def line_named(message: str, raw: Any, lines: dict[Loc, int]) -> int:
    """The line of the setting that a message begins with: `start.data[0]: …`, `structures.NAME: …`; 0 without one."""
    value, loc = raw, tuple[str | int, ...]()
    for part in re.findall(r"[^.\[\]:\s]+", " ".join(message.split()[:2])):
        key: str | int | None = part
        if isinstance(value, list):
            key = _item_named(value, part)
        elif not isinstance(value, dict) or part not in value:
            key = None
        if key is None:
            break
        value, loc = value[key], (*loc, key)
    return lines.get(loc, 0) if loc else 0


def unit_of(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """The unit of a number, or of the numbers in a list; empty if it has none."""
    found = next((item.symbol for item in metadata if isinstance(item, Unit)), "")
    if found or not get_args(annotation):
        return found
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        return unit_of(inner, extra)
    return next((unit for part in get_args(annotation) if (unit := unit_of(part))), "")


def _item_named(items: list[Any], word: str) -> int | None:
    """Place of the item that has this name, or this number; patterns of files have become several items."""
    named = [place for place, item in enumerate(items) if isinstance(item, dict) and item.get("name") == word]
    if named:
        return named[0]
    patterns = any(isinstance(item, str) and set(item) & set("*?[") for item in items)
    return int(word) if word.isdigit() and int(word) < len(items) and not patterns else None


def _message(error: dict[str, Any], section: type[Section] | None, unit: str) -> str:
    kind, value = error["type"], error.get("input")
    if kind == "extra_forbidden":
        known = list(section.model_fields) if section else []
        return "no such key" + _suggestion(str(error["loc"][-1]), known)
    if kind == "missing":
        return "this key is required"
    if kind == "union_tag_not_found":
        return f"the key {error['ctx']['discriminator']} is required; it chooses what the others mean"
    if kind == "union_tag_invalid":
        context = error["ctx"]
        known = [name.strip("' ") for name in context["expected_tags"].split(",")]
        given, discriminator = context["tag"], context["discriminator"].strip("'_()")
        listed = ", ".join(known)
        return f"{discriminator} {given!r} is not known here{_suggestion(given, known)}; known are {listed}"
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    text = str(error["msg"])
    if kind in ("model_type", "model_attributes_type", "dict_type", "dataclass_type"):
        text = MAPPING
    elif kind == "string_pattern_mismatch" and error["loc"][-1] == "name":
        text = "use lower-case letters, digits and '-', at most 40"
    elif kind == "string_type" and isinstance(value, bool):
        return "YAML takes this word for true or false; write it in quotes"
    text = text[0].lower() + text[1:]
    if isinstance(value, str | int | float | bool):
        return f"{_short(value)}{' ' + unit if unit else ''}: {text}{' ' + unit if unit and text[-1].isdigit() else ''}"
    return text


def _without_value(field: FieldInfo) -> str:
    """What is said of null where a value is needed."""
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    told = isinstance(default, str | int | float)
    return "null is no value here; " + (
        "give one" if field.is_required() else f"leave the key out for its default{f', {default!r}' if told else ''}"
    )


def _with_key(word: object, sections: Iterable[type[Section]]) -> str:
    """How a word is written where a section is wanted, if one of its keys takes that word."""
    keys = [
        key
        for section in sections
        for key, field in section.model_fields.items()
        if get_origin(field.annotation) is Literal and word in get_args(field.annotation)
    ]
    return f"; write {{{keys[0]}: {word}}}" if len(set(keys)) == 1 else ""


def _short(value: object) -> str:
    """A value as it was written; of one that fills a line its two ends."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:40]}…{text[-20:]} ({len(text)} characters)"


def _suggestion(word: str, known: list[str]) -> str:
    if RENAMED.get(word) in known:
        return f"; it is called {RENAMED[word]!r} now"
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _without_tags(loc: Loc, raw: Any, keep_last: bool) -> Loc:
    """`loc` without the names of union members that pydantic puts in between."""
    shown: list[str | int] = []
    for position, part in enumerate(loc):
        here = isinstance(raw, dict) and part in raw
        here = here or (isinstance(raw, list) and isinstance(part, int) and part < len(raw))
        if here:
            raw = raw[part]
        elif not (keep_last and position == len(loc) - 1):
            continue
        shown.append(part)
    return tuple(shown)


def _describe(loc: Loc, settings: type[Section]) -> tuple[type[Section] | None, FieldInfo | None]:
    """The section that holds the last key of `loc`, and that key's field if it is one."""
    section: type[Section] | None = settings
    field: FieldInfo | None = None
    members: dict[str, type[Section]] = {}
    for part in loc:
        if section is not None and part in section.model_fields:
            field = section.model_fields[str(part)]
            members = _members(field.annotation, field.metadata)
        elif isinstance(part, int):
            pass
        elif field is not None and part in members:
            section = members[str(part)]
            continue
        else:  # a key of a mapping, or the kind of a value that may be of two
            return section, field
        section = next(iter(members.values())) if len(members) == 1 else section if not members else None
        if section is None and field is not None:
            continue
    return section, field


def _members(annotation: Any, metadata: list[Any]) -> dict[str, type[Section]]:
    """The sections that a field may hold, by the tag that chooses them."""
    for item in metadata:
        if isinstance(item, ChosenByEngine):
            return dict(item.choices())
    if isinstance(annotation, type) and issubclass(annotation, Section):
        rule = annotation.model_fields.get("rule") or annotation.model_fields.get("property")
        tag = next(iter(get_args(rule.annotation)), annotation.__name__) if rule else annotation.__name__
        return {tag: annotation}
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extra = get_args(annotation)
        return _members(inner, extra)
    if origin in (list, tuple, Union, types.UnionType):
        found: dict[str, type[Section]] = {}
        for argument in get_args(annotation):
            found |= _members(argument, [])
        return found
    return {}
