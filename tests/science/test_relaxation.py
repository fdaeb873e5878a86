from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import UnitCellFilter
from ase.optimize import BFGS

from lamflow.config.engines import Relaxation
from lamflow.data import Frame, Labels
from lamflow.engines.emt import Emt
from lamflow.engines.registry import evaluator
from lamflow.errors import EngineError
from lamflow.science.relaxation import Freedom, mean_of, relax
from lamflow.units import BAR_IN_EV_PER_A3


@pytest.fixture
def crystals() -> list[Frame]:
    """Distorted crystals of several sizes and compositions."""
    made = []
    for seed, (size, gold) in enumerate(((1, 0), (2, 1), (2, 3), (3, 2))):
        atoms = bulk("Cu", cubic=True, a=3.7) * (size, 1, 1)
        atoms.numbers[:gold] = 79
        atoms.rattle(0.06, seed=seed)
        made.append(Frame.from_ase(atoms))
    return made


def emt(frames: Sequence[Frame]) -> list[Labels]:
    return evaluator(Emt()).evaluate(frames)


@pytest.mark.parametrize(("method", "pressure"), [("lbfgs", 0.0), ("lbfgs", 200_000.0), ("fire", 0.0)])
def test_it_ends_where_ase_does(crystals: list[Frame], method: str, pressure: float) -> None:
    settings = Relaxation.model_validate({"method": method, "steps": 1500, "fmax": 0.002})
    outside = pressure * BAR_IN_EV_PER_A3
    for frame, path in zip(crystals, relax(crystals, emt, settings, outside), strict=True):
        atoms = frame.to_ase()
        atoms.calc = EMT()
        BFGS(UnitCellFilter(atoms, scalar_pressure=outside), logfile=None).run(fmax=0.002, steps=500)
        enthalpy = path.labels.energy + outside * abs(np.linalg.det(path.frame.cell))
        expected = atoms.get_potential_energy() + outside * atoms.get_volume()
        assert path.converged
        assert enthalpy / frame.natoms == pytest.approx(expected / frame.natoms, abs=2e-3)
        assert path.labels.virial is not None
        stress = path.labels.virial / abs(np.linalg.det(path.frame.cell))
        assert stress == pytest.approx(outside * np.eye(3), abs=2e-3)


def test_the_cell_may_be_kept(crystals: list[Frame]) -> None:
    [path] = relax(crystals[:1], emt, Relaxation(cell=False, steps=300))
    assert path.converged
    assert (path.steps.cells == crystals[0].cell).all()


def test_one_that_explodes_does_not_touch_the_others(crystals: list[Frame]) -> None:
    alone = relax(crystals, emt, Relaxation(steps=20))
    squeezed = Frame(crystals[0].numbers, crystals[0].positions * 0.2, crystals[0].cell * 0.2, True)
    together = relax([squeezed, *crystals], emt, Relaxation(steps=20))
    assert together[0].failure is not None
    assert together[0].relaxed.labels is None
    for one, other in zip(alone, together[1:], strict=True):
        assert (one.frame.positions == other.frame.positions).all()


def test_one_that_cannot_be_evaluated_does_not_touch_the_others(crystals: list[Frame]) -> None:
    iron = Frame(np.full(4, 26), crystals[0].positions, crystals[0].cell, True)
    found = relax([crystals[0], iron], emt, Relaxation(steps=5))
    assert found[0].failure is None
    assert "Fe" in str(found[1].failure)
    with pytest.raises(EngineError, match=r"no structure could be evaluated.*Fe"):
        relax([iron], emt, Relaxation(steps=5))


def test_the_mean_of_a_committee(crystals: list[Frame]) -> None:
    def twice(frames: Sequence[Frame]) -> list[Labels]:
        return [Labels(2 * each.energy, 2 * each.forces, None) for each in emt(frames)]

    [found], [one] = mean_of([emt, twice])(crystals[:1]), emt(crystals[:1])
    assert found.energy == pytest.approx(1.5 * one.energy)
    assert found.forces == pytest.approx(1.5 * one.forces)
    assert found.virial is None
    with pytest.raises(EngineError, match=r"relax\.cell"):
        relax(crystals[:1], mean_of([emt, twice]), Relaxation())


def test_batches_shrink_as_structures_converge(crystals: list[Frame]) -> None:
    sizes: list[int] = []

    def counted(frames: Sequence[Frame]) -> list[Labels]:
        sizes.append(len(frames))
        return emt(frames)

    relax(crystals, counted, Relaxation(steps=200))
    assert sizes[0] == len(crystals)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < len(crystals)


@pytest.mark.parametrize("method", ["lbfgs", "fire"])
def test_atoms_cell_and_moments_relax_together(method: str) -> None:
    """Moments near a ferromagnet become one, of the length that is best; with fixed lengths they only turn."""
    from lamflow.engines.spin_lattice import SpinLatticeLabels

    iron = evaluator(SpinLatticeLabels(engine="spin-lattice")).evaluate
    rng = np.random.default_rng(2)
    start = Frame.from_ase(bulk("Fe", "bcc", a=2.86, cubic=True).repeat(2))
    start = start.with_fields(spin=np.array([0, 0, 1.8]) + rng.normal(scale=0.4, size=(start.natoms, 3)))
    settings = Relaxation.model_validate({"method": method, "steps": 600, "fmax": 1e-3})
    still = np.zeros((start.natoms, 3))
    frees = [Freedom(still, "none", "all"), Freedom(still, "none", "directions"), Freedom(moments="all")]
    free, turned, whole = relax([start] * 3, iron, settings, free=frees)
    for path in (free, turned, whole):
        assert path.converged
        spins = np.asarray(path.frame.spins)
        lengths = np.linalg.norm(spins, axis=1)
        assert np.linalg.norm(spins.sum(axis=0)) == pytest.approx(lengths.sum(), rel=1e-4)
    assert (free.steps.positions == start.positions).all()
    assert np.ptp(np.linalg.norm(np.asarray(free.frame.spins), axis=1)) < 1e-2
    np.testing.assert_allclose(
        np.linalg.norm(np.asarray(turned.frame.spins), axis=1), np.linalg.norm(np.asarray(start.spins), axis=1)
    )
    assert whole.labels.energy < free.labels.energy < turned.labels.energy
