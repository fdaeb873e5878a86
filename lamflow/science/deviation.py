"""What a committee does not agree on, from the models' own energies, forces and virials.

Model deviation as Y. Zhang et al., Comput. Phys. Commun. 253, 107206 (2020), define it: the standard deviation over
the models, of the force on an atom as the root of the mean square length of its difference to the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lamflow.data.frames import Floats

FORCE_LEVEL = 1.0
"""eV/Å, added to the size of the mean force in the relative deviation so that it stays finite at rest."""


@dataclass(frozen=True, eq=False)
class Deviations:
    """Deviations of M models on F frames of N atoms; NaN where a model gave no finite number.

    force_max, force_mean, force_min  (F,)  over the atoms, eV/Å
    force_max_relative                (F,)  largest over the atoms of deviation ÷ (|mean force| + 1 eV/Å)
    virial_max                        (F,)  largest over the components, eV/atom; NaN without virials
    energy                            (F,)  eV/atom
    """

    force_max: Floats
    force_mean: Floats
    force_min: Floats
    force_max_relative: Floats
    virial_max: Floats
    energy: Floats


def force_deviation(forces: Floats) -> Floats:
    """Deviation of the force on each atom, (F, N) in eV/Å, from forces (M, F, N, 3) in eV/Å."""
    with np.errstate(invalid="ignore"):
        difference = forces - forces.mean(axis=0)
        return np.asarray(np.sqrt((difference**2).sum(axis=-1).mean(axis=0)))


def deviations(energies: Floats, forces: Floats, virials: Floats | None) -> Deviations:
    """All deviations from energies (M, F) in eV, forces (M, F, N, 3) in eV/Å and virials (M, F, 3, 3) in eV."""
    natoms = forces.shape[2]
    per_atom = force_deviation(forces)
    with np.errstate(invalid="ignore"):
        size = np.linalg.norm(forces.mean(axis=0), axis=-1)
        relative = per_atom / (size + FORCE_LEVEL)
        energy = energies.std(axis=0) / natoms
        virial = np.full(forces.shape[1], np.nan)
        if virials is not None:
            virial = virials.std(axis=0).max(axis=(1, 2)) / natoms
    return Deviations(
        force_max=per_atom.max(axis=1),
        force_mean=per_atom.mean(axis=1),
        force_min=per_atom.min(axis=1),
        force_max_relative=relative.max(axis=1),
        virial_max=np.asarray(virial),
        energy=np.asarray(energy),
    )
