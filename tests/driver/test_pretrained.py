"""Models by address and by name: fetched once, checked, and refused when they are something else."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from lamflow.cli import models
from lamflow.config import Config
from lamflow.config.catalogue import ListedModel
from lamflow.config.schema import DataStudy
from lamflow.config.section import expand
from lamflow.driver.pretrained import fetched, model_list, named_model, obtain
from lamflow.errors import InputError
from tests.conftest import STUDY
from tests.stand_ins.s3 import S3Server

CONTENT = b"a model, as far as this test is concerned"
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAMFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LAMFLOW_MODELS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "cache"


@pytest.fixture
def web() -> Iterator[tuple[str, list[str]]]:
    """A web server with one file, which fails once before it gives it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status = 404 if "gone" in self.path else 503 if len(asked) == 1 else 200
            self.send_response(status)
            self.send_header("Content-Length", str(len(CONTENT) if status == 200 else 0))
            self.end_headers()
            if status == 200:
                self.wfile.write(CONTENT)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def config(source: dict[str, object], cluster: dict[str, object] | None = None) -> Config:
    raw = yaml.safe_load(STUDY)
    raw["train"] = {"engine": "deepmd", "models": 2, "pretrained": source, "phases": [{"start_from": "finetune"}]}
    return Config.model_validate({**raw, "cluster": cluster or {}})


def file_of(made: DataStudy) -> Path:
    return expand(made.train.pretrained.file)  # type: ignore[attr-defined]


def test_an_address_is_fetched_once_and_checked(web: tuple[str, list[str]]) -> None:
    url, asked = web
    made = config({"url": f"{url}/models/lam.pt?download=true", "sha256": SHA, "head": "alloys"})
    assert fetched(made, only_if_here=True) == made
    assert asked == []
    found = fetched(made)
    assert file_of(found).read_bytes() == CONTENT
    assert file_of(found).name == "lam.pt"
    assert found.train.pretrained.head == "alloys"  # type: ignore[attr-defined]
    assert len(asked) == 2, "a server that is busy is asked again"
    fetched(made)
    assert len(asked) == 2


def test_something_else_is_refused_and_not_kept(web: tuple[str, list[str]], cache: Path) -> None:
    url, _ = web
    with pytest.raises(InputError, match=rf"lam\.pt: its sha256 is {SHA}, not {'0' * 64} as wanted"):
        fetched(config({"url": f"{url}/lam.pt", "sha256": "0" * 64}))
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    with pytest.raises(InputError, match=r"/gone\.pt: the server answers 404"):
        fetched(config({"url": f"{url}/gone.pt", "sha256": SHA}))


def test_a_file_may_be_checked_too(tmp_path: Path) -> None:
    (tmp_path / "lam.pt").write_bytes(CONTENT)
    fetched(config({"file": tmp_path / "lam.pt", "sha256": SHA}))
    with pytest.raises(InputError, match="not 1111"):
        fetched(config({"file": tmp_path / "lam.pt", "sha256": "1" * 64}))


def test_a_file_that_is_brought_along_is_checked_even_if_it_is_here(tmp_path: Path) -> None:
    (tmp_path / "good.pt").write_bytes(CONTENT)
    (tmp_path / "half.pt").write_bytes(CONTENT[:20])
    listed = ListedModel(url="https://nowhere.invalid/lam.pt", sha256=SHA)
    path = obtain("lam", listed, source=tmp_path / "good.pt")
    assert path.read_bytes() == CONTENT
    assert obtain("lam", listed) == path, "it is here"
    for other, said in (("half.pt", "this is another file, or a part of it"), ("none.pt", "no such file")):
        with pytest.raises(InputError, match=said):
            obtain("lam", listed, source=tmp_path / other)


def test_names_come_from_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lam.pt").write_bytes(CONTENT)
    (tmp_path / "models.yaml").write_text("mine: {file: lam.pt, head: alloys}\n")
    monkeypatch.setenv("LAMFLOW_MODELS", str(tmp_path / "models.yaml"))
    assert set(model_list()) == {"mine"}
    found = fetched(config({"name": "mine"}))
    assert file_of(found) == tmp_path / "lam.pt"
    assert found.train.pretrained.head == "alloys"  # type: ignore[attr-defined]
    with pytest.raises(
        InputError, match=r"there is no model called 'yours'; known here are: .*, mine; `lamflow models list`"
    ):
        fetched(config({"name": "yours"}))
    (tmp_path / "models.yaml").write_text("mine: {fil: lam.pt}\n")
    with pytest.raises(InputError, match=r"models.yaml: mine.fil"):
        model_list()


