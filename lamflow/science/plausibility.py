"""What labeled frames look like: the numbers a person would look at first, and the mistakes that they give away."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from pydantic import Field

from lamflow.data.document import Entry, Result
from lamflow.data.fields import label_fields
from lamflow.data.frames import Floats, Frame, LabeledFrame
from lamflow.science.moment_range import longest_moments
from lamflow.units import BOHR, EV_PER_A3_IN_GPA, HARTREE

"""File beside given data that holds `GivenData`."""
MEASURED = 200
"""Frames of a source, spread evenly, in which distances are measured."""
CUTOFF = 4.0
"""Å; the smallest distance is sought below it."""
NEAR = 0.5
"""Å; atoms of two frames that are closer than this tell how the energy changes along the forces."""
PAIRS = 4
"""Pairs of near frames that a statement needs."""
CORRELATED = 0.9
TOO_CLOSE = 0.35
"""Of the sum of two covalent radii; a whole source below it is no matter."""
HUGE_PRESSURE, HUGE_FORCE = 300.0, 100.0
"""GPa and eV/Å; data of which half lie beyond more likely have another unit."""
OTHER_REFERENCE = 0.5
"""eV/atom between the energies of one composition in two sources."""
KCAL_PER_MOL = 0.0433641
"""eV."""


class SourceSummary(Entry):
    """What the labeled frames of one source look like."""

    source: str
    role: str = "train"
    head: str = ""
    frames: int
    left_out: int = 0
    formulas: dict[str, int]
    """Frames of each composition, the most frequent first."""
    natoms: tuple[int, int]
    energy: tuple[float, float]
    """Range, eV/atom."""
    energies: dict[str, tuple[float, float]]
    """Range of each reduced formula, eV/atom."""
    max_force: float
    """Largest norm, eV/Å."""
    moments: dict[str, float] = Field(default_factory=dict)
    """Length of the longest magnetic moment of each element that has some, μB."""
    max_magnetic_force: float | None = None
    """Largest norm, eV/μB; None where no frame has moments and forces on them."""
    pressure: tuple[float, float] | None
    """Range of −tr(stress)/3, GPa; None without a virial."""
    smallest_distance: float | None
    """Å; None where atoms are further apart than 4 Å."""
    missing: dict[str, int]
    """Frames that lack a label, by its name."""
    warnings: list[str]


class GivenData(Result):
    """What a study was given as labeled data."""

    sources: list[SourceSummary]
    repeated: int
    """Frames that repeat the structure of another and are left out."""
    conflicts: int
    """How many of them have another energy."""
    warnings: list[str]


def summarize(labeled: Sequence[LabeledFrame], source: str) -> SourceSummary:
    """The summary of at least one labeled frame of `source`, with warnings that name the likely mistake."""
    natoms = np.array([item.frame.natoms for item in labeled])
    energies = np.array([item.labels.energy for item in labeled]) / natoms
    formulas = [item.frame.to_ase().get_chemical_formula(mode="hill") for item in labeled]
    reduced = [item.frame.to_ase().get_chemical_formula(mode="hill", empirical=True) for item in labeled]
    ranges = {}
    for formula in dict.fromkeys(reduced):
        values = energies[[name == formula for name in reduced]]
        ranges[formula] = (float(values.min()), float(values.max()))
    pressures = _pressures(labeled)
    closest = [_closest(item.frame) for item in _spread(labeled)]
    distances = [distance for distance, _ in closest]
    forces = np.array([np.linalg.norm(item.labels.forces, axis=1).max(initial=0.0) for item in labeled])
    magnetic = [own for item in labeled if (own := item.labels.force_mag) is not None and len(own)]
    warnings = [
        *_length_warnings(labeled, closest), *_slope_warnings(labeled), *_pressure_warnings(labeled, pressures),
        *_force_warnings(labeled, energies, forces),
    ]  # fmt: skip
    present = [set(item.labels.fields) for item in labeled]
    lacking = {row.name: sum(row.name not in names for names in present) for row in label_fields()}
    return SourceSummary(
        source=source,
        frames=len(labeled),
        formulas=dict(Counter(formulas).most_common()),
        natoms=(int(natoms.min()), int(natoms.max())),
        energy=(float(energies.min()), float(energies.max())),
        energies=ranges,
        max_force=float(forces.max()),
        moments=longest_moments([item.frame for item in labeled]),
        max_magnetic_force=max((float(np.linalg.norm(own, axis=1).max()) for own in magnetic), default=None),
        pressure=(float(pressures.min()), float(pressures.max())) if len(pressures) else None,
        smallest_distance=min(distances) if min(distances) < np.inf else None,
        missing={
            name: count for name, count in lacking.items() if count and (count < len(labeled) or name == "virial")
        },
        warnings=warnings,
    )


def reference_warnings(summaries: Sequence[SourceSummary]) -> list[str]:
    """Sources of one head whose energies of the same composition lie far apart: they have another reference."""
    warnings = []
    for number, first in enumerate(summaries):
        for second in summaries[number + 1 :]:
            if first.head != second.head:
                continue
            for formula in first.energies.keys() & second.energies.keys():
                low, high = sorted((first.energies[formula], second.energies[formula]))
                gap, widths = high[0] - low[1], (low[1] - low[0]) + (high[1] - high[0])
                if gap > max(OTHER_REFERENCE, widths):
                    warnings.append(
                        f"{first.source} and {second.source}: the energies of {formula} are {gap:.3g} eV/atom apart; "
                        "they may have another reference, other potentials or another unit"
                    )
                    break
    return warnings


def _spread(labeled: Sequence[LabeledFrame]) -> list[LabeledFrame]:
    numbers = np.unique(np.linspace(0, len(labeled) - 1, min(len(labeled), MEASURED)).astype(int))
    return [labeled[number] for number in numbers]


def _closest(frame: Frame) -> tuple[float, float]:
    """The smallest distance in Å and as a share of the two covalent radii; infinite beyond the cutoff."""
    first, second, distances = neighbor_list("ijd", frame.to_ase(), CUTOFF)
    if not len(distances):
        return np.inf, np.inf
    radii = covalent_radii[frame.numbers]
    ratios = distances / (radii[first] + radii[second])
    return float(distances.min()), float(ratios.min())


def _pressures(labeled: Sequence[LabeledFrame]) -> Floats:
    """Pressure of every periodic frame with a virial, GPa."""
    return np.array([
        float(np.trace(item.labels.virial)) / (3 * item.frame.volume) * EV_PER_A3_IN_GPA
        for item in labeled if item.labels.virial is not None and item.frame.pbc
    ])  # fmt: skip


def _length_warnings(labeled: Sequence[LabeledFrame], closest: Sequence[tuple[float, float]]) -> list[str]:
    """Coordinates that are fractions, or in nm."""
    ratio = float(np.median([share for _, share in closest]))
    if ratio >= TOO_CLOSE:
        return []
    distance = min(distance for distance, _ in closest)
    positions = np.concatenate([item.frame.positions for item in labeled])
    cells = [np.linalg.norm(item.frame.cell, axis=1).min() for item in labeled if item.frame.pbc]
    fractional = bool(cells) and float(np.abs(positions).max()) < 1.5 < float(min(cells))
    guess = "the coordinates may be fractional" if fractional else "lengths may be in nm"
    return [f"atoms are {distance:.2g} Å apart, {ratio:.0%} of a bond: {guess}; Å are needed"]


def _force_warnings(labeled: Sequence[LabeledFrame], energies: Floats, forces: Floats) -> list[str]:
    if float(np.median(forces)) > HUGE_FORCE:
        return [f"half of the frames have a force beyond {np.median(forces):.3g} eV/Å: they may have another unit"]
    several = sum(item.frame.natoms > 1 for item in labeled) > 1
    if several and not forces.any() and float(np.ptp(energies)) > 0:
        return ["all forces are zero, and the energies differ: the forces may be missing"]
    return []


def _pressure_warnings(labeled: Sequence[LabeledFrame], pressures: Floats) -> list[str]:
    """Stresses in kbar or GPa, and those with the other sign, which grow with the volume."""
    if not len(pressures):
        return []
    usual = float(np.median(np.abs(pressures)))
    if usual > HUGE_PRESSURE:
        return [f"half of the pressures are beyond {usual:.3g} GPa: the stress may be in kbar or GPa; eV/Å³ are needed"]
    periodic = [item for item in labeled if item.labels.virial is not None and item.frame.pbc]
    numbers = Counter(item.frame.to_ase().get_chemical_formula() for item in periodic)
    formula, count = numbers.most_common(1)[0]
    chosen = [item.frame.to_ase().get_chemical_formula() == formula for item in periodic]
    volumes = np.array([item.frame.volume for item in periodic])[chosen]
    if count < PAIRS or np.ptp(volumes) < 0.02 * volumes.mean() or np.ptp(pressures[chosen]) == 0:
        return []
    if float(np.corrcoef(volumes, pressures[chosen])[0, 1]) > CORRELATED:
        return [
            f"the pressure of {formula} grows with its volume: the stress may have the other sign (VASP's kB is "
            "positive under compression, ASE's stress under tension)"
        ]
    return []


def _slope_warnings(labeled: Sequence[LabeledFrame]) -> list[str]:
    """Energies and forces that do not belong together: ΔE against −F·Δx of near frames must rise by one."""
    changes, works, natoms = [], [], []
    for first, second in itertools.pairwise(labeled):
        work = _work(first, second)
        if work is not None:
            changes.append(second.labels.energy - first.labels.energy)
            works.append(work)
            natoms.append(first.frame.natoms)
    change, work_done = np.array(changes), np.array(works)
    if len(change) < PAIRS or not np.ptp(change) or not np.ptp(work_done):
        return []
    slope = float(change @ work_done / (work_done @ work_done))
    if abs(float(np.corrcoef(change, work_done)[0, 1])) < CORRELATED or 0.7 < slope < 1.4:
        return []
    causes = {
        "the forces may have the other sign": -1.0,
        "the energies may be in Hartree": 1 / HARTREE,
        "the energies may be in Rydberg": 2 / HARTREE,
        "the energies may be per atom": 1 / float(np.median(natoms)),
        "the forces may be in Hartree/Bohr": HARTREE / BOHR,
        "the energies and forces may be in Hartree and Hartree/Bohr": 1 / BOHR,
        "the forces may be in kcal/mol/Å": KCAL_PER_MOL,
        "the energies may be in kcal/mol": 1 / KCAL_PER_MOL,
    }
    likely = [text for text, expected in causes.items() if 0.8 < slope / expected < 1.25]
    reason = ", or ".join(likely) or "one of them may have another unit"
    return [f"energies of near frames change by {slope:.3g} times what the forces say: {reason}"]


def _work(first: LabeledFrame, second: LabeledFrame) -> float | None:
    """−F·Δx from one frame to the next in eV, with the mean of both forces; None where they are not near."""
    before, after = first.frame, second.frame
    if before.pbc != after.pbc or not np.array_equal(before.numbers, after.numbers):
        return None
    if before.fields or after.fields or not np.allclose(before.cell, after.cell, atol=1e-6):
        return None
    moved = after.positions - before.positions
    if before.pbc:
        scaled = np.linalg.solve(before.cell.T, moved.T).T
        moved = (scaled - np.round(scaled)) @ before.cell
    if float(np.abs(moved).max(initial=0.0)) > NEAR:
        return None
    return -float(((first.labels.forces + second.labels.forces) / 2 * moved).sum())
