"""What an evaluation leaves: an engine judged on labeled data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lamflow.data.document import Entry
from lamflow.data.job_record import JobRecord
from lamflow.data.results import Errors, Iteration


class SystemErrors(Entry):
    """Errors of a model on one system: the frames of one composition in one file."""

    head: str = ""
    name: str
    """File and formula."""
    role: Literal["start", "heldout"]
    natoms: int
    errors: Errors
    """Zero-shot: with the energies shifted to the start data, or to the other frames where there are none."""
    unshifted_energy_rmse: float
    """Of the model's own energies, eV/atom."""


class Judgement(JobRecord):
    """An engine judged on labeled data as it is."""

    shift: dict[str, dict[str, float]]
    """Energy of an atom of each element, in eV, that was added to the predictions, by head."""
    systems: list[SystemErrors]
    overall: dict[str, Errors]
    """Of each head over all held-out systems."""
    seconds: float
    notes: dict[str, list[str]] = Field(default_factory=dict)
    """What a person should know of the energies, by head."""
    unjudged: int = 0
    """Frames of heads that the engine's model does not have."""


class Evaluation(Iteration):
    """The record of a round of an evaluation: the start, or the judgement."""

    engine: str = ""
    model: str = ""
    """What was judged, in words."""
    sha256: str = ""
    """Of the model's file, if there is one."""
    judgement: Judgement | None = None

    @property
    def ended(self) -> str | None:
        """See Round."""
        if self.judgement is None:
            return None
        rows = [
            f"{name + ': ' if name else ''}{found.force_rmse:.4f} eV/Å"
            for name, found in self.judgement.overall.items()
        ]
        return f"{self.model} is judged: force RMSE {', '.join(rows)}"
