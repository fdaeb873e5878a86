"""Arrays that a run keeps: a file that is missing or damaged is named, with the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from lamflow.errors import REPAIR, StateError


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays in an .npz file by name, without pickles. Raises StateError for one that is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise StateError(f"{path}: this file of the run is missing; {REPAIR}") from None
    except (ValueError, EOFError, BadZipFile, AttributeError) as error:
        raise StateError(f"{path}: this file of the run is damaged ({error}); {REPAIR}") from error


def read_array(path: Path) -> NDArray[Any]:
    """The array in an .npy file: see `read_arrays`."""
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise StateError(f"{path}: this file of the run is missing; {REPAIR}") from None
    except (ValueError, EOFError) as error:
        raise StateError(f"{path}: this file of the run is damaged ({error}); {REPAIR}") from error
    return array
