"""Mistakes in labeled data that the numbers give away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from lamflow.data import Frame, LabeledFrame
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.science.plausibility import reference_warnings, summarize
from lamflow.units import BOHR, HARTREE


@pytest.fixture
def labeled() -> list[LabeledFrame]:
    """Twelve frames of 32 copper atoms that moved a little from one to the next, in cells of several sizes."""
    rng = np.random.default_rng(3)
    frames = []
    for scale in (1.0, 1.03):
        atoms = bulk("Cu", "fcc", a=3.6 * scale, cubic=True).repeat((2, 2, 2))
        for _ in range(6):
            atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
            frames.append(Frame.from_ase(atoms))
    labels = EmtEvaluator(Emt()).evaluate(frames)
    return [LabeledFrame(frame, label) for frame, label in zip(frames, labels, strict=True)]


def test_good_data_are_summarised_without_a_warning(labeled: list[LabeledFrame]) -> None:
    summary = summarize(labeled, "cu.extxyz")
    assert summary.warnings == []
    assert summary.frames == 12
    assert summary.formulas == {"Cu32": 12}
    assert summary.natoms == (32, 32)
    energies = [item.labels.energy / 32 for item in labeled]
    assert summary.energy == (min(energies), max(energies))
    assert summary.energies == {"Cu": summary.energy}
    assert summary.max_force == pytest.approx(max(np.linalg.norm(item.labels.forces, axis=1).max() for item in labeled))
    stresses = [item.to_ase_pressure for item in map(Pressure, labeled)]
    assert summary.pressure == pytest.approx((min(stresses), max(stresses)))
    distances = [item.frame.to_ase().get_all_distances(mic=True) + 9 * np.eye(32) for item in labeled]
    assert summary.smallest_distance == pytest.approx(min(distance.min() for distance in distances))
    assert summary.missing == {}


class Pressure:
    """The pressure in GPa by ASE's own calculator."""

    def __init__(self, item: LabeledFrame) -> None:
        from ase.calculators.emt import EMT
        from ase.units import GPa

        atoms = item.frame.to_ase()
        atoms.calc = EMT()
        self.to_ase_pressure = -float(atoms.get_stress(voigt=False).trace()) / 3 / GPa


def energies(factor: float) -> Callable[[LabeledFrame], LabeledFrame]:
    return lambda item: replace(item, labels=replace(item.labels, energy=item.labels.energy * factor))


def forces(factor: float) -> Callable[[LabeledFrame], LabeledFrame]:
    return lambda item: replace(item, labels=replace(item.labels, forces=item.labels.forces * factor))


def virial(factor: float) -> Callable[[LabeledFrame], LabeledFrame]:
    def change(item: LabeledFrame) -> LabeledFrame:
        assert item.labels.virial is not None
        return replace(item, labels=replace(item.labels, virial=item.labels.virial * factor))

    return change


def fractional(item: LabeledFrame) -> LabeledFrame:
    return replace(item, frame=replace(item.frame, positions=item.frame.positions @ np.linalg.inv(item.frame.cell)))


def nanometres(item: LabeledFrame) -> LabeledFrame:
    return replace(item, frame=replace(item.frame, positions=item.frame.positions / 10, cell=item.frame.cell / 10))


def no_forces(item: LabeledFrame) -> LabeledFrame:
    return replace(item, labels=replace(item.labels, forces=np.zeros_like(item.labels.forces)))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (fractional, "the coordinates may be fractional"),
        (nanometres, "lengths may be in nm"),
        (energies(1 / HARTREE), "the energies may be in Hartree"),
        (energies(1 / 32), "the energies may be per atom"),
        (energies(23.0605), "the energies may be in kcal/mol"),
        (forces(-1), "the forces may have the other sign"),
        (forces(BOHR / HARTREE), "the forces may be in Hartree/Bohr"),
        (forces(3), "one of them may have another unit"),
        (forces(1000), "they may have another unit"),
        (virial(-1), "the stress may have the other sign"),
        (virial(1602.18), "the stress may be in kbar or GPa"),
        (no_forces, "the forces may be missing"),
    ],
)
def test_the_likely_mistake_is_named(
    labeled: list[LabeledFrame], change: Callable[[LabeledFrame], LabeledFrame], expected: str
) -> None:
    warnings = summarize([change(item) for item in labeled], "cu.extxyz").warnings
    assert any(expected in warning for warning in warnings), warnings


def test_labels_that_are_missing_are_counted(labeled: list[LabeledFrame]) -> None:
    without = [replace(item, labels=replace(item.labels, virial=None)) for item in labeled]
    assert summarize([*labeled[:2], *without[2:]], "x").missing == {"virial": 10}
    summary = summarize(without, "x")
    assert summary.pressure is None
    assert summary.missing == {"virial": 12}


def test_sources_with_another_reference(labeled: list[LabeledFrame]) -> None:
    shifted = [replace(item, labels=replace(item.labels, energy=item.labels.energy + 32 * 3.0)) for item in labeled]
    here, there = summarize(labeled, "a"), summarize(shifted, "b")
    [warning] = reference_warnings([here, there])
    assert "a and b: the energies of Cu are" in warning
    assert reference_warnings([here, here.model_copy(update={"source": "c"})]) == []
    assert reference_warnings([here, there.model_copy(update={"head": "other"})]) == [], (
        "heads have levels of their own"
    )


def test_a_single_atom_has_no_distance() -> None:
    from lamflow.data import Labels

    frame = Frame(np.array([29]), np.zeros((1, 3)), np.zeros((3, 3)), pbc=False)
    summary = summarize([LabeledFrame(frame, Labels(-1.0, np.zeros((1, 3))))], "atom")
    assert summary.smallest_distance is None
    assert summary.warnings == []
