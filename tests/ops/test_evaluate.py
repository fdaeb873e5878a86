"""How energies are judged whose zero is that of another method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.dataset import Item, Origin
from lamflow.engines import pair, registry
from lamflow.engines.deepmd.settings import DeepmdLabels
from lamflow.engines.pair import PairPotential
from lamflow.ops.evaluate import _judge_head, _strangers
from lamflow.ops.predict_frames import _ask
from lamflow.science.cleaning.describe import features
from tests.real_models import real_dpa4


def test_few_frames_make_no_model_perfect() -> None:
    """Energies with a noise of 20 eV an atom on six alloys of six elements."""
    elements = ["Cu", "Ag", "Au", "Ni", "Pd", "Pt"]
    rng = np.random.default_rng(0)
    answers = []
    for number in range(6):
        atoms = bulk("Cu", cubic=True).repeat((2, 1, 1))
        atoms.symbols[:] = rng.choice(elements, 8)
        frame, forces = Frame.from_ase(atoms), np.zeros((8, 3))
        labeled = LabeledFrame(frame, Labels(float(160 * rng.normal()), forces))
        origin = Origin(iteration=0, source=f"x#{number}")
        answers.append(("heldout", Item(labeled, origin), Labels(0.0, forces)))
    head = _judge_head("", answers, elements)
    assert head.overall.energy_rmse > 10
    assert head.notes[-1].startswith(
        "nothing tells the shift of energies of 6 of 6 frames, so energies stay as they are"
    )
    train = ("train", answers[0][1], answers[0][2])
    head = _judge_head("", [train, *answers], elements)
    assert head.notes == ["nothing tells the shift of energies of 5 of 6 frames, so their energies do not count"]
    assert head.overall.energy_rmse == pytest.approx(0, abs=1e-9), "the one with the composition of the start data"
    head = _judge_head("", [answers[0], ("heldout", answers[0][1], answers[0][2])], elements)
    assert head.overall.energy_rmse == pytest.approx(0, abs=1e-9), "one composition twice with one energy"
    assert head.notes == ["energies are shifted to the frames that are judged, each by the shift of the others"]


@pytest.mark.deepmd
def test_frames_with_elements_that_the_model_has_never_seen_are_counted() -> None:
    settings = DeepmdLabels.model_validate({"engine": "deepmd", "model": {"file": str(real_dpa4())}})
    known, strange = (Frame.from_ase(bulk(symbol, "fcc", a=4.0)) for symbol in ("Cu", "Kr"))
    assert _strangers(settings, [known]) == []
    assert _strangers(settings, [known, strange, strange])[0].startswith(
        "2 of 3 frames have Kr, which the model has never seen"
    )
    assert _strangers(None, [strange]) == []


@pytest.mark.deepmd
def test_cleaning_does_not_ask_a_model_about_elements_that_it_has_never_seen() -> None:
    pytest.importorskip("vesin", reason="cleaning needs vesin: pip install 'lamflow[cleaning]'")
    settings = DeepmdLabels.model_validate({"engine": "deepmd", "model": {"file": str(real_dpa4())}})
    labeled = [
        LabeledFrame(Frame.from_ase(bulk(symbol, "fcc", a=4.0)), Labels(-3.0, np.zeros((1, 3))))
        for symbol in ("Cu", "Kr")
    ]
    said = _ask(settings, labeled, np.arange(2), features(labeled, np.arange(2)))
    assert np.isfinite(said.energy).tolist() == [True, False]
    assert "Cu" in (registry.known_elements(settings) or ())


def test_a_pair_potential_knows_the_elements_of_its_file(tmp_path: Path) -> None:
    """Without a file nobody knows."""
    example = pair._example(tmp_path)
    settings = PairPotential.model_validate({"engine": "pair", **example.settings})
    assert registry.known_elements(settings) == {"Cu"}
