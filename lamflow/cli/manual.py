"""The manual page of the engines' settings, which their attribute docstrings are."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from lamflow.config.installed import InstalledEngine, engines
from lamflow.config.problems import unit_of

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

KEYS_HEAD = """\
# Keys of the YAML file

A file is a study. `workflow:` names its kind; a file that names none is a study of `learning`. Keys that an engine
adds to `train`, `label`, `explore` and `evaluate` are in [engines](engines.md).
"""


def keys() -> str:
    """A chapter for each kind of workflow as Markdown, then one for each section that they use."""
    from lamflow.config.kinds import Kind, kinds

    known = [kind for kind in kinds().values() if isinstance(kind, Kind)]
    sections = {section.__name__: section for kind in known for section in _sections(kind.settings)}
    chapters = [(f"Kind {kind.name}", kind.settings) for kind in known]
    chapters += [(f"Section {name}", sections[name]) for name in sorted(sections)]
    texts = [
        f"## {title}\n\n{' '.join((section.__doc__ or '').split())}\n\n{_table(section, sections)}"
        for title, section in chapters
    ]
    return "\n".join([KEYS_HEAD, *texts])


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


def _table(settings: type[BaseModel], chapters: Collection[str] = ()) -> str:
    """A row for each key; one whose value is a section of `chapters` points to its chapter."""
    rows = ["| key | default | unit | meaning |", "| --- | --- | --- | --- |"]
    for name, field in settings.model_fields.items():
        if name != "engine":
            cells = (
                f"`{name}`",
                _default(field),
                unit_of(field.annotation, field.metadata),
                _meaning(field, _said(settings, name)) + _references(field.annotation, chapters),
            )
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _references(annotation: Any, chapters: Collection[str]) -> str:
    names = [name for name in _sections_of(annotation) if name in chapters]
    return "".join(f" See [{name}](#section-{name.lower()})." for name in names)


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
    """Sections that are settings of an engine's settings, and their sections."""
    sections: dict[str, type[BaseModel]] = {}
    waiting = [settings]
    while waiting:
        for field in waiting.pop(0).model_fields.values():
            new = {name: item for name, item in _sections_of(field.annotation).items() if name not in sections}
            sections |= new
            waiting += new.values()
    return list(sections.values())


def _sections_of(annotation: Any) -> dict[str, type[BaseModel]]:
    """The sections that the value of a key may be, or have as items, by name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation.__name__: annotation}
    return {name: item for inner in get_args(annotation) for name, item in _sections_of(inner).items()}
