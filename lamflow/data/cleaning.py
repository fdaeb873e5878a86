"""What cleaning leaves: what was read, what is said of every frame, the data card, and the record of a round."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lamflow.data.document import Entry, Result
from lamflow.data.job_record import JobRecord
from lamflow.data.results import Iteration
from lamflow.data.shards import Unreadable


class SourceFile(Entry):
    """A file or folder that a job reads. name: below the job's folder; original: where it came from."""

    source: str
    name: str
    original: str
    size: int
    """Bytes."""
    sha256: str
    """When the run began: the file may be a link to one that somebody writes into. See `sha256_of`."""


class SourceList(Result):
    """What one job reads."""

    files: list[SourceFile]


class ReadFile(Entry):
    """What was read of a file."""

    source: str
    original: str
    frames: int
    """Labeled frames."""
    unreadable: list[Unreadable] = Field(default_factory=list)
    unread: dict[str, int] = Field(default_factory=dict)
    """What frames have that is not kept, and how many have it."""
    sha256: str = ""


class ReadRecord(JobRecord):
    """What one job has read."""

    files: list[ReadFile]
    shards: int
    seconds: float


class Evidence(Entry):
    """What speaks against a frame, in words with numbers and units."""

    rule: str
    says: str


class Quarantined(Entry):
    """A frame that is not in the data."""

    id: str
    source: str
    file: str
    number: int
    head: str
    formula: str
    natoms: int
    evidence: list[Evidence]
    shard: str
    index: int
    """Its place in its shard."""
    kept_out: str = ""
    """Why new labels of it must not be trained on; empty where they may."""


class Quarantine(Result):
    """Every frame that is quarantined, and how many of each rule there are."""

    frames: list[Quarantined]


class SourceAudit(Entry):
    """What the labels of one source and head say of themselves.

    bias          median of the energy beyond what the head's element energies say, eV/atom
    scatter       robust standard deviation of it, eV/atom
    forces_slope, stress_slope   factor that would make forces and stress agree with the energies along trajectories
    stress_decided by what the sign of the stress was decided; empty where nothing tells
    """

    source: str
    head: str
    frames: int
    bias: float
    scatter: float
    pairs: int = 0
    forces_slope: float | None = None
    stress_slope: float | None = None
    stress_decided: str = ""
    notes: list[str] = Field(default_factory=list)


class HeadCard(Entry):
    """One head of the cleaned data."""

    name: str
    method: str
    train: int = 0
    heldout: int = 0
    elements: list[str] = Field(default_factory=list)
    compositions: int = 0
    rank: int = 0
    """Independent compositions; fewer than elements leave the energies of single elements undetermined."""
    element_energies: dict[str, float] = Field(default_factory=dict)
    """eV/atom, by Huber's least squares."""
    scatter: float = 0.0
    """eV/atom"""


class Count(Entry):
    """Frames of a source that a rule has found, and what was done with them."""

    source: str
    rule: str
    action: Literal["flag", "quarantine", "drop"]
    frames: int


class SourceCard(Entry):
    """Where data came from, and on what terms."""

    name: str
    files: list[str]
    sha256: list[str]
    """Of each file; of a folder, of what `sha256sum` says of all files below it."""
    licence: str
    doi: str
    software: str
    methods: list[str]
    read: int
    unreadable: int
    kept: int


class Range(Entry):
    """Smallest, median and largest value of a quantity of the frames that are kept."""

    least: float
    median: float
    most: float
    unit: str


ZERO_SHOT = "zero_shot"
"""The line of the pre-trained model that the others start from, before any training: a point without frames."""


class CurvePoint(Entry):
    """A model of a part of a head's frames, judged on what is held out of the head.

    line                    `all`, `worst`, `random`, or `zero_shot`: a pre-trained model before any training
    frames                  that it was trained on
    force_rmse, energy_rmse  eV/Å and eV/atom
    """

    line: str
    head: str
    frames: int
    force_rmse: float
    energy_rmse: float
    seconds: float


class CurveRecord(JobRecord):
    """One line of the learning curves of all heads."""

    line: str
    points: list[CurvePoint]


class CheckRecord(JobRecord):
    """What all frames together have said."""

    frames_read: int
    kept: int
    train: int
    heldout: int
    quarantined: int
    dropped: int
    released: int = 0
    counts: list[Count]
    audits: list[SourceAudit]
    elements: list[str]
    leaks: int = 0
    """Frames to train on that repeat one of a source that is held out."""
    notes: list[str] = Field(default_factory=list)
    curve: list[CurvePoint] = Field(default_factory=list)
    seconds: float = 0.0


class Card(Result):
    """The data card: what the cleaned data are, and what became of everything else."""

    name: str
    created: str
    sources: list[SourceCard]
    counts: list[Count]
    audits: list[SourceAudit]
    heads: list[HeadCard]
    elements: dict[str, int]
    """Frames with each element."""
    ranges: dict[str, Range]
    frames: int
    train: int
    heldout: int
    quarantined: int
    dropped: int
    relabeled: int = 0
    """Frames that were in quarantine and have new labels; they are among those to train on."""
    digests: dict[str, str]
    """SHA-256 of the manifest of each data set, by its path in the run."""
    notes: list[str] = Field(default_factory=list)
    curve: list[CurvePoint] = Field(default_factory=list)


class Cleaning(Iteration):
    """The record of a round of cleaning."""

    reads: list[ReadRecord] = Field(default_factory=list)
    checked: CheckRecord | None = None
    relabeled: int = 0
    """Frames to train on that were in quarantine and have new labels."""

    @property
    def shards(self) -> int:
        """How many shards were read."""
        return sum(record.shards for record in self.reads)

    @property
    def ended(self) -> str | None:
        """See Round."""
        if self.checked is None:
            return None
        found = self.checked
        again = f" and {self.relabeled} have new labels" if self.relabeled else ""
        return (
            f"{found.kept} of {found.frames_read} frames are clean{again}, {self.training_frames} to train on and "
            f"{self.heldout_frames} held out; "
            f"{found.quarantined} are quarantined, {found.dropped} repeat others or were compressed away"
            + (f"; the data card says more: {found.notes[0]}" if found.notes else "")
        )
