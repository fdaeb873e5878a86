"""Keys of a foreign file that remember whether anybody has asked for them, so that nothing is dropped in silence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from lamflow.errors import InputError

Kind = Literal["translated", "changed", "lost"]
PRIVATE = ("pass", "token", "secret", "user", "email", "ticket", "key")
"""Values of keys with such a word in their name are never shown."""


@dataclass(frozen=True)
class Note:
    """What became of a key.

    translated  it means the same under the name `to`
    changed     it means something else or less under that name, as `why` says
    lost        lamflow has no counterpart
    """

    kind: Kind
    key: str
    to: str = ""
    why: str = ""

    def __str__(self) -> str:
        arrow = f" -> {self.to}" if self.to else ""
        return f"{self.key}{arrow}{': ' if self.why else ''}{self.why}"


@dataclass
class Notes:
    """Everything that is to be said of a migration. at: the key that was asked for last, with its value."""

    items: list[Note] = field(default_factory=list)
    at: str = ""

    def add(self, kind: Kind, key: str, to: str = "", why: str = "") -> None:
        """Say something once."""
        note = Note(kind, key, to, why)
        if note not in self.items:
            self.items.append(note)

    def of(self, kind: Kind) -> list[Note]:
        """The notes of a kind; what is the same for several items of a list is said once, with `[*]`."""
        found: dict[tuple[str, str, str], list[Note]] = {}
        for note in self.items:
            if note.kind == kind:
                found.setdefault((re.sub(r"\[\d+\]", "[*]", note.key), note.to, note.why), []).append(note)
        return [notes[0] if len(notes) == 1 else Note(kind, key, to, why) for (key, to, why), notes in found.items()]


class Keys:
    """A section of a foreign file. `where` is its name. Raises InputError for what is no section."""

    def __init__(self, raw: Any, where: str, notes: Notes) -> None:
        if raw is not None and not isinstance(raw, dict):
            raise InputError(f"{where}: must be a mapping of keys to values, found {raw!r:.60}")
        self.raw: dict[str, Any] = {str(key): value for key, value in (raw or {}).items()}
        self.where, self.notes = where, notes
        self.used: set[str] = set()
        self.inner: list[Keys] = []
        self._sections: dict[str, Keys] = {}

    def __contains__(self, key: str) -> bool:
        return key in self.raw

    def name(self, key: str) -> str:
        """The key as people write it."""
        return f"{self.where}.{key}" if self.where else key

    def take(self, *keys: str, to: str = "", why: str = "", default: Any = None) -> Any:
        """The value of the first of `keys` that is there, and say what became of it.

        With `to` alone it was translated, with `why` changed. Without either somebody else says so.
        """
        for key in keys:
            if key in self.raw:
                self.used.add(key)
                self.notes.at = self.name(key) + _value(key, self.raw[key])
                if to or why:
                    self.notes.add("changed" if why else "translated", self.name(key), to, why)
                return default if self.raw[key] is None else self.raw[key]
        return default

    def lose(self, *keys: str, why: str = "") -> None:
        """Say that these have no counterpart, and why; what was taken has one."""
        for key in keys:
            if key in self.raw and key not in self.used:
                self.used.add(key)
                shown = self.name(key) + _value(key, self.raw[key])
                self.notes.add("lost", shown, why=why)

    def section(self, key: str) -> Keys:
        """A section in this one, which may be a list of one; empty if there is none. Asked for again it is the same."""
        if key in self._sections:
            return self._sections[key]
        self.used.add(key)
        raw = self.raw.get(key)
        if isinstance(raw, list):
            if len(raw) > 1:
                self.notes.add("changed", self.name(key), why=f"the first of {len(raw)} is taken")
            raw = raw[0] if raw else None
        self._sections[key] = self.enter(raw, key)
        return self._sections[key]

    def enter(self, raw: Any, key: str) -> Keys:
        """Something in this section as a section."""
        made = Keys(raw, self.name(key), self.notes)
        self.inner.append(made)
        return made

    def rest(self) -> Iterator[str]:
        """Keys that nobody has asked for, in this section and those in it."""
        for key, value in self.raw.items():
            if key not in self.used and not is_comment(key):
                yield self.name(key) + _value(key, value)
        for section in self.inner:
            yield from section.rest()

    def finish(self) -> None:
        """Say of every key that nobody has asked for that it has no counterpart."""
        for text in self.rest():
            self.notes.add("lost", text)


def is_comment(key: str) -> bool:
    """Keys of these programs that begin so are comments; `_` alone is CP2K's parameter of a section."""
    return (key.startswith("_") and key != "_") or key == "comment"


def without_comments(value: Any) -> Any:
    """The same without comments, however deep they lie."""
    if isinstance(value, dict):
        return {key: without_comments(item) for key, item in value.items() if not is_comment(key)}
    return [without_comments(item) for item in value] if isinstance(value, list) else value


def _value(key: str, value: Any) -> str:
    if any(word in key.lower() for word in PRIVATE) or isinstance(value, dict | list):
        return ""
    return f" = {value!r}"
