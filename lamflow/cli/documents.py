"""Documents for programs: what commands print with --json, one on standard output and nothing else there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json


def print_document(document: Any) -> None:
    """Print a JSON document; numbers that are not finite are null."""
    print(to_json(_plain(document), indent=1, inf_nan_mode="null").decode())


def _plain(value: Any) -> Any:
    """`value` with records as mappings: they write numbers that are not finite in a way of their own."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
