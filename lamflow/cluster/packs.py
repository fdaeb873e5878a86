"""Data sets of a run between its folder, where they are folders, and its store, where each is one object."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterable
from pathlib import Path

from lamflow.cluster.store import Store, StoredObject
from lamflow.data.files import write_whole
from lamflow.data.layout import LOCK, PACK, STAGED, WORK, is_packed, object_key
from lamflow.data.packs import pack, unpack
from lamflow.data.walk import files_below
from lamflow.errors import StateError

MARK = ".known"
"""How the name of the file ends that says which object a folder is, and how its files were then."""


def push(store: Store, root: Path, files: Iterable[Path]) -> None:
    """Store files below `root` that differ from what is stored; of a data set the whole."""
    loose, folders = [], set[Path]()
    for file in files:
        key = file.relative_to(root)
        if is_packed(key.as_posix()):
            folders.add(root.joinpath(*key.parts[:3]))
        else:
            loose.append(file)
    store.push(root, loose)
    for folder in sorted(folders):
        packed = pack(folder, folder.name)
        try:
            store.put(object_key(folder.relative_to(root).as_posix()), packed)
        finally:
            packed.unlink()


def pull(store: Store, root: Path, key: str, *, strict: bool = True) -> None:
    """Make the data sets in the folder `key` below `root` those that are stored.

    Raises StateError for one that is damaged there; where it is not `strict`, such a one is missing afterwards.
    """
    if not (root / key).is_dir() and not store.objects(f"{key}/"):
        return
    (root / WORK / STAGED).mkdir(parents=True, exist_ok=True)
    with (root / WORK / STAGED / LOCK).open("a", encoding="utf-8") as lock:
        with contextlib.suppress(OSError):  # no locks are kept here
            fcntl.flock(lock, fcntl.LOCK_EX)  # several commands may look at one run
        _pull(store, root, key, strict)


def _pull(store: Store, root: Path, key: str, strict: bool) -> None:
    staged = root / WORK / STAGED
    stored = {item.key.removesuffix(PACK): item for item in store.objects(f"{key}/") if item.key.endswith(PACK)}
    for folder in (root / key).glob("*/"):
        if folder.relative_to(root).as_posix() not in stored:
            shutil.rmtree(folder)
    marks = {name: staged / f"{name}{MARK}" for name in stored}
    changed = [name for name, item in stored.items() if _read(marks[name]) != _state(root / name, item)]
    wanted = {stored[name].key for name in changed}
    store.pull(staged, wanted.__contains__, f"{key}/")
    for name in changed:
        shutil.rmtree(root / name, ignore_errors=True)
        with contextlib.nullcontext() if strict else contextlib.suppress(StateError):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            unpack(staged / stored[name].key).rename(root / name)
            write_whole(marks[name], _state(root / name, stored[name]))


def _read(mark: Path) -> str | None:
    return mark.read_text(encoding="utf-8") if mark.is_file() else None


def _state(folder: Path, stored: StoredObject) -> str:
    """Which object a folder is, and sizes and times of its files: whoever changes one is seen."""
    files = [(file, file.stat()) for file in files_below(folder)] if folder.is_dir() else []
    lines = [f"{file.relative_to(folder)} {found.st_size} {found.st_mtime_ns}" for file, found in files]
    return "\n".join([stored.etag, *lines])
