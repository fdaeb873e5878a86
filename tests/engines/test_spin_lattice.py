from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamflow.data import Frame
from lamflow.data.fields import turned
from lamflow.engines.protocol import LabelFailure
from lamflow.engines.registry import evaluator, labeler
from lamflow.engines.spin_lattice import SpinLatticeLabels, iron_frames
from lamflow.errors import EngineError

SETTINGS = SpinLatticeLabels(engine="spin-lattice")
ROTATION = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]


def test_frames_that_have_no_moments_are_refused_by_name(tmp_path: Path) -> None:
    iron = iron_frames()[0]
    with pytest.raises(EngineError, match="frame 1: its Fe has no magnetic moments; give its structure set `spins`"):
        evaluator(SETTINGS).evaluate([iron, iron.with_fields(spin=None)])
    good, bad = labeler(SETTINGS).label([iron, iron.with_fields(spin=None)], tmp_path)
    assert not isinstance(good, LabelFailure)
    assert isinstance(bad, LabelFailure)
    assert bad.kind == "refused"


def test_the_energy_knows_no_direction_of_moments() -> None:
    frame = iron_frames()[0]
    spins = np.asarray(frame.spins)
    others = [frame.with_fields(spin=-spins), frame.with_fields(spin=spins @ ROTATION)]
    one, back, rotated = evaluator(SETTINGS).evaluate([frame, *others])
    assert one.force_mag is not None
    for other, expected in ((back, -one.force_mag), (rotated, one.force_mag @ ROTATION)):
        assert abs(other.energy - one.energy) < 1e-9
        np.testing.assert_allclose(other.forces, one.forces, atol=1e-9)
        np.testing.assert_allclose(np.asarray(other.force_mag), expected, atol=1e-9)


def test_everything_turns_with_the_cell() -> None:
    frame = iron_frames()[1]
    fields = turned(frame.fields, ROTATION)
    one, other = evaluator(SETTINGS).evaluate(
        [frame, Frame(frame.numbers, frame.positions @ ROTATION, frame.cell @ ROTATION, True, fields)]
    )
    for name, value in turned(one.fields, ROTATION).items():
        np.testing.assert_allclose(other.fields[name], value, atol=1e-9)


def test_iron_is_a_ferromagnet_with_moments_like_those_of_iron() -> None:
    frame = iron_frames()[0]
    alternating = np.where(np.arange(frame.natoms) % 2, -1.0, 1.0)
    energies = {
        (moment, order): evaluator(SETTINGS).evaluate(
            [frame.with_fields(spin=moment * np.outer(sign, (0, 0, 1)))]
        )[0].energy
        for moment in (0.0, 1.0, 1.6, 2.2, 2.8, 4.0)
        for order, sign in (("fm", np.ones(frame.natoms)), ("afm", alternating))
    }  # fmt: skip
    best = min(energies, key=lambda case: energies[case])
    assert best == (2.2, "fm"), energies
