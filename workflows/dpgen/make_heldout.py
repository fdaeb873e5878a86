"""Writes cu-heldout.extxyz: copper at rising temperature by EMT, the truth that the quickstart is judged by.

Every 200 fs of molecular dynamics at constant pressure, 32 atoms, one trajectory a temperature, after 1 ps of
equilibration. Run it from anywhere; it writes beside itself.
"""

from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.units import fs

from lamflow.data import Frame, LabeledFrame
from lamflow.data.io import labels_from_ase, write_extxyz

TEMPERATURES = (300, 600, 900, 1200)
FRAMES = 12

found = []
for temperature in TEMPERATURES:
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(2)
    atoms.calc = EMT()
    rng = np.random.RandomState(temperature)
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * temperature, rng=rng)
    Stationary(atoms)
    dynamics = IsotropicMTKNPT(
        atoms, 4 * fs, temperature_K=temperature, pressure_au=0.0, tdamp=100 * fs, pdamp=1000 * fs
    )
    dynamics.run(250)
    for _ in range(FRAMES):
        dynamics.run(50)
        atoms.get_stress()
        found.append(LabeledFrame(Frame.from_ase(atoms), labels_from_ase(atoms)))
write_extxyz(Path(__file__).with_name("cu-heldout.extxyz"), found)
