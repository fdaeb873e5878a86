"""Properties of magnets by the spin-lattice, whose exchange constants are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from ase.build import bulk

from lamflow.config.properties import Relaxing
from lamflow.data import Frame, Labels
from lamflow.data.properties import Reduced
from lamflow.errors import EngineError
from lamflow.science.properties.magnets import commensurate
from lamflow.science.properties.sample import Crystal
from lamflow.science.properties.table import PROPERTIES, answered
from lamflow.science.spin_bonds import StillAtoms
from lamflow.science.spin_lattice import SpinLattice
from tests.science.properties.emt import value

IRON = Frame.from_ase(bulk("Fe", "bcc", a=2.86, cubic=True)).with_fields(spin=np.tile([0.0, 0.0, 2.2], (2, 1)))
CRYSTAL = Crystal("iron", IRON, 0.0, seed=3)
MODEL = SpinLattice()
SHELLS = 2.86 * np.array([np.sqrt(3) / 2, 1, np.sqrt(2)])
NEIGHBORS = np.array([8, 6, 12])


def found(name: str, model: SpinLattice = MODEL, crystal: Crystal = CRYSTAL, **settings: Any) -> Reduced:
    atoms, kind = StillAtoms(model.bonds), PROPERTIES[name]

    def evaluate(frames: Sequence[Frame]) -> list[Labels]:
        return atoms.labels(frames, [frame.spins for frame in frames])

    return kind.reduce(crystal, answered(kind.frames(crystal, **settings), evaluate, Relaxing(fmax=1e-5), len))


def exchange() -> np.ndarray:
    """Of the three shells within the cutoff, eV/μB²."""
    return MODEL._fade(SHELLS)[0] * MODEL.exchange * np.exp(-(SHELLS - MODEL.distance) / MODEL.decay)


def test_orders_are_those_of_the_exchange_constants() -> None:
    as_it_is = found("magnetic-order", moments={}, wave_vectors=[(0, 0, 1)], relax=False)
    j1 = exchange()[0]
    assert value(as_it_is, "E", "antiferromagnetic [0 0 1]") == pytest.approx(8 * j1 * 2.2**2, rel=1e-9)
    assert value(as_it_is, "E", "disordered") > 0
    relaxed = found("magnetic-order", moments={"Fe": 2.0}, wave_vectors=[(0, 0, 1), (0, 0, 0.5)], relax=True)
    linear, quartic = MODEL.landau
    for order, sign in (("ferromagnetic", 1.0), ("antiferromagnetic [0 0 1]", -1.0)):
        field = float((exchange() * NEIGHBORS) @ [sign, 1.0, 1.0])
        length = np.sqrt((field - 2 * linear) / (4 * quartic))
        assert value(relaxed, "moment_Fe", order) == pytest.approx(length, rel=1e-4)
    assert 0 < value(relaxed, "E", "antiferromagnetic [0 0 1]") < value(as_it_is, "E", "antiferromagnetic [0 0 1]")
    assert relaxed.notes == ["the lowest order is ferromagnetic"]


def test_exchange_constants_and_the_mean_field_curie_point() -> None:
    settings: dict[str, Any] = {"moments": {}, "cutoff": 4.5, "size": 8.0, "frames": 12}
    for tilt in (None, 30.0):
        result = found("exchange", tilt=tilt, **settings)
        for shell, constant in enumerate(exchange(), 1):
            assert value(result, "J", f"shell {shell}") == pytest.approx(1000 * constant, rel=1e-6)
    mean_field = float(exchange() @ NEIGHBORS) * 2.2**2 / 3 / 8.617333262e-5
    assert value(result, "T_C", "mean field") == pytest.approx(mean_field, rel=1e-6)


def test_small_spirals_have_the_stiffness_of_the_exchange_constants() -> None:
    """D = (2g/s²) s² Σ J r² / 12 a moment, from E(q) = ½ Σ J s² (1 - cos qr)."""
    per_moment = float(exchange() @ (NEIGHBORS * SHELLS**2)) * 2.2**2 / 12
    for points, off in ((8, 5e-3), (20, 2e-4)):
        result = found("spin-spiral", moments={}, wave_vector=(0, 0, 1), points=points)
        assert value(result, "D") == pytest.approx(1000 * 4 * per_moment / 2.2, rel=off)
        [stiffness] = [one for one in result.values if one.name == "D"]
        assert stiffness.uncertainty is not None
        assert abs(stiffness.value - 1000 * 4 * per_moment / 2.2) < stiffness.uncertainty < 0.03 * stiffness.value
    assert value(result, "q_min") == 0
    assert np.all(np.diff(result.curves[0].y[:10]) > 0)


def test_cumulants_cross_at_a_temperature_that_follows_the_exchange() -> None:
    """Weaker exchange orders at lower temperatures; moments fall."""
    settings: dict[str, Any] = {
        "moments": {}, "sizes": (2, 3), "wave_vector": (0, 0, 0), "repeats": 6, "steps": 400, "equilibration": 100,
        "timestep": 0.002, "mobility": 200.0, "fixed_length": True,
    }  # fmt: skip
    strong = found("curie", temperatures=[500.0, 900.0, 1300.0, 1700.0], **settings)
    weak = found("curie", SpinLattice(exchange=0.0025), temperatures=[250.0, 450.0, 650.0, 850.0], **settings)
    point = value(strong, "T_C")
    assert 500 < point < 1700
    assert value(weak, "T_C") == pytest.approx(point / 2, rel=0.25)
    lengths = [value(strong, "m", f"{temperature} K") for temperature in (500, 900, 1300, 1700)]
    assert lengths == sorted(lengths, reverse=True)
    assert {curve.name for curve in strong.curves} == {"magnetisation", "binder"}


def test_what_is_no_magnet_says_so() -> None:
    bare = Crystal("iron", IRON.with_fields(spin=None), 0.0)
    with pytest.raises(ValueError, match="it has no magnetic moments; give `moments`, or its structure set `spins`"):
        PROPERTIES["spin-spiral"].frames(bare, moments={}, wave_vector=(0, 0, 1), points=4)
    with pytest.raises(ValueError, match="moments: it has no Ni, only Fe"):
        PROPERTIES["spin-spiral"].frames(CRYSTAL, moments={"Ni": 1.0}, wave_vector=(0, 0, 1), points=4)
    with pytest.raises(ValueError, match=r"no supercell of up to 24 cells along an axis fits \[0.017\]"):
        commensurate(np.array([[0, 0, 0.017]]))


def test_a_model_without_magnetic_forces_and_steps_that_are_too_long_are_said() -> None:
    def silent(frames: Sequence[Frame]) -> list[Labels]:
        return [Labels(0.0, np.zeros((frame.natoms, 3))) for frame in frames]

    samples = PROPERTIES["magnetic-order"].frames(CRYSTAL, moments={}, wave_vectors=[(0, 0, 1)], relax=True)
    [answer, *_] = answered(samples, silent, Relaxing(), len)
    assert answer.failure == "the model gives no magnetic forces, so moments cannot be relaxed"
    settings: dict[str, Any] = {
        "moments": {}, "sizes": (1, 2), "wave_vector": (0, 0, 0), "repeats": 2, "steps": 20, "equilibration": 1,
        "timestep": 0.1, "mobility": 100.0, "fixed_length": False, "temperatures": [300.0, 600.0, 900.0],
    }  # fmt: skip
    with pytest.raises((ValueError, EngineError), match="lower timestep or mobility"):
        found("curie", **settings)
