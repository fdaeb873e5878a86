"""Files that are written whole, and hashes of files and folders."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from lamflow.data.walk import files_below


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or what was there before, also after the power was cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_hash(path: Path) -> str:
    """Hash of a file's content, or of all files below a folder, links followed."""
    digest = hashlib.sha256()
    files = files_below(path) if path.is_dir() else [path]
    for file in files:
        digest.update(bytes.fromhex(file_hash(file)))
    return digest.hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of the lines that `sha256sum` prints of all files below it, in their order.

    Their names are those below the folder; links are followed.
    """
    if not path.is_dir():
        return file_hash(path)
    lines = [f"{file_hash(file)}  {file.relative_to(path).as_posix()}\n" for file in files_below(path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
