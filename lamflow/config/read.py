"""YAML text to `Config`: every problem in one go, each with its line, its value with unit, and a suggestion."""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, overload

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from lamflow.config.installed import ChosenByEngine
from lamflow.config.kinds import DEFAULT, kind_named
from lamflow.config.learning import Config
from lamflow.config.schema import Study
from lamflow.config.section import Section, too_long
from lamflow.errors import REPAIR, InputError, StateError
from lamflow.units import Unit

try:  # in C where PyYAML was built so: eight times as fast
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

Loc = tuple[str | int, ...]
S = TypeVar("S", bound=Study)
MOST_BYTES, MOST_VALUES, MOST_DEPTH = 1_000_000, 100_000, 100
"""Of a study: its file, its values with all aliases written out, and its sections within sections."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""Characters that no text of a study has, and that would reach terminals, files and programs."""
RENAMED = {
    "tasks": "heads", "task": "head", "old_data_share": "old_data_fraction", "share": "fraction", "by": "metric",
    "climb": "ramp", "hull_change": "hull_shift", "hull_regret": "ground_state_error", "safe": "advance_at",
    "tasks_per_pod": "work_per_job", "choose_within": "speed_tolerance",
}  # fmt: skip
"""Keys of earlier versions and what they are called now."""

SETTINGS = "config.json"
"""The file of a study as a run keeps it."""


class _Loader(SafeLoader):
    """PyYAML's safe loader with the core schema of YAML 1.2: `1e-3` is a number, `yes` a word."""


_Loader.yaml_implicit_resolvers = {}
CORE_SCHEMA = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "null": (r"~|null|Null|NULL|", "~nN"),
    "merge": (r"<<", "<"),
}
"""What a plain word is, and the characters that it may begin with: YAML 1.2.2, section 10.3.2."""
for _tag, (_pattern, _begins) in CORE_SCHEMA.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), [*_begins, ""])


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    """An integer of YAML 1.2: decimal, 0o octal, 0x hexadecimal; one that YAML 1.1 reads otherwise is refused."""
    text = str(loader.construct_scalar(node))
    problem = too_long(text)
    if not problem and re.fullmatch(r"[-+]?0[0-9]+", text):
        problem = (
            f"{text} is octal for some programs and decimal for others; write {int(text)}, or 0o… for an octal number"
        )
    if problem:
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong with a file."""

    line: int
    where: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line:<4} {self.where + ': ' if self.where else ''}{self.message}"


@overload
def load(file: str | Path, *, files: bool = ...) -> Config: ...
@overload
def load(file: str | Path, kind: type[S], *, files: bool = ...) -> S: ...
def load(file: str | Path, kind: type[Any] = Config, *, files: bool = True) -> Any:
    """The study in `file`, which must be of a `kind`; with `files` those that it names must exist.

    Raises InputError that lists every problem with its line.
    """
    path = Path(file)
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: this is no file, and a study is one")
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: {path.stat().st_size / 1e6:.0f} MB are no study; at most are 1 MB")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{path}: cannot be read: {reason}") from error
    return parse(text, str(path), path.parent.absolute(), kind=kind, files=files)


@overload
def stored(folder: Path) -> Config: ...
@overload
def stored(folder: Path, kind: type[S]) -> S: ...
def stored(folder: Path, kind: type[Any] = Config) -> Any:
    """The study that a run keeps in `folder`; the files that it names lie beside it.

    Raises StateError when there is none, and when it is not of `kind`.
    """
    file = folder / SETTINGS
    try:
        raw = json.loads(file.read_bytes())
        settings = kind_named(raw.get("workflow", DEFAULT)).settings
        study = settings.model_validate(raw, context={"root": folder})
    except OSError as error:
        raise StateError(f"{file}: this file of the run cannot be read: {error.strerror}; {REPAIR}") from error
    except (ValueError, AttributeError) as error:
        why = _first(error) if isinstance(error, ValidationError) else str(error)
        raise StateError(f"{file}: not the settings of a run of this version of lamflow: {why}; {REPAIR}") from error
    if not isinstance(study, kind):
        raise StateError(f"{file}: the run is of workflow {study.workflow}; this needs a run of learning")
    return study


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


@overload
def parse(text: str, name: str = ..., root: Path | None = ..., *, files: bool = ...) -> Config: ...
@overload
def parse(text: str, name: str = ..., root: Path | None = ..., *, kind: type[S], files: bool = ...) -> S: ...
def parse(
    text: str, name: str = "configuration", root: Path | None = None, *, kind: type[Any] = Config, files: bool = True
) -> Any:
    """The study in `text`; paths in it are relative to `root`. See `load`."""
    lines, problems = _lines(text)
    raw = yaml.load(text, Loader=_Loader) if not problems else {}  # noqa: S506  a SafeLoader
    if not problems and not isinstance(raw, dict):
        problems = [Problem(1, "", "the file must be a mapping of keys to values")]
    if not problems:
        try:
            settings = kind_named(str(raw.get("workflow", DEFAULT))).settings
            study = settings.model_validate(raw, context={"root": root, "check_files": files})
            if isinstance(study, kind):
                return study
            wanted = f"this is a study of workflow {study.workflow}; what was asked for needs one of learning"
            problems = [Problem(lines.get(("workflow",), 1), "", wanted)]
        except InputError as error:
            problems = [Problem(lines.get(("workflow",), 1), "", str(error))]
        except ValidationError as error:
            problems += [_problem(dict(item), raw, lines, settings) for item in error.errors(include_url=False)]
    raise _listed(name, problems)


def _listed(name: str, problems: Sequence[Problem]) -> InputError:
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return InputError(f"{name}: {count}\n" + "\n".join(f"  {problem}" for problem in sorted(problems)))


@contextmanager
def with_lines(file: str | Path) -> Iterator[None]:
    """Give the problems of an InputError that begin with a setting the lines of the study in `file`, as `load` does."""
    try:
        yield
    except InputError as error:
        text = Path(file).read_text(encoding="utf-8")
        lines, raw = _lines(text)[0], yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
        found = [Problem(_line_named(message, raw, lines), "", message) for message in error.problems]
        if not any(problem.line for problem in found):
            raise
        raise _listed(str(file), found) from error


def _line_named(message: str, raw: Any, lines: dict[Loc, int]) -> int:
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


def _item_named(items: list[Any], word: str) -> int | None:
    """Place of the item that has this name, or this number; patterns of files have become several items."""
    named = [place for place, item in enumerate(items) if isinstance(item, dict) and item.get("name") == word]
    if named:
        return named[0]
    patterns = any(isinstance(item, str) and set(item) & set("*?[") for item in items)
    return int(word) if word.isdigit() and int(word) < len(items) and not patterns else None


def _lines(text: str) -> tuple[dict[Loc, int], list[Problem]]:
    """The line of every key and item, and the problems of the text itself: syntax and repeated keys."""
    lines: dict[Loc, int] = {}
    problems: list[Problem] = []

    def walk(node: yaml.Node, loc: Loc) -> None:
        if len(lines) > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES:,} values, as anchors and aliases can make of a few lines")
        lines.setdefault(loc, node.start_mark.line + 1)
        control = CONTROL.search(node.value) if isinstance(node, yaml.ScalarNode) else None
        if control:
            what = f"this text has a control character (code {ord(control[0])})"
            problems.append(Problem(node.start_mark.line + 1, ".".join(map(str, loc)), what))
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                    where = ".".join(map(str, loc))
                    problems.append(Problem(key.start_mark.line + 1, where, "a key must be a word; write it in quotes"))
                    continue
                name = str(key.value)
                inner = (*loc, name)
                if name in seen:
                    where = ".".join(map(str, inner))
                    problems.append(Problem(key.start_mark.line + 1, where, "this key is given twice"))
                seen.add(name)
                lines[inner] = key.start_mark.line + 1
                walk(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                walk(item, (*loc, index))

    try:
        if deep := _line_too_deep(text):
            return lines, [Problem(deep, "", f"nested more than {MOST_DEPTH} levels deep")]
        node = yaml.compose(text, Loader=_Loader)
        if node is not None:
            walk(node, ())
            yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problems.append(Problem(line, "", f"not valid YAML: {error.problem}"))
    except (yaml.YAMLError, ValueError, TypeError) as error:
        problems.append(Problem(1, "", f"not valid YAML: {error}"))
    except RecursionError:
        problems.append(Problem(1, "", "an alias that contains itself"))
    return lines, problems


def _line_too_deep(text: str) -> int | None:
    """The line on which sections are nested too deeply: the parser in C calls itself for each level, without end."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            return event.start_mark.line + 1 if event.start_mark else 1
    return None


