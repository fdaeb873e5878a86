"""What a select step has seen, and what it decided."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lamflow.data.calibration import CalibrationState, PredictedGain
from lamflow.data.dataset import Origin
from lamflow.data.document import Entry
from lamflow.data.hulls import Hull
from lamflow.data.job_record import JobRecord


class Chosen(Entry):
    """One frame that is sent to be labeled, and why."""

    hash: str
    natoms: int
    group: str
    rule: str
    origin: Origin
    beyond: bool = False
    """Its magnetic moments are unlike all that the models were trained on."""


class GroupSeen(Entry):
    """What one explore group has seen in an iteration.

    frames  that passed the filters, of them accurate ones and those above the window; frames that they refused; runs,
            and those that failed
    """

    group: int
    temperature: float | None = None
    """Of the level that its temperature ramp was at, K."""
    levels: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Lower and upper level of each quantity that its frames were judged by, if they were fixed; each in its unit."""
    frames: int
    accurate: int
    failed: int
    refused: int = 0
    runs: int
    failed_runs: int

    @property
    def accurate_fraction(self) -> float:
        """Of the explored frames, refused ones among them."""
        return self.accurate / (self.frames + self.refused) if self.frames else 0.0

    @property
    def failed_fraction(self) -> float:
        """Of the frames, refused ones among both, or of the runs, whichever is larger."""
        frames = (self.failed + self.refused) / (self.frames + self.refused) if self.frames else 1.0
        return max(frames, self.failed_runs / self.runs if self.runs else 0.0)


class Selected(JobRecord):
    """What the select step found and decided."""

    frames: int
    """Frames that passed the filters."""
    accurate: int
    candidates: int
    failed: int
    """Frames whose deviation is at or above the window, or not a number."""
    dropped: dict[str, int]
    """Frames that the filters refused, by reason."""
    refused: int = 0
    """Those of them that dynamics or relaxations came to: they are explored and not accurate. A structure search begins
    with such frames."""
    low: float
    high: float
    known: int = 0
    """Candidates that are in the training or held-out set already, or that were found twice."""
    histogram: list[int] = Field(default_factory=list)
    """Counts of deviations between the `edges`, all frames that passed the filters."""
    edges: list[float] = Field(default_factory=list)
    groups: list[GroupSeen] = Field(default_factory=list)
    """By explore group."""
    hulls: list[Hull] = Field(default_factory=list)
    """What structure searches have found."""
    hull_shift: float | None = None
    """Largest change of the hull since the iteration before, eV/atom."""
    ground_state_error: float | None = None
    """How far, by the labels, what the models took for ground states an iteration ago lies above the hull, eV/atom."""
    trajectory_force_rmse: float | None = None
    """Of the models on the frames that they explored themselves against the teacher, eV/Å."""
    calibration: CalibrationState | None = None
    """With a calibrated window."""
    gain: PredictedGain | None = None
    """Of the labels that are chosen, or would be; None while too little is known."""
    chosen: list[Chosen]
    batches: int
    decision: Literal["label", "ramp", "explore", "advance", "stop"]
    """Label and go on; go on without labels, at another level of a ramp, from frames of failed properties or in the
    next stage; or end the run."""
    reason: str
    converged: bool = False

    @property
    def accurate_fraction(self) -> float:
        """Accurate frames as a fraction of the explored ones."""
        return self.accurate / self.explored if self.frames else 0.0

    @property
    def explored(self) -> int:
        """Frames that passed the filters, and those that were refused."""
        return self.frames + self.refused
