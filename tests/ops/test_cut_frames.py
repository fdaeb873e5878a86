"""Large frames are cut before they are labeled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from lamflow.config import parse
from lamflow.data import Frame
from lamflow.data.dataset import Origin, frame_key
from lamflow.data.selected import Chosen
from lamflow.ops.committees import Committees
from lamflow.ops.cut_frames import cut_frames
from lamflow.policy.candidates import ChosenFrame
from tests.conftest import STUDY
from tests.policy.test_committee import Scaled

CUT = STUDY.replace("limit: 6", "limit: 6\n  cut_out: {above: 100, radius: 3.5}")


def chosen(frame: Frame) -> ChosenFrame:
    origin = Origin(iteration=1, source="run 1", step=40, deviation=0.7, head="")
    why = Chosen(hash=frame.content_hash(), natoms=frame.natoms, group="0", rule="fixed window", origin=origin)
    return ChosenFrame(frame, Scaled(1.0).evaluate([frame])[0].forces, why)


@pytest.fixture
def committees() -> Committees:
    """Two models that disagree the more the larger a force is."""
    made = Committees.__new__(Committees)
    made.study, made.folder = parse(CUT), Path()
    made._committees = {"": [Scaled(0.9), Scaled(1.1)]}  # type: ignore[list-item]
    made._teachers = {}
    return made


def test_large_frames_become_surroundings_of_their_least_certain_atom(committees: Committees) -> None:
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True) * (5, 5, 5)
    atoms.positions[200] += [0.5, 0.3, 0.0]
    large, small = chosen(Frame.from_ase(atoms)), chosen(Frame.from_ase(bulk("Cu", "fcc", a=3.6, cubic=True)))
    [cut, whole], dropped = cut_frames(committees.study, committees, set(), [large, small])
    assert (whole, dropped) == (small, {})
    assert cut.frame.natoms == cut.why.natoms < 200
    assert cut.why.hash == cut.frame.content_hash()
    assert cut.why.rule.startswith(f"fixed window; {cut.frame.natoms} of 500 atoms, around atom ")
    assert cut.why.origin == large.why.origin
    [predicted] = np.flatnonzero(~np.isnan(cut.forces).any(axis=1))
    true = Scaled(1.0).evaluate([cut.frame])[0].forces
    atom = int(cut.why.rule.split()[-1])
    np.testing.assert_allclose(cut.forces[predicted], large.forces[atom])
    np.testing.assert_allclose(true[predicted], large.forces[atom], rtol=0.01, atol=1e-6)
    key = frame_key(cut.why.hash, "")
    kept, dropped = cut_frames(committees.study, committees, {key}, [large])
    assert (kept, dropped) == ([], {"cut-out: in the data already": 1})


def test_what_the_filters_refuse_is_counted(committees: Committees) -> None:
    study = parse(CUT.replace("radius: 3.5}", "radius: 3.5}\n  filters: {volume_per_atom: [2, 5]}"), files=False)
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True) * (5, 5, 5)
    kept, dropped = cut_frames(study, committees, set(), [chosen(Frame.from_ase(atoms))])
    assert (kept, dropped) == ([], {"cut-out: volume per atom out of range": 1})
