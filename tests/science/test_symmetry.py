"""What the space group of a crystal keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from lamflow.config.properties import Relaxing
from lamflow.data import Frame, Labels
from lamflow.science.properties.cells import space_group
from lamflow.science.relaxation import Freedom, relax
from lamflow.science.symmetry import SpaceGroup
from tests.science.properties.emt import evaluate

HEXAGONAL = Frame.from_ase(bulk("Cu", "hcp", a=2.6, c=4.4))


def test_only_what_is_alike_everywhere_is_kept() -> None:
    group = SpaceGroup.of(HEXAGONAL)
    rng = np.random.default_rng(2)
    assert np.abs(group.vectors(rng.normal(size=(2, 3)))).max() < 1e-9
    kept = group.tensor(rng.normal(size=(3, 3)))
    assert np.abs(kept - np.diag([kept[0, 0], kept[0, 0], kept[2, 2]])).max() < 1e-9


@pytest.mark.parametrize("kept", [True, False])
def test_a_potential_with_errors_does_not_take_a_crystal_apart(kept: bool) -> None:
    noise = np.random.default_rng(1).normal(scale=0.3, size=(2, 3))

    def rough(frames: Sequence[Frame]) -> list[Labels]:
        return [
            replace(one, forces=one.forces + noise - noise.mean(axis=0), virial=one.virial + np.diag([0.3, 0.1, 0.2]))
            for one in evaluate(frames)
        ]

    group = SpaceGroup.of(HEXAGONAL) if kept else None
    [path] = relax([HEXAGONAL], rough, Relaxing(fmax=0.01, steps=60), free=[Freedom(group=group)])
    assert (space_group(path.frame) == "P6_3/mmc (194)") == kept
    assert path.frame.volume != pytest.approx(HEXAGONAL.volume, rel=1e-3)
    assert path.converged or not kept
