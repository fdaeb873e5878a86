"""Where foreign files lie, and how the new file says it."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Spec = dict[str, Any]


@dataclass
class Paths:
    """Where the foreign file lies, and where the new one will.

    missing   files that are named and not there
    written   files that belong to the new one, by name
    elements  the models' elements, once they are known
    type_map  the file's type map, of which `elements` may be a part
    """

    source: Path
    target: Path
    missing: list[str] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)
    elements: list[str] = field(default_factory=list)
    type_map: list[str] = field(default_factory=list)

    def path(self, *parts: Any) -> str:
        """A file's path as the new file says it."""
        named = _joined(parts)
        if not (self.source / named).exists() and str(named) not in self.missing:
            self.missing.append(str(named))
        return self.plain(named)

    def plain(self, *parts: Any) -> str:
        """The same without asking whether it is there."""
        named = _joined(parts)
        if named.is_absolute() or str(named).startswith("$"):
            return str(named)
        return os.path.relpath(self.source / named, self.target)

    def files(self, *parts: Any) -> list[str]:
        """The files that a pattern matches; the pattern itself, which is then missing, if there are none."""
        named = _joined(parts)
        found = sorted(glob.glob(str(self.source / named), recursive=True))  # noqa: PTH207  patterns may be absolute
        if not found:
            return [self.path(named)]
        return [file if named.is_absolute() else os.path.relpath(file, self.target) for file in found]

    def read(self, path: Any) -> str | None:
        """The text of a file, if it is there."""
        self.path(path)
        file = self.source / _joined([path])
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else None


def _joined(parts: Sequence[Any]) -> Path:
    return Path(*(str(part) for part in parts if part not in (None, "")))
