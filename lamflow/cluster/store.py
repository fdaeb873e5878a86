"""A run's store in an S3 bucket. Credentials are read when a request needs them and are written nowhere."""

from __future__ import annotations

import io
import os
import ssl
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlparse

import certifi
import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.credentials.providers import Provider
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, S3Error, ServerError

from lamflow.cluster.retry_policy import RetryPolicy, is_stale
from lamflow.cluster.same import etag_fits
from lamflow.config.pods import S3_MOUNT, Cluster, ObjectStore
from lamflow.data.digests import known_hash, stamp
from lamflow.errors import ClusterError, OutageError

T = TypeVar("T")
AT_ONCE = 8
REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
PART = 64 * 1024 * 1024
"""Bytes; what is smaller goes in one part, so that its ETag is its MD5."""
SHA256 = "sha256"
"""Name of the object metadata that hold the hash of the file that was stored."""


@dataclass(frozen=True)
class StoredObject:
    """An object: its key below the run's prefix, its size in bytes, its ETag."""

    key: str
    size: int
    etag: str


class _Keys(Provider):
    """Credentials from the environment, or from the mounted Secret, which may be renewed at any time."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def retrieve(self) -> Credentials:
        """See minio's Provider."""
        access, key = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
        if access and key:
            return Credentials(access, key, os.environ.get("AWS_SESSION_TOKEN"))
        folder = _secret_folder()
        try:
            return Credentials(
                (folder / "access_key").read_text(encoding="utf-8").strip(),
                (folder / "secret_key").read_text(encoding="utf-8").strip(),
            )
        except OSError as error:
            raise ClusterError(
                "no credentials of the object store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; a pod reads them "
                f"from the Secret {self.secret}, mounted at {folder} ({error.strerror})"
            ) from error


