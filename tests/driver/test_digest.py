"""The same seed selects the same frames, whatever becomes of the code around it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lamflow.config import parse
from lamflow.data.dataset import manifests, read_dataset
from lamflow.driver.loop import run
from tests.conftest import STUDY

ORIGINS = "858ef7160d71175e"
"""Of set, simulation and step of every frame that STUDY trains on, written down before the graph became a value."""
FRAMES = "acd254f5bf5853fc"
"""Of the same with the coordinates to 0.001 Å: processors round differently, and not by so much."""


def digest(rows: list[list[object]]) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def test_a_seed_selects_the_same_frames(tmp_path: Path) -> None:
    run(parse(STUDY), tmp_path / "run")
    folders = sorted((tmp_path / "run" / "data" / "train").iterdir())
    records = [record for manifest in manifests(tmp_path / "run" / "data" / "train") for record in manifest.frames]
    items = [item for folder in folders for item in read_dataset(folder)]
    origins: list[list[object]] = [
        [record.origin.iteration, record.origin.source.split(": ")[-1], record.origin.step] for record in records
    ]
    assert digest(sorted(origins, key=str)) == ORIGINS
    frames: list[list[object]] = [
        [origin, (item.labeled.frame.positions * 1000).round().astype(int).tolist()]
        for origin, item in zip(origins, items, strict=True)
    ]
    assert digest(sorted(frames, key=str)) == FRAMES
