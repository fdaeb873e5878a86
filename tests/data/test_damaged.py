"""Files that are damaged, or no files, are refused by name, however their readers fail."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from lamflow.config import parse
from lamflow.data import Frame, LabeledFrame
from lamflow.data.dataset import Item, Origin, write_dataset
from lamflow.data.io import read_labeled, write_extxyz
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.errors import InputError
from tests.conftest import STUDY


@pytest.fixture
def frames(copper: list[Frame]) -> list[LabeledFrame]:
    labels = EmtEvaluator(Emt()).evaluate(copper[:3])
    return [LabeledFrame(frame, label) for frame, label in zip(copper[:3], labels, strict=True)]


@pytest.fixture
def system(frames: list[LabeledFrame], tmp_path: Path) -> Path:
    write_dataset(
        tmp_path / "set", [Item(item, Origin(iteration=0, source="x")) for item in frames], ["Cu"], "deepmd/npy"
    )
    [file] = (tmp_path / "set").rglob("type.raw")
    return file.parent


def test_an_array_whose_header_promises_more_than_there_is_memory(system: Path) -> None:
    file = system / "set.000" / "force.npy"
    file.write_bytes(file.read_bytes().replace(b"(3, 24), }             ", b"(8999999999991, 24), } "))
    with pytest.raises(InputError, match=r"force\.npy: cannot be read: Unable to allocate"):
        read_labeled(system)


def test_an_array_that_is_a_pipe(system: Path) -> None:
    file = system / "set.000" / "coord.npy"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(InputError, match=r"coord\.npy: this is no file"):
        read_labeled(system)


def test_types_that_no_machine_holds(system: Path) -> None:
    (system / "type.raw").write_text("9" * 40 + "\n")
    with pytest.raises(InputError, match=r"type\.raw: .* types are whole numbers"):
        read_labeled(system)


def test_a_damaged_hdf5_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in ("a", "b", "c"):
            file[f"{name}/set.000/coord.npy"] = np.zeros((2, 3))
    data = (tmp_path / "x.h5").read_bytes()
    for signature in (b"SNOD", b"HEAP", b"TREE"):
        (tmp_path / "x.h5").write_bytes(data.replace(signature, b"\0\0\0\0"))
        with pytest.raises(InputError, match=r"x\.h5: cannot be read as HDF5: \w+: "):
            read_labeled(tmp_path / "x.h5")


@pytest.mark.parametrize("data", [b"\x8a\xff\x00\x1b" * 20, "8\né\n".encode("utf-16")])
def test_an_extxyz_file_that_is_no_text(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.extxyz").write_bytes(data)
    with pytest.raises(InputError, match=r"x\.extxyz"):
        read_labeled(tmp_path / "x.extxyz")


def test_a_compressed_file_that_was_cut(frames: list[LabeledFrame], tmp_path: Path) -> None:
    write_extxyz(tmp_path / "x.extxyz", frames)
    packed = gzip.compress((tmp_path / "x.extxyz").read_bytes())
    for data in (packed[: len(packed) // 2], packed[:20] + b"\xff" * 40 + packed[60:]):
        (tmp_path / "x.extxyz.gz").write_bytes(data)
        with pytest.raises(InputError, match=r"x\.extxyz\.gz: cannot be"):
            read_labeled(tmp_path / "x.extxyz.gz")


def test_pipes_and_devices_are_no_data(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("pipe.json", "/dev/zero"):
        with pytest.raises(InputError, match=r"start\.data\.0: this is no file that can be read again and again"):
            parse(STUDY.replace("label: [rattled]}", f"data: [{name}]}}"), root=tmp_path)
