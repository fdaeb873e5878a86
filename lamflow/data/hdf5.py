"""DeePMD-kit's systems in an HDF5 file, unpacked as the folders that they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lamflow.errors import InputError

HDF5 = "deepmd/hdf5"


def is_hdf5(path: Path, format: str | None) -> bool:
    """Whether `path` is to be read as HDF5."""
    return format == HDF5 or (format is None and path.suffix in (".hdf5", ".h5"))


@contextmanager
def unpacked(path: Path) -> Iterator[dict[str, Path]]:
    """Folders of the systems in a file by the names of their groups.

    Raises InputError for a file without any, and one that names the group for what is raised within.
    """
    import h5py

    with TemporaryDirectory() as name:
        folder = Path(name)
        try:
            with h5py.File(path) as file:
                file.visititems(_writer(folder, h5py.Dataset))
        except Exception as error:  # h5py raises anything for what lies in a damaged file
            raise InputError(f"{path}: cannot be read as HDF5: {type(error).__name__}: {error}") from error
        systems = sorted(found.parent for found in folder.rglob("type.raw"))
        if not systems:
            raise InputError(f"{path}: no {HDF5} data in this file (no type.raw)")
        try:
            yield {f"{path}#/{system.relative_to(folder)}".removesuffix("/."): system for system in systems}
        except InputError as error:
            raise InputError(str(error).replace(f"{folder}/", f"{path}#/").replace(str(folder), str(path))) from error


def _writer(folder: Path, kind: type) -> Callable[[str, Any], None]:
    """Writes what a visitor of the file is shown below `folder`: .raw as text, .npy as arrays."""

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, kind) or ".." in Path(name).parts:
            return
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        values = np.asarray(item[()])  # type: ignore[index]
        if target.suffix == ".npy":
            np.save(target, values, allow_pickle=False)
        else:
            words = [word.decode() if isinstance(word, bytes) else str(word) for word in values.ravel().tolist()]
            target.write_text("\n".join(words) + "\n", encoding="utf-8")

    return visit
