"""Data sets in a real object store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lamflow.cluster import packs
from lamflow.cluster.store import Store
from lamflow.config.pods import ObjectStore
from lamflow.errors import StateError
from tests.stand_ins.s3 import S3Server


@pytest.fixture
def store(s3: S3Server, bucket: str) -> Store:
    return Store(ObjectStore(endpoint=s3.endpoint, bucket=bucket), "runs/one/")


def run(root: Path, numbers: int) -> list[Path]:
    files = [root / "run.json", *(root / "data" / "train" / f"{n:03d}" / name for n in range(numbers) for name in "ab")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{file.parent.name} {file.name}")
    return files


def test_nothing_is_made_where_nothing_is_stored(store: Store, tmp_path: Path) -> None:
    packs.pull(store, tmp_path / "to", "data/train")
    assert not (tmp_path / "to").exists()


def test_a_data_set_is_one_object_and_a_folder_again(store: Store, tmp_path: Path) -> None:
    packs.push(store, tmp_path / "from", run(tmp_path / "from", 2))
    assert [item.key for item in store.objects()] == ["data/train/000.tar", "data/train/001.tar", "run.json"]
    assert not list((tmp_path / "from").rglob("*.tar"))
    packs.pull(store, tmp_path / "to", "data/train")
    files = sorted(
        str(file.relative_to(tmp_path / "to")) for file in (tmp_path / "to" / "data").rglob("*") if file.is_file()
    )
    assert files == [f"data/train/{n}/{name}" for n in ("000", "001") for name in "ab"]
    assert (tmp_path / "to" / "data" / "train" / "001" / "b").read_text() == "001 b"


def test_only_what_has_changed_comes_again(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, here = run(tmp_path / "from", 3), tmp_path / "to" / "data" / "train"
    packs.push(store, tmp_path / "from", files)
    packs.pull(store, tmp_path / "to", "data/train")
    got: list[str] = []
    get = Store.get

    def noted(self: Store, key: str, file: Path) -> None:
        got.append(key)
        get(self, key, file)

    monkeypatch.setattr(Store, "get", noted)
    packs.pull(store, tmp_path / "to", "data/train")
    assert got == []
    files[1].write_text("another 000 a")
    packs.push(store, tmp_path / "from", files[1:2])
    (here / "001" / "a").write_text("changed here")
    (here / "002" / "b").unlink()
    (here / "009").mkdir()
    packs.pull(store, tmp_path / "to", "data/train")
    assert sorted(got) == [f"data/train/00{n}.tar" for n in range(3)]
    assert [(here / n / name).read_text() for n, name in (("000", "a"), ("001", "a"), ("002", "b"))] == [
        "another 000 a", "001 a", "002 b"
    ]  # fmt: skip
    assert not (here / "009").exists(), "nothing is stored of it"


def test_two_commands_may_bring_data_sets_at_the_same_time(store: Store, tmp_path: Path) -> None:
    packs.push(store, tmp_path / "from", run(tmp_path / "from", 20))
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(packs.pull, store, tmp_path / "to", "data/train") for _ in range(4)]:
            done.result()
    found = sorted(path for path in (tmp_path / "to" / "data" / "train").rglob("*") if path.is_file())
    assert len(found) == 40


def test_a_damaged_data_set_is_refused_or_missing(store: Store, tmp_path: Path) -> None:
    packs.push(store, tmp_path / "from", run(tmp_path / "from", 2))
    (tmp_path / "cut").write_bytes(b"no tar" * 100)
    store.put("data/train/001.tar", tmp_path / "cut")
    with pytest.raises(StateError, match=r"001\.tar: this data set of the run is damaged"):
        packs.pull(store, tmp_path / "to", "data/train")
    packs.pull(store, tmp_path / "to", "data/train", strict=False)
    assert [path.name for path in (tmp_path / "to" / "data" / "train").iterdir()] == ["000"]


def joined(store: Store, root: Path) -> list[str]:
    packs.push(store, root, run(root, packs.MANY))
    packs.compact(store, root, "data/train")
    return [item.key for item in store.objects("data/train/")]


def pulled(store: Store, root: Path) -> dict[str, str]:
    packs.pull(store, root, "data/train")
    return {path.name: (path / "a").read_text() for path in sorted((root / "data" / "train").iterdir())}


def test_many_data_sets_become_one_object_and_are_the_same_folders(store: Store, tmp_path: Path) -> None:
    before = run(tmp_path / "from", packs.MANY)
    packs.push(store, tmp_path / "from", before[:-2])
    packs.compact(store, tmp_path / "from", "data/train")
    assert len(store.objects("data/train/")) == packs.MANY - 1, "fewer than many"
    late = tmp_path / "from" / "data" / "train" / "003.late" / "a"
    late.parent.mkdir(parents=True)
    late.write_text("003.late a")
    packs.push(store, tmp_path / "from", [late])
    assert joined(store, tmp_path / "from") == ["data/train/000-015.tar", "data/train/003.late.tar"]
    expected = {name: f"{name} a" for name in ("003.late", *(f"{number:03d}" for number in range(packs.MANY)))}
    assert pulled(store, tmp_path / "to") == expected
    new = tmp_path / "from" / "data" / "train" / "016" / "a"
    new.parent.mkdir()
    new.write_text("016 a")
    packs.push(store, tmp_path / "from", [new])
    assert pulled(store, tmp_path / "to") == {**expected, "016": "016 a"}


def test_a_joined_data_set_may_be_stored_again_alone(store: Store, tmp_path: Path) -> None:
    joined(store, tmp_path / "from")
    file = tmp_path / "from" / "data" / "train" / "003" / "a"
    file.write_text("mended")
    packs.push(store, tmp_path / "from", [file])
    assert pulled(store, tmp_path / "to")["003"] == "mended"
    for number in range(packs.MANY, 2 * packs.MANY):
        new = file.parent.parent / f"{number:03d}" / "a"
        new.parent.mkdir()
        new.write_text(str(number))
        packs.push(store, tmp_path / "from", [new])
    packs.compact(store, tmp_path / "from", "data/train")
    assert [item.key for item in store.objects("data/train/")] == ["data/train/000-031.tar"]
    assert pulled(store, tmp_path / "again")["003"] == "mended"


def test_a_joined_data_set_is_removed_alone(store: Store, tmp_path: Path) -> None:
    joined(store, tmp_path / "from")
    pulled(store, tmp_path / "to")
    packs.remove(store, tmp_path / "from", "data/train/003")
    packs.remove(store, tmp_path / "from", "data/train/003")
    kept = [f"{number:03d}" for number in range(packs.MANY) if number != 3]
    assert [item.key for item in store.objects("data/train/")] == [f"data/train/{name}.tar" for name in kept]
    assert list(pulled(store, tmp_path / "to")) == kept


def test_objects_that_are_joined_while_they_are_brought_are_looked_for_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs.push(store, tmp_path / "from", run(tmp_path / "from", packs.MANY))
    get, waiting = Store.get, [True]

    def slow(self: Store, key: str, file: Path) -> None:
        if waiting and "staged" in str(file):
            waiting.clear()
            packs.compact(store, tmp_path / "from", "data/train")
        get(self, key, file)

    monkeypatch.setattr(Store, "get", slow)
    assert len(pulled(store, tmp_path / "to")) == packs.MANY