def _problem(error: dict[str, Any], raw: Any, lines: dict[Loc, int], settings: type[Section]) -> Problem:
    """A pydantic error as a person wants to read it."""
    loc: Loc = error["loc"]
    shown = _without_tags(loc, raw, keep_last=error["type"] == "missing")
    if not loc and error["type"] == "value_error":  # a rule across sections names its section first
        message = _message(error, None, "")
        return Problem(_line_named(message, raw, lines) or 1, "", message)
    line = next(lines[shown[:n]] for n in range(len(shown), -1, -1) if shown[:n] in lines or n == 0)
    section, field = _describe(loc, settings)
    unit = unit_of(field.annotation, field.metadata) if field else ""
    message = _message(error, section, unit)
    return Problem(line, ".".join(map(str, shown)), message)


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
        text = "must be a mapping of keys to values"
    elif kind == "string_pattern_mismatch" and error["loc"][-1] == "name":
        text = "use lower-case letters, digits and '-', at most 40"
    elif kind == "string_type" and isinstance(value, bool):
        return "YAML takes this word for true or false; write it in quotes"
    text = text[0].lower() + text[1:]
    if isinstance(value, str | int | float | bool):
        return f"{_short(value)}{' ' + unit if unit else ''}: {text}{' ' + unit if unit and text[-1].isdigit() else ''}"
    return text


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


def unit_of(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """The unit of a number, or of the numbers in a list; empty if it has none."""
    found = next((item.symbol for item in metadata if isinstance(item, Unit)), "")
    if found or not get_args(annotation):
        return found
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        return unit_of(inner, extra)
    return next((unit for part in get_args(annotation) if (unit := unit_of(part))), "")


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
