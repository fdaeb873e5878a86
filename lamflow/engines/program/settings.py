"""What codes are told that label one frame at a time as a program."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, JsonValue, ValidationError, model_validator

from lamflow.config.engines import LabelerSettings
from lamflow.data import FailureKind
from lamflow.units import Second


class ProgramSettings(LabelerSettings):
    """What every code that runs as a program is told."""

    nonphysical_keys: ClassVar[frozenset[str]] = frozenset({"command", "label_timeout", "remedies"})

    forbidden: ClassVar[Mapping[str, str]] = {}
    """Keys of the code's input that users may not set, in lower case, and why."""
    obtained: ClassVar[str] = "install it"
    """How one gets the code."""

    input: dict[Any, Any] = Field(default_factory=dict)
    """Further keys of the code's input."""
    command: list[str] = Field(min_length=1)
    """How the code is started, for example `[mpirun, -np, "4", PROGRAM]`."""
    label_timeout: Second = 6 * 3600.0
    """One try of one label that takes longer has failed."""
    remedies: dict[FailureKind, list[dict[str, JsonValue]]] = Field(default_factory=dict)
    """What is tried when a label fails, by the class of its failure: keys of `input` to set, one step after the other,
    each on top of the one before. An empty list tries nothing."""

    @model_validator(mode="after")
    def _nothing_forbidden(self) -> Self:
        steps = [(f"remedies.{kind}", step) for kind, ladder in self.remedies.items() for step in ladder]
        for where, keys in [("input", self.input), *steps]:
            for path in _key_paths(keys):
                why = self.forbidden.get(path[-1].lower())
                if why is not None:
                    raise ValueError(f"{where}.{'.'.join(path)}: not allowed: {why}")
        return self

    @model_validator(mode="after")
    def _can_start(self) -> Self:
        if not self.command:
            raise ValueError("command: empty; name the program")
        return self

    @model_validator(mode="after")
    def _remedies_fit(self) -> Self:
        """Settings with remedies taken are settings, if those without are."""
        if self.remedies and not self._problem({}):
            for kind, ladder in self.remedies.items():
                changes: dict[str, JsonValue] = {}
                for step in ladder:
                    changes = merged(changes, step)
                    problem = self._problem(changes)
                    if problem:
                        raise ValueError(f"remedies.{kind}: {problem}")
        return self

    def _problem(self, changes: Mapping[str, JsonValue]) -> str:
        """Why these settings with other keys of `input` are none; empty if they are good."""
        given = {**self.model_dump(exclude_unset=True), "input": merged(self.input, changes), "remedies": {}}
        try:
            type(self).model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            where, said = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
            return f"{where}: {said}" if where else said
        return ""

    def missing(self) -> str | None:
        """The program that `command` names."""
        if shutil.which(self.command[0]) is not None:
            return None
        return f"{self.command[0]}: no such program on PATH; {self.obtained}, or give label.command"

    def remedied(self, changes: Mapping[str, JsonValue]) -> Self:
        """These settings with remedies taken."""
        return self.model_copy(update={"input": merged(self.input, changes)}) if changes else self


def _key_paths(keys: Any) -> Iterator[tuple[str, ...]]:
    """Every key of nested sections, with those of the sections around it."""
    if isinstance(keys, Mapping):
        for key, value in keys.items():
            yield (str(key),)
            yield from ((str(key), *inner) for inner in _key_paths(value))
    elif isinstance(keys, list):
        for item in keys:
            yield from _key_paths(item)


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`given` with `changes` on top, section by section; keys are compared as they are."""
    result = dict(settings)
    for key, value in changes.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return result
