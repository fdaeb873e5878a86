"""What a shell completes."""

from __future__ import annotations

from pathlib import Path


def run_folders(incomplete: str) -> list[str]:
    """Folders of runs below runs/ whose names begin with what has been typed."""
    files = [*Path("runs").glob("*/run.json"), *Path("runs").glob("*/remote.json")]
    return sorted({str(file.parent) for file in files if str(file.parent).startswith(incomplete)})
