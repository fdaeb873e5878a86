"""Folders as one file each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lamflow.data.packs import folders_in, join, pack, unpack, unpack_all
from lamflow.errors import StateError


def folder(path: Path) -> Path:
    for name, text in {
        "manifest.json": "{}",
        "systems/Cu4/type.raw": "0 0 0 0",
        "systems/Cu4/set.000/box.npy": "x" * 3000,
    }.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_what_is_packed_comes_back_under_its_name(tmp_path: Path) -> None:
    packed = pack(folder(tmp_path / "out" / "train"), "003")
    (tmp_path / "in").mkdir()
    packed.rename(tmp_path / "in" / "003.tar")
    (tmp_path / "in" / "other").mkdir()
    unpack_all(tmp_path / "in")
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["003", "other"]
    assert contents(tmp_path / "in" / "003") == contents(tmp_path / "out" / "train")


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = folder(tmp_path / "one"), folder(tmp_path / "two")
    os.utime(two / "manifest.json", (1.0, 1.0))
    assert pack(one, "000").read_bytes() == pack(two, "000").read_bytes()


@pytest.mark.parametrize("part", [0.1, 0.3, 0.6])
def test_a_pack_that_was_cut_off_is_refused_and_leaves_nothing(part: float, tmp_path: Path) -> None:
    content = pack(folder(tmp_path / "out" / "000"), "000").read_bytes()
    cut = tmp_path / "000.tar"
    cut.write_bytes(content[: int(part * len(content))])
    with pytest.raises(StateError, match=r"000\.tar: this data set of the run is damaged .*lamflow repair"):
        unpack(cut)
    assert not (tmp_path / "000").exists()


def test_a_pack_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    packed = pack(folder(tmp_path / "in" / "003"), "../004")
    with pytest.raises(StateError, match="damaged"):
        unpack(packed)
    assert not (tmp_path / "004").exists()


def test_many_folders_are_one_file_and_a_folder_alone_is_newer(tmp_path: Path) -> None:
    for name in ("998", "999", "1000"):
        folder(tmp_path / "runs" / name)
    joined = join(tmp_path / "runs")
    assert joined.name == "998-1000.tar"
    assert folders_in(joined.name) == ["998", "999", "1000"]
    (tmp_path / "in").mkdir()
    joined.rename(tmp_path / "in" / joined.name)
    (tmp_path / "runs" / "1000" / "manifest.json").write_text("newer")
    pack(tmp_path / "runs" / "1000", "1000").rename(tmp_path / "in" / "1000.tar")
    unpack_all(tmp_path / "in")
    assert contents(tmp_path / "in") == {
        f"{path.name}/{name}": content
        for path in (tmp_path / "runs").glob("*/")
        for name, content in contents(path).items()
    }


def test_a_file_of_many_folders_that_holds_another_is_refused(tmp_path: Path) -> None:
    folder(tmp_path / "003")
    folder(tmp_path / "007")
    join(tmp_path).rename(tmp_path / "003-006.tar")
    with pytest.raises(StateError, match=r"it holds 007/"):
        unpack(tmp_path / "003-006.tar")
