"""Labeled data from outside as they are, good and bad: every frame of a source is read, or counted with its reason."""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from ase.io.formats import open_with_compression

from lamflow.data.npy import FORMATS
from lamflow.data.shards import SourceFrame
from lamflow.data.sources.databases import lmdb_file, lmdb_frames
from lamflow.data.sources.dialect import Dialect, Scale
from lamflow.data.sources.files import ase_frames, dpdata_frames, npy_frames, unusable
from lamflow.data.sources.mptrj import mptrj_frames
from lamflow.data.sources.parquet import parquet_frames
from lamflow.errors import InputError

__all__ = ["Dialect", "Scale", "SourceFrame", "source_frames"]

MPTRJ, COLABFIT, LMDB = "mptrj", "colabfit", "lmdb"
"""Formats that no other program has a name for."""


def source_frames(path: Path, dialect: Dialect) -> Iterator[SourceFrame]:
    """Every frame of the file or folder at `path`, in its order: labeled, or with the reason why it is not.

    Raises InputError for a source of which nothing can be read, and where what it says could mean two things.
    """
    try:
        for item in _reader(path, dialect):
            yield unusable(item)
    except InputError as error:
        text = str(error)
        raise InputError(text if str(path) in text else f"{path}: {text}") from error


def _reader(path: Path, dialect: Dialect) -> Iterator[SourceFrame]:
    format = dialect.format
    if format == MPTRJ or (format is None and ".json" in path.suffixes and _looks_like_mptrj(path)):
        return mptrj_frames(path, dialect)
    if format == COLABFIT or (format is None and path.suffix == ".parquet"):
        return parquet_frames(path, dialect)
    database = lmdb_file(path)
    if format in (LMDB, "deepmd/lmdb", "aselmdb") or (format is None and database is not None):
        return lmdb_frames(path, dialect)
    if path.is_dir() and (format is None or format in FORMATS):
        return npy_frames(path, dialect)
    if path.is_dir() or (format is not None and "/" in format):
        return dpdata_frames(path, dialect)
    return ase_frames(path, dialect)


def _looks_like_mptrj(path: Path) -> bool:
    """The first bytes are those of {"mp-…": {"mp-…": {"structure"."""
    with open_with_compression(str(path), "rb") as stream:
        try:
            return re.match(rb'\s*\{\s*"mp-', stream.read(200)) is not None
        except (OSError, EOFError, zlib.error, lzma.LZMAError):
            return False  # its reader says what is wrong with it
