"""The base of every configuration section, and the types that only configurations need."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from ase.data import atomic_numbers
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    StringConstraints,
    ValidationInfo,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


def _exact(schema: Any, section: type) -> Any:
    """A schema of `section` whose numbers and truth values take nothing else; sections inside are so already."""
    if isinstance(schema, list | tuple):
        return type(schema)(_exact(part, section) for part in schema)
    if not isinstance(schema, dict) or (schema.get("type") == "model" and schema["cls"] is not section):
        return schema
    inner = {key: _exact(part, section) for key, part in schema.items() if key not in ("metadata", "default", "cls")}
    made = {**schema, **inner}
    refuse = {"int": _number, "float": _number, "bool": _truth}.get(str(schema.get("type")))
    return made if refuse is None else core_schema.no_info_before_validator_function(refuse, made)


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is no number")  # noqa: TRY004  pydantic wants a ValueError
    if isinstance(value, str):
        raise PydanticCustomError("word_for_number", f"this is a word, and a number is needed{_meant(value)}")
    return value


def _meant(word: str) -> str:
    """How the number is written that a word stands for, if it does for one."""
    try:
        number = float(word.replace("_", ""))
    except ValueError:
        return ""
    return f"; write {number:.15g}, without quotes or '_'" if math.isfinite(number) else ""


def _truth(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is no truth value: write true or false, without quotes")  # noqa: TRY004  as above
    return value


class Section(BaseModel):
    """A frozen group of settings: unknown keys are refused, attribute docstrings are the manual page.

    Numbers are numbers and truth values truth values: words in quotes and `yes` are neither, and `true` is not 1.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        str_strip_whitespace=True,
        defer_build=True,  # a process reads one kind of study
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        """See pydantic."""
        schema: CoreSchema = _exact(handler(source), cls)
        return schema


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$")]
"""Lower-case letters, digits and '-', at most 40: it becomes part of the names of files and of Kubernetes objects."""


def check_distinct(values: list[Any]) -> list[Any]:
    """The values. Raises ValueError for those that appear twice."""
    repeated = sorted(name for name, count in Counter(map(str, values)).items() if count > 1)
    if repeated:
        raise ValueError(f"{', '.join(repeated)} appears more than once")
    return values


Distinct = AfterValidator(check_distinct)
"""Of a list: an item that appears twice is refused, for it would be paid for twice or counted twice."""


def expand(path: Path) -> Path:
    """`path` with `${VARIABLES}` filled in from the environment; call it where the file is opened.

    Configurations keep the variable, so that what it holds never reaches a file that lamflow writes.
    Raises ValueError when a variable is not set.
    """
    text = os.path.expandvars(str(path))
    if "$" in text:
        raise ValueError(f"{path}: the environment variable in this path is not set")
    return Path(text)


def text_of(path: Path) -> str:
    """The text of a file of the user's. Raises ValueError that names it when it is not UTF-8."""
    data = expand(path).read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: this is not UTF-8 text; write it in UTF-8 or plain ASCII") from error


MOST_DIGITS = 300
"""Of a whole number: it is one of floating point, too."""


def too_long(text: str) -> str | None:
    """Why a whole number is refused; None for one that floating point can hold."""
    if len(text) <= MOST_DIGITS:
        return None
    return f"{text[:20]}… has {len(text)} characters; a whole number has at most {MOST_DIGITS}"


def _whole_number(text: str) -> int:
    if problem := too_long(text):
        raise ValueError(problem)
    return int(text)


def json_of(text: str, **options: Any) -> Any:
    """A JSON document of the user's, see `json.loads`. Raises ValueError also for one that is nested without end, and
    for a whole number that no number of a machine can hold."""
    try:
        return json.loads(text, parse_int=_whole_number, **options)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def distinct(names: Sequence[str]) -> list[str]:
    """The names, numbered where they repeat, and none of them twice."""
    taken, made = set(names), list[str]()
    for name in names:
        numbered = (f"{name[:36]}-{number}" for number in itertools.count(1))
        made.append(name if names.count(name) == 1 else next(one for one in numbered if one not in taken))
        taken.add(made[-1])
    return made


