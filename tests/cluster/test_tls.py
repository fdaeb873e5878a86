"""Certificates are checked unless the user says otherwise."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from lamflow.cluster.retry_policy import RetryPolicy
from lamflow.cluster.store import Store
from lamflow.cluster.workflows import Workflows
from lamflow.config.pods import Cluster, ObjectStore
from lamflow.errors import ClusterError

SHORT = RetryPolicy(seconds=1.0, first=0.1)


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"metadata": {"name": "tiny"}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server whose certificate nobody knows, and that certificate."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is missing: apt-get install openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    made = HTTPServer(("127.0.0.1", 0), _Answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    made.socket = context.wrap_socket(made.socket, server_side=True)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{made.server_port}", certificate
    made.shutdown()
    made.server_close()


def test_a_cluster_with_an_unknown_certificate(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    url, certificate = server
    monkeypatch.setenv("ARGO_SERVER", url)
    with pytest.raises(ClusterError, match=r"no safe connection: .*cluster\.verify_tls"):
        Workflows.of(Cluster(), SHORT).get("tiny")
    assert Workflows.of(Cluster(verify_tls=False), SHORT).get("tiny")["metadata"]["name"] == "tiny"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert Workflows.of(Cluster(), SHORT).get("tiny")["metadata"]["name"] == "tiny"


def test_an_object_store_with_an_unknown_certificate(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    url, certificate = server
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with pytest.raises(ClusterError, match=r"no safe connection .*AWS_CA_BUNDLE"):
        Store(ObjectStore(endpoint=url), "x/", SHORT).check()
    Store(ObjectStore(endpoint=url, verify_tls=False), "x/", SHORT).check()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    Store(ObjectStore(endpoint=url), "x/", SHORT).check()
