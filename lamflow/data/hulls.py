"""What structure searches have found: structures, and the convex hulls that they span."""

from __future__ import annotations

from collections.abc import Mapping

from lamflow.data.document import Entry
from lamflow.units import BAR_IN_EV_PER_A3

ON_HULL = 1e-6
"""eV/atom; nearer to a convex hull than this is on it."""


class FoundStructure(Entry):
    """One structure that a search has relaxed.

    search      number of the search, and number the structure's in its generation
    energy      by the model that relaxed it, eV/atom
    volume      Å³/atom
    deviation   of the models, what the window looks at
    """

    search: int
    generation: int
    number: int
    energy: float
    volume: float
    converged: bool
    deviation: float | None = None
    failed: str | None = None


class HullEntry(Entry):
    """One of the best structures of a search.

    energy, enthalpy  by the models, eV/atom
    volume            Å³/atom
    above_hull        eV/atom above the convex hull of everything that was found under this condition
    hash              of the frame
    """

    search: int
    generation: int
    number: int
    formula: str
    counts: dict[str, int]
    energy: float
    enthalpy: float
    volume: float
    above_hull: float
    space_group: int
    deviation: float | None = None
    hash: str

    @property
    def fractions(self) -> dict[str, float]:
        """Fraction of each element among the atoms."""
        total = sum(self.counts.values())
        return {element: count / total for element, count in self.counts.items()}


class Generation(Entry):
    """A generation of all searches under one condition; heights above the hull in eV/atom."""

    number: int
    structures: int
    lowest: float | None
    mean: float | None


class Hull(Entry):
    """The convex hull that the searches of an iteration under one condition have found.

    entries     the best structures, each once, nearest to the hull first
    structures  that were relaxed; failed of them exploded, unfinished had not converged, duplicates were found before
    """

    head: str = ""
    condition: dict[str, float]
    elements: list[str]
    entries: list[HullEntry]
    generations: list[Generation]
    structures: int
    failed: int
    unfinished: int
    duplicates: int

    @property
    def key(self) -> tuple[str, tuple[tuple[str, float], ...]]:
        """The same in every iteration."""
        return self.head, tuple(sorted(self.condition.items()))

    @property
    def corners(self) -> list[HullEntry]:
        """The entries that span the hull: the ground states."""
        return [entry for entry in self.entries if entry.above_hull < ON_HULL]

    def labeled(self, energies: Mapping[str, float]) -> list[tuple[HullEntry, float]]:
        """Entries that have a label, `energies` in eV by hash, with their enthalpy by it in eV/atom."""
        pressure = self.condition.get("pressure", 0.0) * BAR_IN_EV_PER_A3
        return [
            (entry, energies[entry.hash] / sum(entry.counts.values()) + pressure * entry.volume)
            for entry in self.entries
            if entry.hash in energies
        ]
