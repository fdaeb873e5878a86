"""What is kept of the magnetic moments that models were trained on."""

from __future__ import annotations

from lamflow.data.document import Entry


class TrainedMoments(Entry):
    """The moments of training data, which say how far models can be trusted."""

    longest: float
    """μB"""
    collinear: bool
    """Those of every frame lie along one line."""
    heldout: int = 0
    """Held-out frames whose moments are unlike all of these: errors on them are those of an extrapolation."""
