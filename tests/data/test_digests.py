"""Hashes of files that are remembered."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lamflow.data.digests import SETTLED, known_hash, once


def test_a_file_is_read_once_for_each_of_its_states(tmp_path: Path) -> None:
    read = []

    @once
    def content(file: Path, number: int) -> str:
        read.append(number)
        return file.read_text(encoding="utf-8")

    file = tmp_path / "a"
    file.write_text("1")
    time.sleep(2e-9 * SETTLED)
    assert [content(file, 7), content(file, 7), content(file, 8)] == ["1", "1", "1"]
    assert read == [7, 8]


def test_no_change_goes_unseen_that_keeps_size_and_time(tmp_path: Path) -> None:
    file, seen = tmp_path / "a", set()
    for number in range(100):
        file.write_text(f"{number:03d}")
        os.utime(file, (1, 1))
        seen.add(known_hash(file))
    assert len(seen) == 100