def test_an_object_of_the_object_store(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "lam.pt").write_bytes(CONTENT)
    (tmp_path / "models.txt").write_text("something else")
    s3.client.fput_object(bucket, "models/lam.pt", str(tmp_path / "lam.pt"))
    cluster: dict[str, object] = {"s3": {"endpoint": s3.endpoint}}
    found = fetched(config({"s3": f"s3://{bucket}/models/lam.pt"}, cluster))
    assert file_of(found).read_bytes() == CONTENT
    s3.client.fput_object(bucket, "others/lam.pt", str(tmp_path / "models.txt"))
    other = fetched(config({"s3": f"s3://{bucket}/others/lam.pt"}, cluster))
    assert file_of(other) != file_of(found), "files of the same name are not the same file"
    assert file_of(found).read_bytes() == CONTENT
    with pytest.raises(InputError, match="there is no such object"):
        fetched(config({"s3": f"s3://{bucket}/models/none.pt"}, cluster))


def test_public_models_have_names_in_any_capitals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name, model = named_model("dpa-3.1-3m")
    assert name == "DPA-3.1-3M"
    assert len(model.heads) == 31
    assert len([model.url, *model.mirrors]) == 3
    with pytest.raises(InputError, match=r"there is no model called 'DPA-3\.1-3N'.*did you mean 'DPA-3.1-3M'"):
        named_model("DPA-3.1-3N")
    with pytest.raises(
        InputError, match=r"DPA-2\.1\.0-2024Q1: this file can only be had by hand, from https://www.aiss"
    ):
        fetched(config({"name": "DPA-2.1.0-2024Q1"}))
    unfetched = config({"name": "DPA-3.1-3M"})
    assert fetched(unfetched, only_if_here=True) == unfetched


def test_a_group_may_list_models_with_mirrors_and_all_that_is_known(
    web: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = web
    (tmp_path / "models.yaml").write_text(
        f"Ours-2026:\n  url: {url}/gone.pt\n  mirrors: ['{url}/lam.pt']\n  sha256: {SHA}\n  generation: DPA-3\n"
        "  licence: ours\n  heads: [alloys, water]\n  trained_on: what we computed\n"
    )
    monkeypatch.setenv("LAMFLOW_MODELS", str(tmp_path / "models.yaml"))
    assert file_of(fetched(config({"name": "ours-2026"}))).read_bytes() == CONTENT
    (tmp_path / "models.yaml").write_text(f"ours: {{url: {url}/lam.pt}}\n")
    with pytest.raises(InputError, match=r"models\.yaml: ours: Value error, a url needs the sha256"):
        model_list()


def test_a_model_reaches_a_cluster_without_a_web_through_a_folder(
    web: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url, asked = web
    (tmp_path / "models.yaml").write_text(f"ours: {{url: '{url}/lam.pt', sha256: {SHA}}}\n")
    monkeypatch.setenv("LAMFLOW_MODELS", str(tmp_path / "models.yaml"))
    models.get("ours", str(tmp_path / "stick"), None)
    assert (tmp_path / "stick" / "lam.pt").read_bytes() == CONTENT
    count = len(asked)
    monkeypatch.setenv("LAMFLOW_CACHE", str(tmp_path / "elsewhere"))
    models.get("ours", None, tmp_path / "stick")
    assert len(asked) == count
    assert file_of(fetched(config({"name": "ours"}))).is_relative_to(tmp_path / "elsewhere")
    (tmp_path / "stick" / "lam.pt").write_bytes(CONTENT[:9])
    monkeypatch.setenv("LAMFLOW_CACHE", str(tmp_path / "third"))
    with pytest.raises(
        InputError, match=r"stick/lam.pt: its sha256 is .* \(9 bytes\); this is another file, or a part"
    ):
        models.get("ours", None, tmp_path / "stick")
    capsys.readouterr()


def test_a_model_is_put_into_the_object_store(
    s3: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lam.pt").write_bytes(CONTENT)
    (tmp_path / "models.yaml").write_text(f"ours: {{file: lam.pt, sha256: {SHA}}}\n")
    monkeypatch.setenv("LAMFLOW_MODELS", str(tmp_path / "models.yaml"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    models.get("ours", f"s3://{bucket}/models/", None)
    assert capsys.readouterr().out == f"s3://{bucket}/models/lam.pt\n"
    cluster: dict[str, object] = {"s3": {"endpoint": s3.endpoint}}
    assert file_of(fetched(config({"s3": f"s3://{bucket}/models/lam.pt", "sha256": SHA}, cluster))).is_file()
