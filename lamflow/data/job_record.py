"""What every job leaves behind."""

from __future__ import annotations

from lamflow.data.document import Result
from lamflow.data.provenance import Provenance
from lamflow.data.spent import Spent


class JobRecord(Result):
    """What a job leaves for drivers and reports, with what made it."""

    provenance: Provenance | None = None
    """Written by the job itself."""
    spent: Spent | None = None
    """Where its time went until it was written, from the job's beginning or its record before."""
