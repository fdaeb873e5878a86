"""An operation that does nothing, for jobs of a batch system."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from lamflow.ops.operation import Context, op


class Nothing(NamedTuple):
    """nothing: an empty file for each job."""

    nothing: Path


@op
def work(context: Context) -> Nothing:
    """Write an empty file."""
    folder = context.out / "nothing"
    folder.mkdir()
    (folder / f"{context.job}").touch()
    return Nothing(folder)
