"""What a study of properties leaves: values with units and errors, curves, and the record of its round."""

from __future__ import annotations

import builtins

from pydantic import Field

from lamflow.data.document import Entry
from lamflow.data.results import Iteration, JobRecord


class Value(Entry):
    """A number that a property has come to.

    where        which of several: a surface, a site, a direction; empty for the only one
    uncertainty  standard error, in the unit of the value; None where nothing is known of it
    """

    name: str
    value: float
    unit: str
    where: str = ""
    uncertainty: float | None = None
    note: str = ""


class Curve(Entry):
    """Points of a figure. The labels of both axes end with their units."""

    name: str
    x: list[float]
    y: list[float]
    x_label: str
    y_label: str
    where: str = ""


class Reduced(Entry):
    """What a property comes to.

    tables  matrices by name, with the unit in the name
    notes   what a person should know of the values
    """

    values: list[Value]
    curves: list[Curve] = Field(default_factory=list)
    tables: dict[str, list[list[float]]] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


class PropertyResult(Reduced):
    """One property of one structure by one potential.

    failed  why there is no value
    """

    structure: str
    potential: str
    property: str
    frames: int = 0
    failed: str | None = None


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
    """Whether a gate holds for a value. reason: why it does not, or the value"""

    gate: str
    holds: bool
    reason: str


class PropertyValues(JobRecord):
    """All properties of a study, and the values beside their references."""

    results: list[PropertyResult]
    comparisons: list[Comparison]
    gates: list[GateResult] = Field(default_factory=list)


class PropertiesRound(Iteration):
    """The record of a round of a properties study: the relaxed structures are in it as the property `relaxation`."""

    properties: PropertyValues | None = None

    def largest_error(self) -> float:
        """Largest relative error of a diffusion coefficient, 1 where one has no value; 0 where none was asked for."""
        results = self.properties.results if self.properties is not None else []
        values = [v for r in results if r.property.startswith("transport") for v in r.values if v.name == "D"]
        failed = any(r.failed for r in results if r.property.startswith("transport"))
        return max([1.0 if failed else 0.0, *((v.uncertainty or 0.0) / v.value for v in values)])

    @property
    def ended(self) -> str | None:
        """See Round."""
        if self.properties is None:
            return None
        results, values = self.properties.results, len(self.properties.comparisons)
        failed = sum(result.failed is not None for result in results)
        gates = self.properties.gates
        held = f"; {sum(gate.holds for gate in gates)} of {len(gates)} gates hold" if gates else ""
        return f"{values} values of {len(results) - failed} properties; {failed} properties failed{held}"

    @property
    def converged(self) -> bool:
        """See Round: there are gates, and all of them hold."""
        gates = self.properties.gates if self.properties is not None else []
        return bool(gates) and all(gate.holds for gate in gates)
