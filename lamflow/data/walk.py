"""Files below a folder, symbolic links followed: data are often laid out as links."""

from __future__ import annotations

import os
from pathlib import Path


def files_below(folder: Path) -> list[Path]:
    """Every file below `folder` in a fixed order; what links lead to is among them, a loop of links is walked once."""
    files = []
    above: dict[str, frozenset[str]] = {str(folder): frozenset()}
    for name, subfolders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(name)
        outer = above.pop(str(Path(name)), frozenset())
        if real in outer:  # a link to a folder that this one lies in
            subfolders.clear()
            continue
        above.update({str(Path(name) / inner): outer | {real} for inner in subfolders})
        files += [Path(name) / file for file in names]
    return sorted(path for path in files if path.is_file())


def folders_with(folder: Path, name: str) -> list[Path]:
    """Folders at or below `folder` that hold a file called `name`, in a fixed order."""
    return sorted({path.parent for path in files_below(folder) if path.name == name})
