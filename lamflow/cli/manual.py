"""The manual page of the engines' settings, which their attribute docstrings are."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from lamflow.config.installed import InstalledEngine, engines
from lamflow.config.read import unit_of

SECTIONS = {
    "train": "`train:`",
    "explore": "an entry of `explore:` in a stage",
    "search": "an entry of `explore:` in a stage",
    "label": "`label:`",
}
HEAD = """\
# Engines and their settings

Made by `lamflow schema --manual` from the engines that are installed; a third party's engine is in yours.
"""


def manual() -> str:
    """A chapter for each engine as Markdown, a table for each of its roles."""
    return "\n".join([HEAD, *(_chapter(engine) for engine in engines().values())])


def _chapter(engine: InstalledEngine) -> str:
    parts = [f"## {engine.name}\n"]
    for role, settings in ((name, role.settings) for name, role in engine.roles.items()):
        if role in SECTIONS:
            said = " ".join((settings.__doc__ or "").split())
            parts.append(f"In {SECTIONS[role]}: {said}\n")
            parts.append(_table(settings))
            parts += [_inner(section) for section in _sections(settings)]
    return "\n".join(parts)


def _inner(section: type[BaseModel]) -> str:
    return f"`{section.__name__}`: {' '.join((section.__doc__ or '').split())}\n\n{_table(section)}"


def _table(settings: type[BaseModel]) -> str:
    rows = ["| key | default | unit | meaning |", "| --- | --- | --- | --- |"]
    for name, field in settings.model_fields.items():
        if name != "engine":
            cells = (
                f"`{name}`",
                _default(field),
                unit_of(field.annotation, field.metadata),
                _meaning(field, _said(settings, name)),
            )
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True) if field.default_factory else field.default
    if value is PydanticUndefined or value is None or value in ([], {}):
        return ""
    return "see below" if isinstance(value, BaseModel) else f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    """A value as YAML has it on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_plain(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(map(_plain, value)) + "]" if isinstance(value, list | tuple) else str(value)


def _said(settings: type[BaseModel], name: str) -> str:
    """The docstring of a setting, or of the one that it narrows in a base class."""
    bases = [base for base in settings.__mro__ if issubclass(base, BaseModel) and name in base.model_fields]
    return next((said for base in bases if (said := base.model_fields[name].description)), "")


def _meaning(field: FieldInfo, said: str) -> str:
    choices = [repr(item).strip("'") for item in _choices(field.annotation)]
    said = re.sub(r"\s+", " ", said).replace("|", "\\|")
    offered = f"One of {', '.join(f'`{choice}`' for choice in choices)}. " if choices else ""
    return f"{offered}{said}".strip()


def _choices(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [item for inner in get_args(annotation) if get_origin(annotation) is not dict for item in _choices(inner)]


def _sections(settings: type[BaseModel]) -> list[type[BaseModel]]:
    """Sections that are settings of an engine's settings."""
    found: dict[str, type[BaseModel]] = {}

    def look(annotation: Any) -> None:
        is_section = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        if is_section and annotation.__name__ not in found:
            found[annotation.__name__] = annotation
            for field in annotation.model_fields.values():
                look(field.annotation)
        for inner in get_args(annotation):
            look(inner)

    for field in settings.model_fields.values():
        look(field.annotation)
    return list(found.values())
