"""The record of a run: what it is, and what it has taken from others."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lamflow.data.document import Entry, Result
from lamflow.data.moments import TrainedMoments


class Reference(Entry):
    """What a run has taken from another one, with a hash of its content."""

    run: str
    what: str
    sha256: str
    wanted: str = ""
    """What the settings asked for."""
    folders: list[str] = Field(default_factory=list)
    """Data sets that were read; a model lies with the settings of the run."""
    moments: TrainedMoments | None = None
    """Of the data that a model was trained on, for models that see moments."""


class Run(Result):
    """run.json: what a run is. Its progress is in the iterations' own records."""

    workflow: str = "learning"
    """Kind of workflow."""
    name: str
    created: str
    fingerprint: str
    versions: dict[str, str]
    references: list[Reference] = Field(default_factory=list)
    """What was taken from other runs when this one began."""
    state: Literal["running", "stopped", "failed", "converged", "ended"]
    message: str = ""
