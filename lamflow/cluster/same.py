"""Whether a file is what an object holds, told by the object's ETag, which is recomputed from the file's content."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import IO

from lamflow.data.digests import once

MIB = 1024 * 1024
PART_SIZES = (5, 6, 8, 10, 12, 15, 16, 20, 25, 32, 50, 64, 100, 128, 200, 256, 500, 512, 1024)
"""MiB of the parts in which programs store large files: boto3 and AWS' own 8, Argo 16, lamflow 64."""
_md5 = functools.partial(hashlib.md5, usedforsecurity=False)


def etag_fits(file: Path, etag: str) -> bool:
    """The ETag is that of the file's content, stored whole or in parts of a size that is in use.

    A server that encrypts may call its objects otherwise; then this is false, whatever the content.
    """
    _, _, parts = etag.partition("-")
    if not parts:
        return _etag(file, 0) == etag
    size = file.stat().st_size
    fitting = [part * MIB for part in PART_SIZES if parts.isdecimal() and -(-size // (part * MIB)) == int(parts)]
    return any(_etag(file, part) == etag for part in fitting)


@once
def _etag(file: Path, part: int) -> str:
    """MD5 of the file, or of the MD5s of its parts of so many bytes with their number."""
    with file.open("rb") as stream:
        if not part:
            return hashlib.file_digest(stream, _md5).hexdigest()
        count, whole = 0, _md5()
        while (digest := _md5_of(stream, part)) is not None:
            count += 1
            whole.update(digest)
    return f"{whole.hexdigest()}-{count}"


def _md5_of(stream: IO[bytes], most: int) -> bytes | None:
    """MD5 of the next bytes, `most` or as many as there are; None at the end."""
    found, left = _md5(), most
    while left and (block := stream.read(min(left, MIB))):
        found.update(block)
        left -= len(block)
    return found.digest() if left < most else None
