"""Crystals that move: what they conserve, how large they are, and what is said when they explode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lamflow.data import Frame, Labels
from lamflow.science.properties.motion import block_mean, frames
from lamflow.science.properties.sample import Crystal
from lamflow.science.properties.simulated import by_frames, radial_distribution, simulated
from tests.science.properties.emt import crystal, evaluate, found, value

SETTINGS: dict[str, Any] = {
    "ensemble": "nve", "temperatures": [300.0], "pressure": 0.0, "time": 0.4, "timestep": 0.004, "equilibration": 0.3,
    "repeats": 1, "size": 5.0,
}  # fmt: skip


def test_verlet_conserves_energy_and_a_crystal_keeps_its_neighbours() -> None:
    result = found("dynamics", crystal("Cu"), **SETTINGS)
    assert abs(value(result, "energy_drift", "300 K")) < 0.1
    assert value(result, "energy_fluctuation", "300 K") < 0.1
    assert value(result, "stable_time", "300 K") == pytest.approx(0.4)
    assert value(result, "rdf_peak", "300 K") == pytest.approx(3.59 / np.sqrt(2), rel=0.03)
    assert 0.03 < value(result, "displacement", "300 K") < 0.3
    assert [curve.name for curve in result.curves] == ["total energy", "rdf"]


@pytest.mark.slow
def test_a_hotter_crystal_is_larger() -> None:
    settings = {**SETTINGS, "ensemble": "npt", "temperatures": [100.0, 900.0], "time": 1.0}
    result = found("dynamics", crystal("Cu"), **settings)
    cold, hot = (next(v for v in result.values if v.name == "a" and v.where == t) for t in ("100 K", "900 K"))
    assert 3.59 < cold.value < hot.value < 3.75
    assert cold.uncertainty is not None
    assert 0 < cold.uncertainty < 0.03


def test_a_run_that_explodes_says_when() -> None:
    settings = {**SETTINGS, "ensemble": "langevin", "temperatures": [300.0, 20_000.0], "timestep": 0.02, "time": 2.0}
    result = found("dynamics", crystal("Cu"), **settings)
    assert value(result, "stable_time", "20000 K") < 2.0
    [note] = [note for note in result.notes if note.startswith("20000 K")]
    assert "20000 K: the run exploded after " in note


@pytest.mark.slow
def test_a_run_is_the_same_alone_and_among_others() -> None:
    settings = {**SETTINGS, "time": 0.03, "timestep": 0.001, "temperatures": [300.0, 600.0], "ensemble": "langevin"}
    samples = frames(crystal("Cu"), **settings)
    together = simulated(samples, by_frames(evaluate), len)
    [alone] = simulated(samples[1:], by_frames(evaluate), len)
    assert alone.series["total"] == pytest.approx(together[1].series["total"], rel=1e-9)


def test_what_cannot_move_is_said() -> None:
    atom = Crystal("atom", Frame(np.array([29]), np.zeros((1, 3)), np.eye(3), False), 0.0)
    with pytest.raises(ValueError, match="npt needs a volume"):
        frames(atom, **{**SETTINGS, "ensemble": "npt"})
    with pytest.raises(ValueError, match="at least two atoms"):
        frames(atom, **SETTINGS)


def test_an_ideal_gas_has_a_flat_distribution() -> None:
    rng = np.random.default_rng(3)
    found = radial_distribution(rng.uniform(0, 14, size=(20, 150, 3)), np.tile(14 * np.eye(3), (20, 1, 1)))
    assert np.reshape(found["rdf"], (5, -1))[:, 40:].mean() == pytest.approx(1 - 1 / 150, rel=0.02)


def test_means_of_blocks_have_the_error_of_their_scatter() -> None:
    rng = np.random.default_rng(1)
    errors = np.array([block_mean([rng.normal(size=500)]) for _ in range(200)])
    assert errors[:, 1].mean() == pytest.approx(errors[:, 0].std(), rel=0.15)


def test_an_engine_without_stress_is_a_reason() -> None:
    def blind(of: Sequence[Frame]) -> list[Labels]:
        return [replace(labels, virial=None) for labels in evaluate(of)]

    samples = frames(crystal("Cu"), **{**SETTINGS, "ensemble": "npt"})
    [answer] = simulated(samples, by_frames(blind), len)
    assert answer.failure == "the engine gives no stress (virial), which ensemble npt needs"
