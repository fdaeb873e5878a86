"""What a committee does not agree on, from the models' own energies, forces and virials.

Model deviation as Y. Zhang et al., Comput. Phys. Commun. 253, 107206 (2020), define it: the standard deviation over
the models, of the force on an atom as the root of the mean square length of its difference to the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lamflow.data.frames import Deviations, Floats, Ints, Labels

FORCE_LEVEL = 1.0
"""eV/Å, added to the size of the mean force in the relative deviation so that it stays finite at rest."""
MAGNETIC_FORCE_LEVEL = 0.1
"""eV/μB, the same for magnetic forces."""


def force_deviation(forces: Floats) -> Floats:
    """Deviation of the force on each atom, (F, N) in eV/Å, from forces (M, F, N, 3) in eV/Å."""
    with np.errstate(invalid="ignore"):
        difference = forces - forces.mean(axis=0)
        return np.asarray(np.sqrt((difference**2).sum(axis=-1).mean(axis=0)))


def committee_points(natoms: Ints, forces: Floats, true: Floats) -> Floats:
    """Largest force deviation of a committee and largest error of its mean force in each frame, (F, 2) in eV/Å.

    natoms  (F,)    atoms of each frame
    forces  (M, K)  components of all atoms by M models, one frame after the other, eV/Å
    true    (K,)    the same by the label engine
    """
    mean = forces.mean(axis=0)
    deviation = force_deviation(forces.reshape(len(forces), 1, -1, 3))[0]
    error = np.linalg.norm((mean - true).reshape(-1, 3), axis=1)
    begins = np.cumsum(natoms) - natoms
    return np.stack([np.maximum.reduceat(of_atoms, begins) for of_atoms in (deviation, error)], axis=1)


def stacked(opinions: Sequence[Sequence[Labels]]) -> tuple[Floats, Floats, Floats | None, Floats | None]:
    """Energies (M, F), forces (M, F, N, 3), virials (M, F, 3, 3) and magnetic forces (M, F, N, 3) of M opinions about F
    frames of N atoms; None for what any of them lacks. For `deviations` and `true_errors`."""
    every = [labels for opinion in opinions for labels in opinion]
    virials, magnetic = None, None
    if all(labels.virial is not None for labels in every):
        virials = np.array([[labels.virial for labels in opinion] for opinion in opinions], dtype=np.float64)
    if all(labels.force_mag is not None for labels in every):
        magnetic = np.array([[labels.force_mag for labels in opinion] for opinion in opinions], dtype=np.float64)
    energies = np.array([[labels.energy for labels in opinion] for opinion in opinions])
    return energies, np.array([[labels.forces for labels in opinion] for opinion in opinions]), virials, magnetic


def true_errors(energies: Floats, forces: Floats, virials: Floats | None, magnetic: Floats | None = None) -> Deviations:
    """Errors of one model in the same terms; what is true stands last along the first axis, which has length 2.

    energies (2, F) in eV, forces (2, F, N, 3) in eV/Å, virials (2, F, 3, 3) in eV, magnetic forces (2, F, N, 3) in
    eV/μB
    """

    def of_vectors(values: Floats) -> tuple[Floats, Floats]:
        return np.linalg.norm(values[0] - values[1], axis=-1), np.linalg.norm(values[1], axis=-1)

    with np.errstate(invalid="ignore"):
        virial = None if virials is None else np.abs(virials[0] - virials[1])
        return _normalised(
            of_vectors(forces), np.abs(energies[0] - energies[1]), virial,
            None if magnetic is None else of_vectors(magnetic),
        )  # fmt: skip


def deviations(energies: Floats, forces: Floats, virials: Floats | None, magnetic: Floats | None = None) -> Deviations:
    """All deviations from energies (M, F) in eV, forces (M, F, N, 3) in eV/Å, virials (M, F, 3, 3) in eV and magnetic
    forces (M, F, N, 3) in eV/μB."""

    def of_vectors(values: Floats) -> tuple[Floats, Floats]:
        return force_deviation(values), np.linalg.norm(values.mean(axis=0), axis=-1)

    with np.errstate(invalid="ignore"):
        virial = None if virials is None else virials.std(axis=0)
        return _normalised(
            of_vectors(forces), energies.std(axis=0), virial, None if magnetic is None else of_vectors(magnetic)
        )


def _normalised(
    forces: tuple[Floats, Floats], energy: Floats, virial: Floats | None, magnetic: tuple[Floats, Floats] | None
) -> Deviations:
    """From differences of energies and virials, and of forces (F, N) with the forces' own size (F, N)."""
    per_atom, size = forces
    frames, natoms = per_atom.shape
    unknown = np.full((frames, natoms), np.nan)
    moments, field = (unknown, unknown) if magnetic is None else magnetic
    return Deviations(
        force_max=per_atom.max(axis=1),
        force_mean=per_atom.mean(axis=1),
        force_min=per_atom.min(axis=1),
        force_max_relative=(per_atom / (size + FORCE_LEVEL)).max(axis=1),
        virial_max=np.full(frames, np.nan) if virial is None else np.asarray(virial.max(axis=(1, 2)) / natoms),
        energy=np.asarray(energy / natoms),
        magnetic_force_max=moments.max(axis=1),
        magnetic_force_mean=moments.mean(axis=1),
        magnetic_force_max_relative=(moments / (field + MAGNETIC_FORCE_LEVEL)).max(axis=1),
    )