def check_names(key: str, files: Sequence[Path], taken: Iterable[str] = ()) -> None:
    """Raise ValueError when two of the files that lie side by side where a program runs have the same name."""
    seen = set(taken)
    for file in files:
        if file.name in seen:
            raise ValueError(f"{key}: there is another file called {file.name} beside {file}; give it another name")
        seen.add(file.name)


def rebuilt(value: Any, change: Callable[[Any], Any]) -> Any:
    """`value` with every part of it for which `change` returns something else than None replaced by that."""
    changed = change(value)
    if changed is not None:
        return changed
    if isinstance(value, Section):
        names = type(value).model_fields
        return value.model_copy(update={name: rebuilt(getattr(value, name), change) for name in names})
    if isinstance(value, list | tuple):
        return type(value)(rebuilt(item, change) for item in value)
    if isinstance(value, dict):
        return {key: rebuilt(item, change) for key, item in value.items()}
    return value


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    """A path written in a configuration file is relative to that file."""
    path = absolute(path, info)
    if info.context and info.context.get("check_files", False):
        found = expand(path)
        if not found.exists():
            raise ValueError(f"no such file: {path}")
        if not (found.is_file() or found.is_dir()):
            raise ValueError(f"this is no file that can be read again and again, but a pipe or a device: {path}")
    return path


def absolute(path: Path, info: ValidationInfo) -> Path:
    """A path that was written in a study, relative to the folder of its file."""
    root: Any = (info.context or {}).get("root")
    try:
        path = path.expanduser() if str(path).startswith("~") else path
    except RuntimeError as error:
        raise ValueError(f"{path}: there is no user of this name, whose home ~ would be") from error
    return path if root is None or path.is_absolute() or str(path).startswith("$") else Path(root) / path


def _no_folder(path: Path, info: ValidationInfo) -> Path:
    if info.context and info.context.get("check_files", False) and expand(path).is_dir():
        raise ValueError(f"this is a folder, and a file is needed: {path}")
    return path


def matched_files(value: Any, info: ValidationInfo) -> Any:
    """Files for the patterns in a list of them; a pattern that nothing matches stays as it is."""
    if not isinstance(value, list):
        return value
    found: list[Any] = []
    for item in value:
        if not isinstance(item, str) or not set(item) & set("*?[") or expand(absolute(Path(item), info)).exists():
            found.append(item)
            continue
        parts = Path(item).parts
        plain = next(place for place, part in enumerate(parts) if set(part) & set("*?["))
        folder, pattern = Path(*parts[:plain]), str(Path(*parts[plain:]))
        matches = sorted(expand(absolute(folder, info)).glob(pattern))
        here = expand(absolute(folder, info))
        found += [str(folder / match.relative_to(here)) for match in matches] or [item]
    return found


def _as_text(path: str, info: ValidationInfo) -> str:
    return path if path.startswith("$") else str(absolute(Path(path), info).absolute())


InputFolder = Annotated[Path, AfterValidator(_beside_the_file)]
"""A file or folder that must exist when the configuration is loaded; it travels with the run."""
InputFile = Annotated[Path, AfterValidator(_beside_the_file), AfterValidator(_no_folder)]
"""A file that must exist when the configuration is loaded; it travels with the run."""
InputFiles = Annotated[list[InputFolder], BeforeValidator(matched_files)]
"""Files or folders, or patterns like `frames/*.extxyz` that are looked up when the configuration is loaded."""
MountedFolder = Annotated[str, AfterValidator(_as_text)]
"""A folder that is there where it is used, and never copied."""


def _known_element(symbol: str) -> str:
    if symbol not in atomic_numbers or symbol == "X":
        raise ValueError(f"{symbol!r} is not a chemical symbol")
    return symbol


VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""Of an environment."""
Element = Annotated[str, AfterValidator(_known_element)]
"""A chemical symbol."""
