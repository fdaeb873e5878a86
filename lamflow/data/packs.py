"""Folders as one file each: how data sets lie in an object store, where a request costs as much as a megabyte."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath

from lamflow.data.layout import PACK
from lamflow.data.walk import files_below
from lamflow.errors import REPAIR, StateError

END = 2 * tarfile.BLOCKSIZE
"""Bytes, all of them zero, that a tar ends with."""


def pack(folder: Path, name: str) -> Path:
    """Write `folder` as a tar beside it, in which it is called `name`. The same files give the same bytes."""
    target = folder.with_name(folder.name + PACK)
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for file in files_below(folder):
            entry = tarfile.TarInfo(f"{name}/{file.relative_to(folder).as_posix()}")
            entry.size, entry.mode = file.stat().st_size, 0o644
            with file.open("rb") as stream:
                archive.addfile(entry, stream)
    return target


def unpack(file: Path) -> Path:
    """Put the folder of a pack in its place. Raises StateError, and leaves nothing, when it is cut or damaged."""
    folder = file.with_name(file.name.removesuffix(PACK))
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _require_end(file)
        with tarfile.open(file, "r:") as archive:
            for entry in archive:
                _extract(archive, entry, folder)
    except (tarfile.TarError, EOFError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise StateError(f"{file}: this data set of the run is damaged ({error}); {REPAIR}") from error
    file.unlink()
    return folder


def _extract(archive: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path) -> None:
    """Write a file of an archive, which must lie in `folder`. Python before 3.11.4 has no filter that sees to it."""
    parts, content = PurePosixPath(entry.name).parts, archive.extractfile(entry) if entry.isfile() else None
    if content is None or parts[0] != folder.name or ".." in parts:
        raise tarfile.ReadError(f"it holds {entry.name}")
    target = folder.parent.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, target.open("wb") as stream:
        shutil.copyfileobj(content, stream)


def _require_end(file: Path) -> None:
    """Raise ReadError for a tar that was cut off: between two files Python's reader takes no notice of it."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        stream.seek(max(0, size - END))
        end = stream.read()
    if not size or size % tarfile.RECORDSIZE or end.strip(b"\0"):
        raise tarfile.ReadError("unexpected end of data")


def unpack_all(folder: Path) -> None:
    """Put every folder that lies packed in `folder` in the place of its pack."""
    for file in sorted(folder.glob(f"*{PACK}")):
        unpack(file)
