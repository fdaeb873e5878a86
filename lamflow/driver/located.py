"""What people call a run: its folder, or the address of its store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lamflow.data.layout import REMOTE
from lamflow.errors import StateError

if TYPE_CHECKING:
    from lamflow.driver.run_location import RunLocation


@dataclass(frozen=True)
class Located:
    """A run's folder, and where it lives if that is a cluster."""

    path: Path
    remote: RunLocation | None

    def on_a_cluster(self) -> tuple[Path, RunLocation]:
        """Both. Raises StateError for a run of this machine."""
        if self.remote is None:
            raise StateError(f"{self.path} is no run on a cluster; start one with `lamflow submit FILE`")
        return self.path, self.remote

    def mirrored(self, key: str = "", *, whole: bool = False) -> Path:
        """The folder, brought up to date: what reports read, or the `whole` of what lies below `key`."""
        if self.remote is not None:
            from lamflow.driver.run_location import mirror
            from lamflow.driver.rundir import RunDirectory

            mirror(RunDirectory(self.path), self.remote.store(), key, whole=whole)
        return self.path


def located(run: str) -> Located:
    """The run in a folder, or at an address like s3://BUCKET/PREFIX/NAME, which is mirrored in runs/NAME.

    Raises what reading the store raises.
    """
    if run.startswith("s3://"):
        from lamflow.driver.run_location import RunLocation

        path = Path("runs") / run.rstrip("/").rsplit("/", 1)[-1]
        return Located(path, RunLocation.at(run, path))
    path = Path(run)
    if (path / REMOTE).is_file():
        from lamflow.driver.run_location import RunLocation

        return Located(path, RunLocation.read(path / REMOTE))
    return Located(path, None)
