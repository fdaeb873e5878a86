"""Arrays that a run keeps: a file that is missing or damaged is named, with the way back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from lamflow.errors import REPAIR, StateError


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raise StateError for a file that is missing or that numpy cannot read."""
    try:
        yield
    except FileNotFoundError:
        raise StateError(f"{path}: this file of the run is missing; {REPAIR}") from None
    except (ValueError, EOFError, BadZipFile, AttributeError) as error:
        raise StateError(f"{path}: this file of the run is damaged ({error}); {REPAIR}") from error


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays in an .npz file by name, without pickles. Raises StateError for one that is missing or damaged."""
    with _named(path), np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def read_array(path: Path) -> NDArray[Any]:
    """The array in an .npy file: see `read_arrays`."""
    with _named(path):
        array: NDArray[Any] = np.load(path, allow_pickle=False)
        return array
