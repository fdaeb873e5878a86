"""The manifest of a data set: what it holds, where each frame came from, and hashes of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lamflow.data.document import Result
from lamflow.data.files import file_hash
from lamflow.data.layout import MANIFEST
from lamflow.data.spent import spending
from lamflow.data.walk import files_below
from lamflow.errors import REPAIR, StateError

Format = Literal["deepmd/npy", "deepmd/npy/mixed"]
WAY_BACK = f"put it back as it was, or {REPAIR}"


class Origin(BaseModel):
    """Where a frame came from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    iteration: int
    source: str
    """FILE#NUMBER of a frame in a file, SET:NUMBER of a start structure, or the simulation's name."""
    step: int | None = None
    """Step of the simulation."""
    deviation: float | None = None
    """What the committee said, in the unit of the window."""
    scores: dict[str, float] = {}
    """Deviation of each quantity that a calibrated window with channels looks at, each in its unit."""
    settings: str | None = None
    """Hash of the settings that labeled it; None for data that came labeled."""
    head: str = ""
    """The head whose data it belongs to; empty in a study without heads."""
    method: str = ""
    """Level of theory, as the file that it was read from says it; empty where that does not."""
    trajectory: str = ""
    """Name of the trajectory that it is a step of; empty where the file names none."""
    charge: float | None = None
    """Total charge in e, where the file says it; models do not see it."""
    multiplicity: float | None = None
    """Spin multiplicity, likewise."""

    @property
    def group(self) -> str:
        """Frames of one group are not split between training and held-out data, but in blocks of a long trajectory:
        those of a file belong together, start structures were drawn one by one."""
        return f"{self.iteration}/{self.source.rsplit('#', 1)[0]}"

    @property
    def index(self) -> int:
        """Number of a frame in its group, by which neighbours on a trajectory are told."""
        number = self.source.rpartition("#")[2] if "#" in self.source else ""
        return int(number) if number.isdigit() else 0


class FrameRecord(BaseModel):
    """One frame of a data set: what it is, where it lies, where it came from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hash: str
    natoms: int
    system: str
    """Folder below the data set."""
    index: int
    """Number of the frame in that system."""
    origin: Origin

    @property
    def key(self) -> str:
        """See `frame_key`."""
        return frame_key(self.hash, self.origin.head)


class Manifest(Result):
    """What a data set holds."""

    elements: list[str]
    format: Format
    frames: list[FrameRecord]
    files: dict[str, str] = {}
    """SHA-256 of every file of the data set but this one, by its path; empty in data sets of earlier versions."""
    labels: str = ""
    """Hash of all labels in the order of the frames."""


def frame_key(hash: str, head: str) -> str:
    """What makes a frame unique in the data: heads may label the same frame, each at its own level of theory."""
    return f"{head}/{hash}" if head else hash


def read_manifest(path: Path) -> Manifest:
    """The manifest of the data set at `path`."""
    return Manifest.read(path / MANIFEST)


def manifests(path: Path) -> list[Manifest]:
    """Manifests of the data sets below `path`, oldest first."""
    return [Manifest.read(file) for file in sorted(path.glob(f"*/{MANIFEST}"))]


def verify(path: Path) -> Manifest:
    """The manifest of the data set at `path`, whose files are as they were written.

    Raises StateError that names a file that is missing, was changed, or does not belong there, and the way back.
    """
    if not path.is_dir():
        raise StateError(f"{path}: this data set of the run is missing; {WAY_BACK}")
    manifest = read_manifest(path)
    if not manifest.files:
        return manifest
    there = {str(file.relative_to(path)): file for file in files_below(path) if file != path / MANIFEST}
    for name, expected in manifest.files.items():
        if name not in there:
            raise StateError(f"{path / name}: this file of a data set is missing; {WAY_BACK}")
        if file_hash(there[name]) != expected:
            raise StateError(f"{path / name}: changed since the data set was written; {WAY_BACK}")
    added = sorted(set(there) - set(manifest.files))
    if added:
        raise StateError(f"{path / added[0]}: does not belong to the data set; take it away, or {WAY_BACK}")
    return manifest


FIRST = "000"
"""Data set of the start."""


@spending("data")
def verified_manifests(path: Path) -> list[Manifest]:
    """Manifests of the data sets below `path`, oldest first, each verified: see `verify`.

    The first must be there. An iteration that labeled nothing has none, so which others there must be only the run's
    index knows.
    """
    names = {file.parent.name for file in path.glob(f"*/{MANIFEST}")}
    if not names:
        raise StateError(f"{path}: there are no data sets; {WAY_BACK}")
    return [verify(path / name) for name in sorted(names | {FIRST})]


def verify_as_known(path: Path, known: Manifest) -> None:
    """Verify the data set at `path`, and that it is the one whose manifest a run's index has. Raises StateError."""
    found = verify(path)
    if (found.labels, found.frames) != (known.labels, known.frames):
        raise StateError(f"{path}: not the data set that the run's index knows; {WAY_BACK}")
