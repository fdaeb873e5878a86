"""The pre-trained model beside learning curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from lamflow.config.engines import TrainerSettings
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.engines.deepmd.settings import DeepmdTraining
from lamflow.engines.pair import PairTraining
from lamflow.ops.fold_models import SmallModels
from lamflow.ops.learning_curve import _before
from lamflow.ops.operation import Context
from tests.real_models import real_dpa4


def shaken(count: int) -> list[LabeledFrame]:
    generator, found = np.random.default_rng(0), []
    for _ in range(count):
        atoms = bulk("Cu", "fcc", a=3.6 + 0.1 * generator.random(), cubic=True)
        atoms.symbols[0] = "Au"
        atoms.positions += generator.normal(scale=0.05, size=(4, 3))
        atoms.calc = EMT()
        found.append(LabeledFrame(Frame.from_ase(atoms), Labels(atoms.get_potential_energy(), atoms.get_forces())))
    return found


def models(train: TrainerSettings, folder: Path) -> SmallModels:
    return SmallModels(train, ["Cu", "Au"], "deepmd/npy", Context(0, 1, "curve", folder, folder, folder))


def test_what_starts_from_random_weights_has_no_baseline(tmp_path: Path) -> None:
    frames = shaken(4)
    assert _before(models(PairTraining(engine="pair"), tmp_path), "alloys", frames, frames) == []


@pytest.mark.deepmd
@pytest.mark.slow
def test_the_pretrained_model_is_judged_with_its_energies_shifted(tmp_path: Path) -> None:
    settings = DeepmdTraining.model_validate(
        {
            "engine": "deepmd",
            "pretrained": {"file": real_dpa4()},
            "phases": [{"start_from": "finetune"}],
            "steps": 10,
            "input": {},
        }
    )
    frames = shaken(24)
    [point] = _before(models(settings, tmp_path), "alloys", frames[:16], frames[16:])
    assert (point.line, point.head, point.frames) == ("zero_shot", "alloys", 0)
    assert point.force_rmse < 0.5
    assert point.energy_rmse < 0.2, "EMT's energies have another reference, by some eV/atom"
