"""Data of an object store as sources of a run of cleaning."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from lamflow.config import parse
from lamflow.config.cleaning import CleaningStudy
from lamflow.config.references import files_of
from lamflow.driver.inspection import check_inputs
from lamflow.driver.references import resolved
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import InputError
from tests.conftest import ROOT
from tests.stand_ins.s3 import S3Server

pytest.importorskip("vesin", reason="cleaning needs vesin: pip install 'lamflow[cleaning]'")
FOLDER = ROOT / "workflows" / "cleaning"


def study(address: str, endpoint: str) -> CleaningStudy:
    return parse(
        "workflow: cleaning\nname: far\nsources:\n"
        f"  - {{name: first, data: ['{address}'], method: EMT}}\ncluster: {{s3: {{endpoint: '{endpoint}'}}}}\n",
        root=FOLDER, kind=CleaningStudy,
    )  # fmt: skip


def test_objects_are_copied_once_and_looked_for_before(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        s3.client.fput_object(bucket, f"sets/{name}.extxyz", str(FOLDER / f"{name}.extxyz"))
    s3.client.fput_object(bucket, "sets/README.md", str(FOLDER / "README.md"))
    given = study(f"s3://{bucket}/sets/*.extxyz", s3.endpoint)
    assert check_inputs(given) == []
    found, [taken] = resolved(given)
    files = files_of(found.sources[0].data)  # type: ignore[attr-defined]
    assert [file.name for file in files] == ["first.extxyz", "second.extxyz"]
    assert files[0].read_bytes() == (FOLDER / "first.extxyz").read_bytes()
    assert not (files[0].parent / "README.md").exists(), "only what is meant is copied"
    assert (taken.run, taken.folders) == (f"s3://{bucket}/sets/*.extxyz", [str(file) for file in files])
    before = files[0].stat().st_mtime_ns
    s3.client.fput_object(bucket, "sets/second.extxyz", str(FOLDER / "first.extxyz"))
    _, [other] = resolved(given)
    assert files[0].stat().st_mtime_ns == before
    assert files[1].read_bytes() == files[0].read_bytes(), "an object that has changed is copied again"
    assert other.sha256 != taken.sha256
    s3.client.remove_object(bucket, "sets/second.extxyz")
    assert len(files_of(resolved(given)[0].sources[0].data)) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://BUCKET/none/*.extxyz", r"s3://.*none/\*\.extxyz: bucket .* has no object of this name"),
        ("s3://no-such-bucket/sets/a.extxyz", r"s3://no-such-bucket/.*: there is no bucket no-such-bucket"),
    ],
)
def test_what_is_not_there_is_refused(address: str, said: str, s3: S3Server, bucket: str) -> None:
    for ask in (check_inputs, resolved):
        with pytest.raises(InputError, match=said):
            ask(study(address.replace("BUCKET", bucket), s3.endpoint))


def test_a_store_without_keys_is_refused(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with pytest.raises(InputError, match=r"a\.extxyz: no credentials of the object store: set AWS_ACCESS_KEY_ID"):
        check_inputs(study(f"s3://{bucket}/sets/a.extxyz", s3.endpoint))


@pytest.mark.skipif(importlib.util.find_spec("huggingface_hub") is not None, reason="huggingface_hub is installed")
def test_the_hub_needs_its_package() -> None:
    with pytest.raises(
        InputError, match=r"hf://colabfit/Carbon/co: the package huggingface_hub is needed: pip install"
    ):
        check_inputs(study("hf://colabfit/Carbon/co", "http://localhost"))


@pytest.mark.slow
def test_a_run_begins_with_objects_and_goes_on_without_the_store(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    from lamflow.driver.loop import run

    s3.client.fput_object(bucket, "sets/first.extxyz", str(FOLDER / "first.extxyz"))
    given = study(f"s3://{bucket}/sets/first.extxyz", s3.endpoint)
    run(given, tmp_path / "run")
    s3.client.remove_object(bucket, "sets/first.extxyz")
    record = run(given, tmp_path / "run")
    assert record.state == "ended"
    [taken] = RunDirectory(tmp_path / "run").run().references
    assert taken.run == f"s3://{bucket}/sets/first.extxyz"
