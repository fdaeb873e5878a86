"""Labeled data that are no files of this machine: in an object store, or on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Tag, ValidationInfo

from lamflow.config.section import Distinct, InputFolder, Section, matched_files

STARTS = {"s3://": "s3://BUCKET/FOLDER/*.parquet", "hf://": "hf://OWNER/NAME/*.parquet"}
"""How addresses begin, and what they look like."""
SPECIAL = re.compile(r"[*?\[]")


def _whole(address: str) -> str:
    for start, example in STARTS.items():
        if address.startswith(start):
            parts = address.removeprefix(start).split("/")
            least = 3 if start == "hf://" else 2
            if len(parts) < least or not all(parts[:least]) or ".." in parts or SPECIAL.search("".join(parts[:1])):
                raise ValueError(f"{address}: an address looks like {example}")
            return address
    raise ValueError(f"{address}: addresses of data begin with {' or '.join(STARTS)}")


class RemoteData(Section):
    """Files, a folder, or what a pattern matches, brought here when a run begins."""

    address: Annotated[str, AfterValidator(_whole)]
    """`s3://BUCKET/KEY`, a file, a folder or a pattern in the object store of `cluster.s3` or AWS_ENDPOINT_URL, or
    `hf://OWNER/NAME/PATH` in a data set of the Hugging Face hub."""

    @property
    def location(self) -> tuple[str, str, str]:
        """`s3` or `hf`, the bucket or the data set, and the path in it."""
        kind, _, rest = self.address.partition("://")
        names = rest.split("/")
        count = 2 if kind == "hf" else 1
        return kind, "/".join(names[:count]), "/".join(names[count:])

    @property
    def folder(self) -> str:
        """Path of the folder in which all that the address may mean lies; empty for all of the bucket."""
        path = PurePosixPath(self.location[2])
        plain = []
        for part in path.parts[:-1]:
            if SPECIAL.search(part):
                break
            plain.append(part)
        return "/".join(plain)

    def wants(self, key: str) -> bool:
        """Whether the address means an object of this key, or a folder that it lies in."""
        return re.match(_pattern(self.location[2].strip("/")) + r"(/|$)", key) is not None

    def files_in(self, root: Path) -> list[Path]:
        """The files and folders that it means, in a copy of the bucket or of the data set."""
        return sorted(root.glob(self.location[2].strip("/")))


def _pattern(path: str) -> str:
    """A regular expression for a path with `*`, `?`, `[…]` and `**/`."""
    words = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*|\?|\[[^]]*\])", path)
    return "".join(words.get(piece, piece if piece.startswith("[") else re.escape(piece)) for piece in pieces)


def _addressed(value: Any, info: ValidationInfo) -> Any:
    """Addresses for texts that begin like one, and files for patterns."""
    if not isinstance(value, list):
        return value
    remote = [{"address": item} if isinstance(item, str) and item.startswith(tuple(STARTS)) else item for item in value]
    return matched_files(remote, info)


def _is_remote(value: object) -> str:
    return "remote" if isinstance(value, dict | RemoteData) else "file"


SourceData = Annotated[
    list[
        Annotated[Annotated[InputFolder, Tag("file")] | Annotated[RemoteData, Tag("remote")], Discriminator(_is_remote)]
    ],
    BeforeValidator(_addressed),
    Distinct,
]
"""Files or folders, patterns like `frames/*.extxyz`, and addresses that begin with s3:// or hf://."""
