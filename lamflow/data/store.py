"""Where a run keeps its data: keys below a prefix, as in an object store. Here the store is a folder.

input/                  config.json and the files it names
structures/NAME.npz     start structures
data/train/000, 001, …  training data, one data set an iteration; data/heldout/000 the held-out data
data/index/000, …       content hashes and descriptors of those data
iterations/003/…        models, explored, selected, labeled, and result.json when the iteration has finished
"""

from __future__ import annotations

import hashlib
from pathlib import Path

INPUT, STRUCTURES = "input", "structures"
TRAIN, HELDOUT, INDEX = "data/train", "data/heldout", "data/index"


def iteration_key(number: int) -> str:
    """Key of an iteration's folder."""
    return f"iterations/{number:03d}"


def hash_of_files(paths: list[Path]) -> str:
    """Hash of the contents of files, in order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
