"""Documents for programs: what commands print with --json, one on standard output and nothing else there."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json


def print_document(document: Any) -> None:
    """Print a JSON document; numbers that are not finite are null."""
    print(to_json(document, indent=1, inf_nan_mode="null").decode())
