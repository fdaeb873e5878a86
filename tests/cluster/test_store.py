"""The object store, against a real S3 server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lamflow.cluster.retry_policy import RetryPolicy
from lamflow.cluster.same import MIB
from lamflow.cluster.store import Store
from lamflow.config.pods import ObjectStore
from lamflow.data.files import file_hash
from lamflow.errors import ClusterError, OutageError
from tests.stand_ins.s3 import ACCESS, READER, READER_SECRET, SECRET, S3Server, free_port

SHORT = RetryPolicy(seconds=0.5, first=0.1)


@pytest.fixture
def store(s3: S3Server, bucket: str) -> Store:
    return Store(ObjectStore(endpoint=s3.endpoint, bucket=bucket), "runs/one/", SHORT)


def tree(folder: Path, **files: str) -> list[Path]:
    made = []
    for name, text in files.items():
        made.append(folder / name.replace("__", "/"))
        made[-1].parent.mkdir(parents=True, exist_ok=True)
        made[-1].write_text(text)
    return made


def test_only_what_has_changed_is_sent(store: Store, tmp_path: Path) -> None:
    files = tree(tmp_path, data__a="1", data__b="2", c="3")
    assert store.push(tmp_path, files) == ["c", "data/a", "data/b"]
    assert store.push(tmp_path, files) == []
    files[1].write_text("4")
    assert store.push(tmp_path, files) == ["data/b"]


def test_only_what_has_changed_and_is_wanted_comes_back(store: Store, tmp_path: Path) -> None:
    store.push(tmp_path / "from", tree(tmp_path / "from", data__a="1", data__b="2", c="3"))
    assert store.pull(tmp_path / "to", lambda key: key != "data/b") == ["c", "data/a"]
    assert (tmp_path / "to" / "data" / "a").read_text() == "1"
    assert store.pull(tmp_path / "to", lambda _: True) == ["data/b"]
    assert store.pull(tmp_path / "to", lambda _: True, "data/") == []


def test_an_object_in_several_parts_is_not_sent_again(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(os.urandom(7_000_000))
    assert store.push(tmp_path, [file]) == ["model.pt"]
    assert store.push(tmp_path, [file]) == []
    store.pull(tmp_path / "to", lambda _: True)
    assert (tmp_path / "to" / "model.pt").read_bytes() == file.read_bytes()


def changed(file: Path) -> None:
    """Other content of the same size, and with the same time of change."""
    times = file.stat()
    with file.open("r+b") as stream:
        stream.seek(times.st_size // 2)
        stream.write(b"other")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def large_file(file: Path, mib: int) -> Path:
    """So many MiB, most of them a hole."""
    with file.open("wb") as stream:
        stream.write(os.urandom(16))
        stream.truncate(mib * MIB)
    return file


@pytest.mark.parametrize(
    ("mib", "part"),
    [pytest.param(65, 64, id="lamflow"), pytest.param(33, 16, id="Argo"), pytest.param(17, 8, id="boto3"), (11, 5)],
)
def test_a_large_file_that_keeps_its_size_is_told_by_its_content(
    mib: int, part: int, store: Store, s3: S3Server, bucket: str, tmp_path: Path
) -> None:
    file = large_file(tmp_path / "model.pt", mib)
    if part == 64:
        store.put("model.pt", file)
    else:
        s3.client.fput_object(bucket, "runs/one/model.pt", str(file), part_size=part * MIB)
    assert store.objects()[0].etag.endswith(f"-{-(-mib // part)}")
    assert store.push(tmp_path, [file]) == []
    assert store.pull(tmp_path, lambda _: True) == []
    original = file_hash(file)
    changed(file)
    assert store.pull(tmp_path, lambda _: True) == ["model.pt"]
    assert file_hash(file) == original
    changed(file)
    assert store.push(tmp_path, [file]) == ["model.pt"]
    assert store.pull(tmp_path / "elsewhere", lambda _: True) == ["model.pt"]
    assert file_hash(tmp_path / "elsewhere" / "model.pt") == file_hash(file)


def test_where_no_etag_tells_the_kept_hash_does_and_no_size(
    store: Store, s3: S3Server, bucket: str, tmp_path: Path
) -> None:
    file = large_file(tmp_path / "model.pt", 15)
    odd = 7 * MIB + 1  # bytes of a part that no program uses
    s3.client.fput_object(bucket, "runs/one/model.pt", str(file), part_size=odd)
    assert store.push(tmp_path, [file]) == ["model.pt"]
    metadata: dict[str, Any] = {"sha256": file_hash(file)}
    s3.client.fput_object(bucket, "runs/one/model.pt", str(file), part_size=odd, metadata=metadata)
    assert store.push(tmp_path, [file]) == []
    changed(file)
    assert store.push(tmp_path, [file]) == ["model.pt"]


def test_every_object_keeps_the_hash_of_its_file(store: Store, s3: S3Server, bucket: str, tmp_path: Path) -> None:
    file = tree(tmp_path, a="1")[0]
    store.push(tmp_path, [file])
    metadata = s3.client.stat_object(bucket, "runs/one/a").metadata
    assert metadata is not None
    assert metadata["x-amz-meta-sha256"] == file_hash(file)


def test_a_file_that_changes_while_it_is_stored_is_stored_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, put = tree(tmp_path, a="1")[0], store.client.fput_object

    def put_and_change(*arguments: Any, **options: Any) -> None:
        put(*arguments, **options)
        if file.read_text() == "1":
            file.write_text("2")

    monkeypatch.setattr(store.client, "fput_object", put_and_change)
    store.put("a", file)
    assert store.push(tmp_path, [file]) == []


def test_deleting_stays_below_the_prefix(store: Store, s3: S3Server, bucket: str, tmp_path: Path) -> None:
    other = Store(ObjectStore(endpoint=s3.endpoint, bucket=bucket), "runs/other/", SHORT)
    for each in (store, other):
        each.push(tmp_path, tree(tmp_path, data__a="1", c="3"))
    store.delete("data/")
    assert [item.key for item in store.objects()] == ["c"]
    assert len(other.objects()) == 2
    assert store.exists("c")
    assert not store.exists("data/a")


def test_credentials_come_from_a_mounted_secret(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ClusterError, match="AWS_ACCESS_KEY_ID") as caught:
        store.check()
    assert "lamflow-s3" in str(caught.value)
    tree(tmp_path, access_key=f"{ACCESS}\n", secret_key=f"{SECRET}\n")
    monkeypatch.setenv("LAMFLOW_S3_SECRET", str(tmp_path))
    store.check()


def test_a_missing_bucket_is_named_with_its_fix(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    store = Store(ObjectStore(endpoint=s3.endpoint, bucket="not-there"), "x/", SHORT)
    with pytest.raises(ClusterError, match=r"no bucket not-there; make it, or name another one in cluster\.s3\.bucket"):
        store.check()


def test_wrong_keys_are_refused_and_not_shown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-wrong")
    with pytest.raises(ClusterError, match="refuses") as caught:
        store.objects()
    assert "planted" not in str(caught.value)


def test_a_reader_cannot_write(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER_SECRET)
    with pytest.raises(ClusterError, match="is yours to read and write"):
        store.put("a", tree(tmp_path, a="1")[0])


def test_a_store_that_does_not_answer_is_asked_again(bucket: str) -> None:
    said: list[str] = []
    store = Store(
        ObjectStore(endpoint=f"http://127.0.0.1:{free_port()}"),
        "x/",
        RetryPolicy(seconds=1.0, first=0.1, say=said.append),
    )
    with pytest.raises(OutageError, match="does not answer"):
        store.check()
    assert len(said) >= 2


def test_no_key_leaves_the_folder(store: Store, s3: S3Server, bucket: str, tmp_path: Path) -> None:
    from lamflow.cluster.store import _inside

    for key in ("../evil", "a/../../evil", "/evil"):
        with pytest.raises(ClusterError, match="a key that no run has"):
            _inside(tmp_path, key)
    assert _inside(tmp_path, "a/b") == tmp_path / "a" / "b"


def test_the_environment_names_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.org")
    assert Store(ObjectStore(), "x/").endpoint == "https://s3.example.org"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://name:planted-secret@s3.example.org")
    with pytest.raises(ClusterError) as caught:
        Store(ObjectStore(), "x/")
    assert "planted" not in str(caught.value)
