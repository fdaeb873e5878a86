from __future__ import annotations

import numpy as np

from lamflow.science.spin_dynamics import MAGNETON, SpinDynamics
from lamflow.units import BOLTZMANN


def test_moments_in_a_well_have_the_temperature_that_they_were_given() -> None:
    """⟨s²⟩ = 3kT/c of a moment with the energy cs²/2, each system with a temperature of its own."""
    stiffness, temperature = 2.0, np.array([300.0, 1200.0])
    dynamics = SpinDynamics(temperature, mobility=50.0, timestep=0.002, seeds=[1, 2])
    spins, numbers, seen = np.ones((2, 200, 3)), np.arange(2), []
    for step in range(1500):
        spins = dynamics.step(spins, -stiffness * spins, numbers)
        if step > 100:
            seen.append((spins**2).sum(axis=-1).mean(axis=1))
    expected = 3 * BOLTZMANN * temperature / stiffness
    np.testing.assert_allclose(np.mean(seen, axis=0), expected, rtol=0.02)


def test_moments_of_fixed_length_align_with_a_field_as_langevin_said() -> None:
    """⟨cos θ⟩ = coth x - 1/x with x = mB/kT (P. Langevin, 1905)."""
    moment, field, temperature = 2.0, 300.0, 200.0
    dynamics = SpinDynamics(
        np.array([temperature]), mobility=400.0, timestep=0.002, seeds=[1], fixed_length=True,
        external=np.array([0, 0, field]),
    )  # fmt: skip
    spins, seen = np.tile([moment, 0.0, 0.0], (1, 400, 1)), []
    for step in range(3000):
        spins = dynamics.step(spins, np.zeros_like(spins), np.arange(1))
        if step > 500:
            seen.append(spins[0, :, 2].mean() / moment)
    x = moment * MAGNETON * field / (BOLTZMANN * temperature)
    np.testing.assert_allclose(np.linalg.norm(spins, axis=-1), moment)
    assert abs(np.mean(seen) - (1 / np.tanh(x) - 1 / x)) < 0.02


def test_what_happens_to_a_system_does_not_depend_on_others() -> None:
    start = np.random.default_rng(0).normal(size=(2, 5, 3))
    start[:, 3] = 0.0
    both = SpinDynamics(np.array([300.0, 600.0]), 10.0, 0.001, seeds=[1, 2])
    alone = SpinDynamics(np.array([300.0, 600.0]), 10.0, 0.001, seeds=[1, 2])
    together, single = start.copy(), start[1:].copy()
    for _ in range(5):
        together = both.step(together, -together, np.arange(2))
        single = alone.step(single, -single, np.array([1]))
    np.testing.assert_array_equal(together[1], single[0])
    assert not together[:, 3].any(), "an atom without a moment got one"
