"""YAML text to `Config`: every problem in one go, each with its line, its value with unit, and a suggestion."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, overload

import yaml
from pydantic import ValidationError

from lamflow.config.kinds import DEFAULT, kind_named
from lamflow.config.learning import Config
from lamflow.config.problems import Loc, Problem, line_named, problem_of
from lamflow.config.schema import Study
from lamflow.config.section import too_long
from lamflow.errors import REPAIR, InputError, StateError

try:  # in C where PyYAML was built so: eight times as fast
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

S = TypeVar("S", bound=Study)
MOST_BYTES, MOST_VALUES, MOST_DEPTH = 1_000_000, 100_000, 100
"""Of a study: its file, its values with all aliases written out, and its sections within sections."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""Characters that no text of a study has, and that would reach terminals, files and programs."""

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
            problems += [problem_of(dict(item), raw, lines, settings) for item in error.errors(include_url=False)]
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
        found = [Problem(line_named(message, raw, lines), "", message) for message in error.problems]
        if not any(problem.line for problem in found):
            raise
        raise _listed(str(file), found) from error


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