class Store:
    """The objects whose keys begin with `prefix`.

    Every method raises ClusterError for what the server refuses, OutageError when it does not answer for long.
    """

    def __init__(
        self, settings: ObjectStore, prefix: str, retry: RetryPolicy | None = None, endpoint: str | None = None
    ) -> None:
        self.settings, self.prefix, self.retry = settings, prefix, retry or RetryPolicy()
        self.endpoint = os.environ.get("AWS_ENDPOINT_URL") or endpoint or settings.endpoint
        parts = urlparse(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
            raise ClusterError("AWS_ENDPOINT_URL or cluster.s3.endpoint is not a URL like https://s3.example.org")
        tls: dict[str, Any] = {
            "cert_reqs": ssl.CERT_REQUIRED,
            "ca_certs": os.environ.get("AWS_CA_BUNDLE") or certifi.where(),
        }
        if "ca_certs" in tls and (own := _secret_folder() / "ca.crt").is_file() and "AWS_CA_BUNDLE" not in os.environ:
            tls["ca_certs"] = str(own)
        if not settings.verify_tls or os.environ.get("LAMFLOW_S3_VERIFY_TLS") == "false":
            tls = {"cert_reqs": ssl.CERT_NONE}
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self.pool = urllib3.PoolManager(
            maxsize=AT_ONCE, retries=False, timeout=urllib3.Timeout(connect=10.0, read=120.0), **tls
        )
        self.client = Minio(
            parts.netloc, secure=parts.scheme == "https", region=os.environ.get("AWS_REGION") or settings.region,
            credentials=_Keys(settings.secret), http_client=self.pool,
        )  # fmt: skip

    @classmethod
    def of(cls, cluster: Cluster, prefix: str, retry: RetryPolicy | None = None) -> Store:
        """The store that `cluster` names; one that only pods can reach is reached through Kubernetes' API."""
        endpoint = None
        if "AWS_ENDPOINT_URL" not in os.environ and is_inside(cluster.s3.endpoint):
            from lamflow.cluster.forward import forwarded  # pods never come here, and kubernetes takes 0.6 s

            endpoint = forwarded(cluster.s3.endpoint, cluster.namespace, cluster.context, cluster.verify_tls)
        return cls(cluster.s3, prefix, retry, endpoint)

    @property
    def url(self) -> str:
        """The store as messages and commands call it."""
        return f"s3://{self.settings.bucket}/{self.prefix}".rstrip("/")

    def check(self) -> None:
        """Raise ClusterError unless the bucket is there."""
        if not self._try(lambda: self.client.bucket_exists(self.settings.bucket)):
            raise self._no_bucket()

    def check_writable(self) -> None:
        """Raise ClusterError unless the bucket is there, and an object can be stored and deleted in it."""
        self.check()
        name = f"{self.prefix}writable-{uuid.uuid4().hex[:8]}"
        self._try(lambda: self.client.put_object(self.settings.bucket, name, io.BytesIO(b"lamflow"), 7))
        self._try(lambda: self.client.remove_object(self.settings.bucket, name))

    def objects(self, key: str = "") -> list[StoredObject]:
        """The objects below `key`, in the order of their keys."""

        def found() -> list[StoredObject]:
            items = self.client.list_objects(self.settings.bucket, prefix=self.prefix + key, recursive=True)
            return [
                StoredObject(item.object_name.removeprefix(self.prefix), item.size or 0, (item.etag or "").strip('"'))
                for item in items
                if item.object_name and not item.object_name.endswith("/")
            ]

        return self._try(found)

    def exists(self, key: str) -> bool:
        """There is an object of this key. Keys that may not list objects are enough."""

        def look() -> bool:
            try:
                self.client.stat_object(self.settings.bucket, self.prefix + key)
            except S3Error as error:
                if error.code != "NoSuchKey":
                    raise
                return False
            return True

        return self._try(look)

    def put(self, key: str, file: Path) -> None:
        """Store a file whole with its SHA-256, or without where it changes again and again meanwhile."""
        for told in (True, True, False):
            before = stamp(file)
            metadata: dict[str, Any] | None = {SHA256: known_hash(file)} if told else None
            request = partial(self.client.fput_object, part_size=PART, metadata=metadata)
            self._try(partial(request, self.settings.bucket, self.prefix + key, str(file)))
            if stamp(file) == before:
                return

    def get(self, key: str, file: Path) -> None:
        """Copy an object to a file, which appears whole or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.partial")
        self._try(lambda: self.client.fget_object(self.settings.bucket, self.prefix + key, str(partial)))
        partial.replace(file)

    def push(self, folder: Path, files: Iterable[Path]) -> list[str]:
        """Store those of `files`, all below `folder`, that differ from what is stored; return their keys."""
        wanted = {file.relative_to(folder).as_posix(): file for file in files}
        there = {item.key: item for item in self.objects(_common(wanted))} if wanted else {}
        changed = self._differing(wanted, there)
        self._each(self.put, changed)
        return sorted(changed)

    def pull(self, folder: Path, wanted: Callable[[str], bool], key: str = "", *, exact: bool = False) -> list[str]:
        """Copy the objects below `key` whose key is `wanted` into `folder`, where they differ; return their keys.

        To be `exact` is to remove wanted files there that are not stored.
        """
        found = [item for item in self.objects(key) if wanted(item.key)]
        if exact:
            there = {item.key for item in found}
            for file in [path for path in ((folder / key), *(folder / key).rglob("*")) if path.is_file()]:
                name = file.relative_to(folder).as_posix()
                if wanted(name) and name not in there:
                    file.unlink()
        files = {item.key: _inside(folder, item.key) for item in found}
        changed = self._differing(files, {item.key: item for item in found})
        self._each(self.get, changed)
        return sorted(changed)

    def delete(self, key: str = "") -> None:
        """Delete every object below `key`."""
        doomed = [DeleteObject(self.prefix + item.key) for item in self.objects(key)]

        def remove() -> None:
            for error in self.client.remove_objects(self.settings.bucket, doomed):
                raise ClusterError(f"{self.url}: {error.name} cannot be deleted: {error.code} {error.message}")

        self._try(remove)

    def _differing(self, files: Mapping[str, Path], there: Mapping[str, StoredObject]) -> dict[str, Path]:
        """Those of `files` that are not what is stored."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            same = pool.map(lambda key: self._is_same(files[key], there.get(key)), files)
            return {key: file for (key, file), alike in zip(files.items(), same, strict=True) if not alike}

    def _is_same(self, file: Path, stored: StoredObject | None) -> bool:
        """The file is what is stored, by its content: of the same size is not the same."""
        if stored is None or not file.is_file() or file.stat().st_size != stored.size:
            return False
        return etag_fits(file, stored.etag) or self._kept_hash(stored.key) == known_hash(file)

    def _kept_hash(self, key: str) -> str | None:
        """SHA-256 of the file that was stored, where whoever stored it has said so."""
        found = self._try(lambda: self.client.stat_object(self.settings.bucket, self.prefix + key))
        return (found.metadata or {}).get(f"x-amz-meta-{SHA256}")

    def _each(self, action: Callable[[str, Path], None], files: Mapping[str, Path]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for done in [pool.submit(action, key, file) for key, file in files.items()]:
                done.result()

    def _try(self, request: Callable[[], T]) -> T:
        return self.retry.call(lambda: self._translated(request))

    def _translated(self, request: Callable[[], T]) -> T:
        try:
            return request()
        except S3Error as error:
            raise self._error(error.code or "", error.message or "", error.response.status) from error
        except (ServerError, InvalidResponseError) as error:
            status = error.status_code if isinstance(error, ServerError) else error._code
            raise self._error("", str(error), status) from error
        except (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise ClusterError(
                    f"object store {self.endpoint}: no safe connection ({error}); set AWS_CA_BUNDLE to its certificate "
                    "authority, or cluster.s3.verify_tls to false if you know the server"
                ) from error
            stale = is_stale(error)
            if stale:
                self.pool.clear()  # others that were kept open as long are closed as well
            raise OutageError(f"object store {self.endpoint} does not answer ({error})", stale=stale) from error

    def _error(self, code: str, message: str, status: int) -> ClusterError | OutageError:
        where = f"object store {self.endpoint}"
        if code == "NoSuchBucket":
            return self._no_bucket()
        if code in REFUSED or status in (401, 403):
            return ClusterError(
                f"{where} refuses ({code or status}: {message}); check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                f"the Secret {self.settings.secret}, and that bucket {self.settings.bucket} is yours to read and write"
            )
        if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout"):
            return OutageError(f"{where} is busy or failing ({code or status}: {message})")
        return ClusterError(f"{where}: {code or status}: {message}")

    def _no_bucket(self) -> ClusterError:
        return ClusterError(
            f"object store {self.endpoint}: there is no bucket {self.settings.bucket}; make it, or name another one in "
            "cluster.s3.bucket"
        )


def _secret_folder() -> Path:
    return Path(os.environ.get("LAMFLOW_S3_SECRET", S3_MOUNT))


def _common(keys: Mapping[str, Any]) -> str:
    """The folder that all keys lie in."""
    if len(keys) == 1:
        return next(iter(keys))
    common = os.path.commonpath(list(keys)) if keys else ""
    return f"{common}/" if common else ""


def _inside(folder: Path, key: str) -> Path:
    """Where an object goes. Raises ClusterError for a key that would leave the folder."""
    parts = PurePosixPath(key).parts
    if PurePosixPath(key).is_absolute() or ".." in parts:
        raise ClusterError(f"the object store holds a key that no run has: {key!r}")
    return folder.joinpath(*parts)


def is_inside(url: str) -> bool:
    """The URL names a Service as only pods of the cluster can reach it, and this is not a pod."""
    host = urlparse(url).hostname or ""
    bare = "." not in host and host != "localhost"
    return (bare or host.endswith((".svc", ".svc.cluster.local"))) and "KUBERNETES_SERVICE_HOST" not in os.environ
