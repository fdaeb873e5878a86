"""Images of files that ASE reads, with all that they say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ase import Atoms

from lamflow.data.steps import format_of

DATABASES = ("db", "json")
"""Formats of ASE's databases, whose other information ASE's readers leave out."""


def images_of(path: Path, format: str | None) -> Iterator[Atoms]:
    """One after the other; of a row of a database its data and key-value pairs are in `info`."""
    kind = format_of(path, format)
    if kind in DATABASES:
        from ase.db import connect

        for row in connect(path, type=kind).select():
            yield row.toatoms(add_additional_information=True)
        return
    from ase.io import iread

    yield from iread(path, index=":", format=format)
