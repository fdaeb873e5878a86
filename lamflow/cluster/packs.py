"""Data sets of a run between its folder, where they are folders, and its store, where one or many are one object."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from lamflow.cluster.store import PART, Store, StoredObject
from lamflow.data.files import write_whole
from lamflow.data.layout import LOCK, PACK, STAGED, WORK, is_packed, object_key
from lamflow.data.packs import age, folders_in, join, pack, unpack, unpack_all
from lamflow.data.walk import files_below
from lamflow.errors import ClusterError, StateError

MARK = ".known"
"""How the name of the file ends that says which object some folders are, and how their files were then."""
MANY = 16
"""So many small objects in a folder of the store are made one: each costs every pod that reads them a request."""


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


def compact(store: Store, root: Path, key: str) -> None:
    """Make the data sets that are stored in the folder `key` few objects. Nobody may write or read them meanwhile.

    Those of less than a part of an upload are joined when there are many: what is stored anew is bounded, and so is
    the number of objects, but for the data of long runs themselves.
    """
    rounds = [item for item in _stored(store, key) if folders_in(_name(item))[0].isdigit()]
    small = [item for item in rounds if item.size < PART]
    if len(small) >= MANY:
        _repack(store, root, key, small, lambda place: [join(place)])


def remove(store: Store, root: Path, key: str) -> None:
    """Delete the data set `key` from the store; others that are in one object with it become objects of their own."""
    folder, name = key.rsplit("/", 1)
    holding = [item for item in _stored(store, folder) if name in folders_in(_name(item))]
    if not any(len(folders_in(_name(item))) > 1 for item in holding):
        store.delete(object_key(key))
        return

    def others(place: Path) -> list[Path]:
        return [pack(one, one.name) for one in sorted(place.glob("*/")) if one.name != name]

    _repack(store, root, folder, holding, others)


def _repack(
    store: Store, root: Path, key: str, items: Sequence[StoredObject], packed: Callable[[Path], Sequence[Path]]
) -> None:
    """Store the data sets of some objects as those that `packed` makes of their folders; what is cut off loses none."""
    (root / WORK).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=root / WORK) as name:
        place = Path(name) / key
        store.pull(Path(name), {item.key for item in items}.__contains__, f"{key}/")
        unpack_all(place)
        files = packed(place)
        for file in files:
            store.put(f"{key}/{file.name}", file)
        for item in items:
            if _name(item) not in {file.name for file in files}:
                store.delete(item.key)


def _stored(store: Store, key: str) -> list[StoredObject]:
    return [item for item in store.objects(f"{key}/") if item.key.endswith(PACK)]


def _name(item: StoredObject) -> str:
    return item.key.rsplit("/", 1)[1]


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
        while True:
            stored = _stored(store, key)
            try:
                return _pull(store, root, key, stored, strict)
            except ClusterError:
                if stored == _stored(store, key):
                    raise  # and otherwise its driver has made few objects of many


def _pull(store: Store, root: Path, key: str, stored: Sequence[StoredObject], strict: bool) -> None:
    staged = root / WORK / STAGED
    by_age = sorted(stored, key=lambda item: age(_name(item)))
    holding = {name: item for item in by_age for name in folders_in(_name(item))}
    for folder in (root / key).glob("*/"):
        if folder.name not in holding:
            shutil.rmtree(folder)
    meant = {item: [root / key / name for name in holding if holding[name] is item] for item in stored}
    changed = [item for item in stored if _read(_mark(staged, item)) != _state(item, meant[item])]
    store.pull(staged, {item.key for item in changed}.__contains__, f"{key}/")
    for item in changed:
        for folder in meant[item]:
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.nullcontext() if strict else contextlib.suppress(StateError):
            unpack(staged / item.key)
            (root / key).mkdir(parents=True, exist_ok=True)
            for folder in meant[item]:
                if (staged / key / folder.name).is_dir():
                    (staged / key / folder.name).rename(folder)
            write_whole(_mark(staged, item), _state(item, meant[item]))


def _mark(staged: Path, item: StoredObject) -> Path:
    return staged / f"{item.key}{MARK}"


def _read(mark: Path) -> str | None:
    return mark.read_text(encoding="utf-8") if mark.is_file() else None


def _state(stored: StoredObject, folders: Sequence[Path]) -> str:
    """Which object some folders are, and sizes and times of their files: whoever changes one is seen."""
    files = [(file, file.stat()) for folder in folders if folder.is_dir() for file in files_below(folder)]
    lines = [f"{file.relative_to(folders[0].parent)} {found.st_size} {found.st_mtime_ns}" for file, found in files]
    return "\n".join([stored.etag, *lines])
