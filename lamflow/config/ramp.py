"""Temperature ramps."""

from __future__ import annotations

from lamflow.config.section import Section
from lamflow.units import Fraction


class Ramp(Section):
    """How `temperatures` become a temperature ramp: explored one after the other, in the order of the list."""

    advance_at: Fraction = 0.95
    """Go on to the next temperature when at least this fraction of the frames is accurate."""
    failed: Fraction = 0.5
    """Go back to the one before when at least this fraction of the frames is above the window or of the runs failed."""
