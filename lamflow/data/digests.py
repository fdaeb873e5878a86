"""Hashes of files that are asked for again and again: each state of a file is read once in a process."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path

from lamflow.data.files import file_hash

SETTLED = 100_000_000
"""ns; clocks of file systems are so coarse that a file which has just changed may change once more unseen."""
Stamp = tuple[int, int, int, int, int]


def stamp(file: Path) -> Stamp:
    """What changes whenever a file does: nobody can set the time of its last change of status."""
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def once(compute: Callable[[Path, int], str]) -> Callable[[Path, int], str]:
    """`compute` of a file and a number, which is asked once for each state of the file."""

    @functools.lru_cache(maxsize=10_000)
    def remembered(file: Path, number: int, _state: Stamp) -> str:
        return compute(file, number)

    def known(file: Path, number: int) -> str:
        state = stamp(file)
        settled = time.time_ns() - state[-1] > SETTLED
        return remembered(file, number, state) if settled else compute(file, number)

    return known


_sha256 = once(lambda file, _: file_hash(file))


def known_hash(file: Path) -> str:
    """SHA-256 of a file, read once for each of its states."""
    return _sha256(file, 0)
