"""Values of properties beside what they should be, and gates."""

from __future__ import annotations

import builtins

from pydantic import Field

from lamflow.data.document import Entry


class Comparison(Entry):
    """A value beside its reference.

    reference              in the unit of the value; None where there is none
    reference_uncertainty  standard error of the reference
    source                 where the reference comes from
    """

    structure: str
    potential: str
    property: str
    name: str
    where: str
    value: float
    unit: str
    uncertainty: float | None
    reference: float | None
    reference_uncertainty: float | None = None
    source: str = ""

    @builtins.property
    def error(self) -> float | None:
        """Value minus reference."""
        return None if self.reference is None else self.value - self.reference

    @builtins.property
    def relative_error(self) -> float | None:
        """Error as a fraction of the reference; None for a reference of zero."""
        return None if self.error is None or not self.reference else self.error / abs(self.reference)


class GateResult(Entry):
    """Whether a gate holds for a value. reason: why it does not, or the value; structure, property: of the value"""

    gate: str
    holds: bool
    reason: str
    structure: str = ""
    property: str = ""


class TrackedValues(Entry):
    """What the models of one iteration of learning say of crystals.

    failed  why each property that has no value has none, by structure, potential and property
    starts  frames of failed properties that the next iteration begins with
    """

    comparisons: list[Comparison]
    gates: list[GateResult] = Field(default_factory=list)
    failed: dict[str, str] = Field(default_factory=dict)
    starts: int = 0

    @builtins.property
    def broken_gates(self) -> list[str]:
        """Each gate that does not hold, with the reason."""
        return [f"{gate.gate}: {gate.reason}" for gate in self.gates if not gate.holds]
