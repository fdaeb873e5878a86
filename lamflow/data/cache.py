"""Labels that were paid for, kept for every run that shares the place: by settings and by structure."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np

from lamflow.data import fields as table
from lamflow.data.frames import Frame, Labels
from lamflow.errors import LamflowError

CACHE = "_labels"
"""Key below which an object store keeps labels; no run can be called so."""


class Files(Protocol):
    """Where a cache keeps its files."""

    def read(self, key: str) -> bytes | None:
        """The content of a file, or None if there is none."""
        ...

    def write(self, key: str, content: bytes) -> None:
        """Write a file whole."""
        ...


class Folder:
    """Files in a folder of this machine, which several runs may use at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, key: str) -> bytes | None:
        """See Files."""
        try:
            return (self.path / key).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, key: str, content: bytes) -> None:
        """See Files."""
        path = self.path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_bytes(content)
        partial.replace(path)


class LabelCache:
    """Labels by the hash of the settings that computed them and the content hash of the frame.

    A cache that cannot be read or written costs labels and stops nothing; it says so once.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self.told = False

    def get(self, settings: str, frame: Frame) -> Labels | None:
        """The labels of `frame` by the engine with these settings, if anyone has paid for them."""
        try:
            content = self.files.read(_key(settings, frame))
            if content is None:
                return None
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                values = {row.name: stored[row.name] for row in table.label_fields() if row.name in stored}
            inverse = np.argsort(_order(frame), kind="stable")
            labels = Labels.of(values, frame.natoms).reordered(inverse)
        except (OSError, LamflowError, LookupError, ValueError, TypeError, EOFError, BadZipFile) as error:
            self._tell("read", error)
            return None
        return None if labels.problem(frame) else labels

    def put(self, settings: str, frame: Frame, labels: Labels, about: dict[str, Any]) -> None:
        """Keep labels, and what is to be known `about` them."""
        arrays: dict[str, Any] = dict(labels.reordered(_order(frame)).fields)
        content = io.BytesIO()
        np.savez(content, about=np.array(json.dumps(about)), **arrays)
        try:
            self.files.write(_key(settings, frame), content.getvalue())
        except (OSError, LamflowError) as error:
            self._tell("written", error)

    def _tell(self, what: str, error: Exception) -> None:
        if not self.told:
            print(f"lamflow: the label cache cannot be {what}: {error}", file=sys.stderr, flush=True)
        self.told = True


def cache_folder() -> Path:
    """What this machine keeps for every run: LAMFLOW_CACHE, or `lamflow` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("LAMFLOW_CACHE") or Path(home) / "lamflow")


def default_folder() -> Path:
    """Where labels are kept on this machine."""
    return cache_folder() / "labels"


def _key(settings: str, frame: Frame) -> str:
    name = frame.content_hash()
    return f"{settings}/{name[:2]}/{name}.npz"


def _order(frame: Frame) -> Any:
    """The order of atoms in which frames with the same content hash agree."""
    return np.argsort(frame.numbers, kind="stable")
