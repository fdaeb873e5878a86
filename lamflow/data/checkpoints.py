"""Which files of a training's scratch folder are checkpoints, whatever the engine."""

from __future__ import annotations

from pathlib import Path, PurePath

NOTES = ("", ".txt", ".json", ".csv", ".log", ".out")
"""What a training writes beside its checkpoints; that they change says nothing."""


def is_checkpoint(name: str) -> bool:
    """A file of this name holds what a training goes on from, or data that do not change."""
    return PurePath(name).suffix not in NOTES


def checkpoints(scratch: Path) -> set[tuple[str, int, int]]:
    """Name, size and time of the checkpoints in a folder: what changes with a new one."""
    found = set()
    for file in scratch.rglob("*"):
        if is_checkpoint(file.name) and file.is_file() and not file.is_symlink():
            state = file.stat()
            found.add((str(file), state.st_size, state.st_mtime_ns))
    return found
