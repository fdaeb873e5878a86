"""A real S3 server, SeaweedFS, on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minio import Minio
from minio.error import S3Error
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError

ACCESS, SECRET, READER, READER_SECRET = "lamflow-access", "planted-secret", "reader-access", "reader-secret"


@dataclass(frozen=True)
class S3Server:
    """Where it listens, and a client that may do everything."""

    endpoint: str
    client: Minio


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def s3_server(folder: Path, others: Sequence[dict[str, Any]] = ()) -> Iterator[S3Server]:
    """SeaweedFS with its data in `folder`, an identity that may do everything, a reader's, and others."""
    full = {"name": "lamflow", "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"]}  # fmt: skip
    reader = {"name": "reader", "credentials": [{"accessKey": READER, "secretKey": READER_SECRET}], "actions": ["Read"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [full, reader, *others]}))
    kinds = ("master", "volume", "filer", "s3")
    ports = [f"-{kind}.port{grpc}={free_port()}" for kind in kinds for grpc in ("", ".grpc")]
    port = next(word.split("=")[1] for word in ports if word.startswith("-s3.port="))
    argv = [
        str(Path(sysconfig.get_path("scripts")) / "weed"), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}",
        "-s3", f"-s3.config={folder / 's3.json'}", *ports, "-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=0",
        "-master.volumeSizeLimitMB=64", "-s3.iam=false",
    ]  # fmt: skip
    client = Minio(
        f"127.0.0.1:{port}", ACCESS, SECRET, secure=False, region="us-east-1", http_client=PoolManager(retries=False)
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                client.bucket_exists("ready")
                break
            except (HTTPError, S3Error):
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.1)
        yield S3Server(f"http://127.0.0.1:{port}", client)
    finally:
        process.kill()
        process.wait()
