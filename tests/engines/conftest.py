"""Recorded outputs of codes, and what is said of labels that failed."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from lamflow.data import Frame, Labels
from lamflow.engines.protocol import LabelFailure

OUTPUTS = Path(__file__).parent / "outputs"
Put = Callable[[str, str], Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Unpacks a recorded output to where a code would have written it."""

    def unpack(name: str, to: str) -> Path:
        path = tmp_path / to
        path.parent.mkdir(parents=True, exist_ok=True)
        packed = OUTPUTS / f"{name}.gz"
        path.write_bytes(gzip.decompress(packed.read_bytes()) if packed.exists() else (OUTPUTS / name).read_bytes())
        return path

    return unpack


def failed(answer: Labels | Frame | LabelFailure, kind: str) -> str:
    assert isinstance(answer, LabelFailure), answer
    assert answer.kind == kind, answer
    return answer.reason
