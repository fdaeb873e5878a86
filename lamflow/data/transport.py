"""What a simulation of a study of transport leaves beside its displacements."""

from __future__ import annotations

from lamflow.data.document import Entry


class TransportRun(Entry):
    """One simulation.

    mobile   how many ions diffuse
    formula  reduced, of the structure
    kinisi   diffusion coefficient and standard error, cm²/s, where kinisi was asked
    framework  mean squared displacement of all other atoms in the end, Å²; None where there are none
    """

    number: int
    iteration: int
    structure: str
    potential: str
    condition: dict[str, float]
    seed: int
    frames: int
    natoms: int
    mobile: int
    formula: str = ""
    seconds: float = 0.0
    kinisi: tuple[float, float] | None = None
    framework: float | None = None
    failed: str | None = None
