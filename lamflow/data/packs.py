"""Folders in one file, or many: how data sets lie in an object store, where a request costs as much as a megabyte.

003.tar holds the folder 003; 000-015.tar those of rounds 0 to 15. Where a folder lies in two packs, the one that holds
fewer is newer.
"""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Sequence, Set
from pathlib import Path, PurePosixPath

from lamflow.data.layout import PACK, round_name
from lamflow.data.walk import files_below
from lamflow.errors import REPAIR, StateError

END = 2 * tarfile.BLOCKSIZE
"""Bytes, all of them zero, that a tar ends with."""


def pack(folder: Path, name: str) -> Path:
    """Write `folder` as a tar beside it, in which it is called `name`. The same files give the same bytes."""
    target = folder.with_name(folder.name + PACK)
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, folder, name)
    return target


def join(folder: Path) -> Path:
    """Write all folders that lie in `folder`, which are named by numbers, as one tar in it."""
    folders = sorted(folder.glob("*/"), key=lambda one: int(one.name))
    target = folder / f"{folders[0].name}-{folders[-1].name}{PACK}"
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for one in folders:
            _add(archive, one, one.name)
    return target


def _add(archive: tarfile.TarFile, folder: Path, name: str) -> None:
    for file in files_below(folder):
        entry = tarfile.TarInfo(f"{name}/{file.relative_to(folder).as_posix()}")
        entry.size, entry.mode = file.stat().st_size, 0o644
        with file.open("rb") as stream:
            archive.addfile(entry, stream)


def folders_in(name: str) -> list[str]:
    """Names of the folders that a pack of this file name may hold."""
    joined = re.fullmatch(rf"(\d+)-(\d+){re.escape(PACK)}", name)
    if joined is None:
        return [name.removesuffix(PACK)]
    return [round_name(number) for number in range(int(joined[1]), int(joined[2]) + 1)]


def age(name: str) -> int:
    """What packs are sorted by, so that what is newer comes later."""
    return -len(folders_in(name))


def unpack(file: Path) -> None:
    """Put the folders of a pack in their places. Raises StateError, and leaves none, when it is cut or damaged."""
    names = set(folders_in(file.name))
    folders = [file.with_name(name) for name in names]
    _remove(folders)
    try:
        _require_end(file)
        with tarfile.open(file, "r:") as archive:
            for entry in archive:
                _extract(archive, entry, file.parent, names)
    except (tarfile.TarError, EOFError) as error:
        _remove(folders)
        raise StateError(f"{file}: this data set of the run is damaged ({error}); {REPAIR}") from error
    file.unlink()


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _extract(archive: tarfile.TarFile, entry: tarfile.TarInfo, place: Path, names: Set[str]) -> None:
    """Write a file below `place`, in a folder of one of these names. Python before 3.11.4 has no filter for that."""
    parts, content = PurePosixPath(entry.name).parts, archive.extractfile(entry) if entry.isfile() else None
    if content is None or parts[0] not in names or ".." in parts:
        raise tarfile.ReadError(f"it holds {entry.name}")
    target = place.joinpath(*parts)
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
    """Put every folder that lies packed in `folder` in its place."""
    for file in sorted(folder.glob(f"*{PACK}"), key=lambda file: age(file.name)):
        unpack(file)
