"""What a shell completes."""

from __future__ import annotations

from pathlib import Path

from lamflow.data.layout import REMOTE, RUN


def run_folders(incomplete: str) -> list[str]:
    """Folders of runs below runs/ whose names begin with what has been typed."""
    files = [*Path("runs").glob(f"*/{RUN}"), *Path("runs").glob(f"*/{REMOTE}")]
    return sorted({str(file.parent) for file in files if str(file.parent).startswith(incomplete)})
