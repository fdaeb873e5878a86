"""What is known of scores, errors and risks, as records of a run say it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lamflow.data.document import Entry


class CalibrationState(Entry):
    """What a calibrated window went by.

    basis        whose errors told what a score stands for; nothing at the beginning
    frames       how many of them there were
    needed       how many explored frames must have labels before a risk can be stated
    correlation  rank correlation of their scores and errors; None where either is constant
    worthless    the score says too little to count
    above        predicted fraction of the explored frames whose error is too large; None without a basis
    channels     rank correlation of each quantity, where a window looks at several; None where either is constant
    silent       those of them whose score says too little to count
    refuted      what held-out data say against the labels, in words; empty where they do not
    """

    basis: Literal["labels", "held-out data", "nothing"]
    frames: int
    needed: int
    correlation: float | None
    worthless: bool
    above: float | None
    channels: dict[str, float | None] = Field(default_factory=dict)
    silent: list[str] = Field(default_factory=list)
    refuted: str = ""

    @property
    def words(self) -> str:
        """In words."""
        if self.basis == "nothing" and self.refuted:
            return f"not calibrated: {self.refuted}"
        if self.basis == "nothing":
            labels = f"labels of {', '.join(self.channels)}" if self.channels else "labels"
            return f"not calibrated: {self.frames} explored frames have {labels}, and {self.needed} are needed"
        correlation = "constant scores" if self.correlation is None else f"rank correlation {self.correlation:.2f}"
        verdict = ", so the score is worthless and diversity decides" if self.worthless else ""
        each = ", ".join(
            f"{name} {'none' if value is None else f'{value:.2f}'}" for name, value in self.channels.items()
        )
        silent = f"; of {', '.join(self.silent)} it says nothing" if self.silent and not self.worthless else ""
        by_channel = f" ({each}{silent})" if each else ""
        refuted = f"; {self.refuted}" if self.refuted else ""
        return f"calibrated by {self.frames} {_BASIS[self.basis]}, {correlation}{by_channel}{verdict}{refuted}"


_BASIS = {"labels": "labels", "held-out data": "held-out frames"}


class PredictedGain(Entry):
    """By how much so many more labels would lower the held-out force RMSE, with its standard error, eV/Å."""

    labels: int
    expected: float
    uncertainty: float

    @property
    def words(self) -> str:
        """In words."""
        return f"{self.labels} labels more would bring {self.expected:.2g} ± {self.uncertainty:.1g} eV/Å"


class CalibrationPoint(Entry):
    """One labeled frame: what the selection said of it, and how large the error of the models really was.

    deviation  in the unit of the score
    error      largest error of the force on an atom, eV/Å
    audit      its score said that it is accurate, and it was drawn at random to see whether that is true
    scores, errors  of each quantity of a calibrated window with channels, in its unit
    """

    deviation: float
    error: float
    audit: bool = False
    scores: dict[str, float] = Field(default_factory=dict)
    errors: dict[str, float] = Field(default_factory=dict)


class RiskCheck(Entry):
    """What was stated of frames before their errors were known, and what these were.

    frames           whose errors are known now
    stated           probability with which the error of each was said to be above the bound that was given for it
    above_bound      of the frames, those whose error was
    stated_above     how many of the frames were said to have an error above the window's
    above            how many had
    channels         how many had it in each quantity, where the window looks at several
    """

    frames: int
    stated: float
    above_bound: int
    stated_above: float
    above: int
    channels: dict[str, int] = Field(default_factory=dict)
