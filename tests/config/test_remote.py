"""Addresses of data."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from lamflow.config.remote import RemoteData


@pytest.mark.parametrize(
    ("address", "folder", "wanted", "others"),
    [
        ("s3://b/sets/a.extxyz", "sets", ["sets/a.extxyz"], ["sets/a.extxyz.txt", "a.extxyz"]),
        ("s3://b/sets/a.lmdb", "sets", ["sets/a.lmdb/data.mdb"], ["sets/b.lmdb/data.mdb"]),
        ("s3://b/sets/*.lmdb", "sets", ["sets/a.lmdb/data.mdb", "sets/b.lmdb"], ["sets/x/b.lmdb", "a.lmdb"]),
        ("s3://b/sets/**/*.parquet", "sets", ["sets/a.parquet", "sets/x/y/b.parquet"], ["sets/x.json"]),
        ("hf://colabfit/Set/co/co_[01].parquet", "co", ["co/co_0.parquet"], ["co/co_2.parquet", "ds.parquet"]),
    ],
)
def test_an_address_means_files_folders_or_a_pattern(
    address: str, folder: str, wanted: list[str], others: list[str], tmp_path: Path
) -> None:
    data = RemoteData(address=address)
    assert data.folder == folder
    assert [key for key in [*wanted, *others] if data.wants(key)] == wanted
    for key in wanted:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).touch()
    assert all(any((tmp_path / key).is_relative_to(path) for path in data.files_in(tmp_path)) for key in wanted)


@pytest.mark.parametrize("address", ["s3://", "s3://bucket", "s3://bucket/", "hf://name/x", "s3://b/../x", "ftp://a/b"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match=r"an address looks like|addresses of data begin with"):
        RemoteData(address=address)
