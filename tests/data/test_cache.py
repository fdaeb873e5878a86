"""Labels that are kept for other runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamflow.data import Frame, Labels
from lamflow.data.cache import Folder, LabelCache


@pytest.fixture
def cache(tmp_path: Path) -> LabelCache:
    return LabelCache(Folder(tmp_path))


def labels(natoms: int, seed: int = 1) -> Labels:
    rng = np.random.default_rng(seed)
    forces, virial = rng.normal(size=(natoms, 3)), rng.normal(size=(3, 3))
    return Labels(-3.25, forces, virial + virial.T)


FRAME = Frame(np.array([8, 1, 8, 1]), np.random.default_rng(2).uniform(0, 4, (4, 3)), 4 * np.eye(3))


def test_labels_come_back_as_they_were(cache: LabelCache) -> None:
    given = labels(4)
    assert cache.get("s", FRAME) is None
    cache.put("s", FRAME, given, {"run": "x"})
    found = cache.get("s", FRAME)
    assert found is not None
    assert found.energy == given.energy
    np.testing.assert_array_equal(found.forces, given.forces)
    np.testing.assert_array_equal(found.virial, given.virial)
    assert cache.get("other settings", FRAME) is None


def test_the_order_of_the_elements_does_not_matter(cache: LabelCache) -> None:
    given, order = labels(4), np.array([1, 3, 0, 2])
    cache.put("s", FRAME, given, {})
    turned = Frame(FRAME.numbers[order], FRAME.positions[order], FRAME.cell)
    found = cache.get("s", turned)
    assert found is not None
    np.testing.assert_array_equal(found.forces, given.forces[order])


def test_hot_electrons_are_another_label(cache: LabelCache) -> None:
    cache.put("s", FRAME, labels(4), {})
    assert cache.get("s", FRAME.with_fields(electronic_temperature=5000.0)) is None


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04"])
def test_a_broken_file_costs_one_label(cache: LabelCache, tmp_path: Path, content: bytes) -> None:
    cache.put("s", FRAME, labels(4), {})
    [file] = tmp_path.rglob("*.npz")
    file.write_bytes(content)
    assert cache.get("s", FRAME) is None
    cache.put("s", FRAME, labels(4), {})
    assert cache.get("s", FRAME) is not None


def test_a_cut_off_file_costs_one_label(cache: LabelCache, tmp_path: Path) -> None:
    cache.put("s", FRAME, labels(4), {})
    [file] = tmp_path.rglob("*.npz")
    file.write_bytes(file.read_bytes()[:200])
    assert cache.get("s", FRAME) is None


def test_a_place_that_cannot_be_written_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    cache = LabelCache(Folder(tmp_path / "file"))
    cache.put("s", FRAME, labels(4), {})
    cache.put("s", FRAME, labels(4), {})
    assert cache.get("s", FRAME) is None
    assert capsys.readouterr().err.count("the label cache cannot be") == 1
