"""References to other runs: what one run has made is where another begins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, ValidationInfo

from lamflow.config.section import Distinct, InputFolder, Section, absolute, matched_files


def _run_address(run: str, info: ValidationInfo) -> str:
    return run if run.startswith("s3://") else str(absolute(Path(run), info))


RunAddress = Annotated[str, Field(min_length=1), AfterValidator(_run_address)]
"""Folder of a run, or its `s3://BUCKET/PREFIX/NAME`."""


class RunData(Section):
    """Labeled data of another run."""

    run: RunAddress
    """The run: its folder, or its `s3://BUCKET/PREFIX/NAME`. It must have ended."""
    data: Literal["train", "heldout"] = "train"
    """What it was trained on, or what it held out."""


def _is_reference(value: object) -> str:
    return "run" if isinstance(value, dict | RunData) else "file"


InputData = Annotated[
    list[Annotated[Annotated[InputFolder, Tag("file")] | Annotated[RunData, Tag("run")], Discriminator(_is_reference)]],
    BeforeValidator(matched_files),
    Distinct,
]
"""Files or folders, patterns like `frames/*.extxyz`, and data of other runs: `{run: runs/first, data: train}`."""


def files_of(data: list[Any]) -> list[Path]:
    """The files in a list of data, without the references to runs, which are looked up when a run begins."""
    return [item for item in data if isinstance(item, Path)]
