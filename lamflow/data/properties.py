"""What a study of properties leaves: values with units and errors, curves, and the record of its round."""

from __future__ import annotations

from pydantic import Field

from lamflow.data.comparisons import Comparison, GateResult, TrackedValues
from lamflow.data.document import Entry
from lamflow.data.job_record import JobRecord
from lamflow.data.results import Iteration


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
    """Points of a figure. The labels of both axes end with their units.

    ticks  places on the x axis that have names; several at one place share it, as `U|K`
    """

    name: str
    x: list[float]
    y: list[float]
    x_label: str
    y_label: str
    where: str = ""
    ticks: dict[str, list[float]] = Field(default_factory=dict)


class Reduced(Entry):
    """What a property comes to.

    tables  matrices by name, with the unit in the name
    notes   what a person should know of the values
    """

    values: list[Value]
    curves: list[Curve] = Field(default_factory=list)
    tables: dict[str, list[list[float]]] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


RELAXATION = "relaxation"
"""Name of the results of the relaxed structures themselves."""


class PropertyResult(Reduced):
    """One property of one structure by one potential.

    failed  why there is no value
    """

    structure: str
    potential: str
    property: str
    frames: int = 0
    failed: str | None = None


class PropertyValues(JobRecord):
    """All properties of a study, and the values beside their references.

    starts     frames beside it that the next iteration of learning begins with
    unmatched  references of the study that are of no value, in words
    """

    results: list[PropertyResult]
    comparisons: list[Comparison]
    gates: list[GateResult] = Field(default_factory=list)
    starts: int = 0
    unmatched: list[str] = Field(default_factory=list)

    def tracked(self) -> TrackedValues:
        """What an iteration of learning keeps of them."""
        failed = {
            f"{result.structure}, {result.potential}, {result.property}": result.failed
            for result in self.results
            if result.failed is not None
        }
        return TrackedValues(comparisons=self.comparisons, gates=self.gates, failed=failed, starts=self.starts)


class PropertiesRound(Iteration):
    """The record of a round of a properties study: the relaxed structures are in it as the property `relaxation`."""

    properties: PropertyValues | None = None

    def largest_error(self) -> float:
        """Largest relative error of a diffusion coefficient, 1 where one has no value; 0 where none was asked for."""
        results = self.properties.results if self.properties is not None else []
        values = [v for r in results if r.property.startswith("transport") for v in r.values if v.name == "D"]
        failed = any(r.failed for r in results if r.property.startswith("transport"))
        return max([1.0 if failed else 0.0, *((v.uncertainty or 0.0) / v.value for v in values)])

    def failed_properties(self) -> list[str]:
        """Why there is no value, a line for each result, where all of them have failed; empty where one has not.

        Those of relaxations count where there are no others.
        """
        results = self.properties.results if self.properties is not None else []
        measured = [result for result in results if result.property != RELAXATION] or results
        if any(result.failed is None for result in measured):
            return []
        return [f"{item.structure}, {item.potential}, {item.property}: {item.failed}" for item in measured]

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
