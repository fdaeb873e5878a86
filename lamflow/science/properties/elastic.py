"""Elastic constants from stresses of strained crystals; symmetry says how few strains are enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.data.properties import Reduced, Value
from lamflow.science.properties.cells import rotations, symmetry, to_standard
from lamflow.science.properties.sample import Answer, Crystal, Sample
from lamflow.units import EV_PER_A3_IN_GPA

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
STEPS = (-1.0, -0.5, 0.5, 1.0)
"""Of the largest strain. A cubic through four such points has a slope without error of second and third order."""
RESIDUAL_GPA = 0.5
"""Stress of the unstrained crystal beyond which constants are not those of equilibrium."""
INDEPENDENT = 1e-3
"""Singular values of tensors that symmetry allows are of order one; smaller ones are rounding."""
TELLING = 0.1
"""Singular value, of order one, from which on strains tell a tensor: errors of stresses grow by its inverse."""


def frames(crystal: Crystal, *, strain: float) -> list[Sample]:
    """Crystals under positive and negative strains in as few of the six directions as symmetry asks for; ions relax."""
    made = [Sample(crystal.frame, "none", {"direction": -1, "strain": 0.0})]
    for direction in strain_directions(invariant_tensors(point_group(crystal.frame))):
        for step in STEPS:
            tensor = unit_strain(direction) * strain * step
            deformation = np.eye(3) + tensor
            frame = replace(
                crystal.frame, cell=crystal.frame.cell @ deformation, positions=crystal.frame.positions @ deformation
            )
            made.append(Sample(frame, "positions", {"direction": direction, "strain": strain * step}))
    return made


def reduce(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Cij in the axes of the conventional cell, moduli, Poisson's ratio, anisotropy, and whether the crystal is stable.

    Raises ValueError for engines without stress.
    """
    stress: dict[tuple[int, float], Floats] = {}
    for answer in answers:
        found = answer.good.stress(answer.frame.volume)
        if found is None:
            raise ValueError("the engine gives no stress (virial)")
        key = int(answer.about["direction"]), float(answer.about["strain"])
        stress[key] = np.array([found[place] for place in VOIGT]) * EV_PER_A3_IN_GPA
    basis = invariant_tensors(point_group(crystal.frame))
    largest = max(strain for _, strain in stress)
    directions = sorted({direction for direction, _ in stress if direction >= 0})
    slopes = {d: _slope(stress, d, largest) for d in directions}
    found_half = {d: (stress[d, largest / 2] - stress[d, -largest / 2]) / largest for d in directions}
    tensor, coarse = (fitted_tensor(basis, each) for each in (slopes, found_half))
    turn = to_standard(symmetry(crystal.frame))
    stiffness, other = (voigt(rotated(each, turn)) for each in (tensor, coarse))
    residual = float(np.abs(stress[-1, 0.0]).max())
    notes = [] if residual < RESIDUAL_GPA else [f"the unstrained crystal has a stress of {residual:.2f} GPa"]
    made = described(stiffness, np.abs(stiffness - other))
    return made.model_copy(update={"notes": [*notes, *made.notes]})


def _slope(stress: dict[tuple[int, float], Floats], direction: int, largest: float) -> Floats:
    """Derivative (6,) of the stress along one strain at zero strain, GPa."""
    strains = largest * np.array(STEPS)
    return np.asarray(np.polyfit(strains, np.array([stress[direction, strain] for strain in strains]), 3)[2])


def described(stiffness: Floats, error: Floats | None = None) -> Reduced:
    """Values of a 6 × 6 stiffness in GPa with its error, moduli, and whether it is stable."""
    values: list[Value] = []
    for row in range(6):
        for column in range(row, 6):
            value = float(stiffness[row, column])
            alike = any((v.name[1] == v.name[2]) == (row == column) and abs(v.value - value) < 1e-6 for v in values)
            if abs(value) > 1e-6 and not alike:
                spread = None if error is None else float(error[row, column])
                values.append(Value(name=f"C{row + 1}{column + 1}", value=value, unit="GPa", uncertainty=spread))
    eigenvalues = np.linalg.eigvalsh(stiffness)
    stable = bool(eigenvalues.min() > 0)
    values.append(Value(name="smallest_eigenvalue", value=float(eigenvalues.min()), unit="GPa"))
    notes = ["Born-stable" if stable else "not Born-stable: the stiffness has an eigenvalue that is not positive"]
    tables = {"stiffness (GPa)": stiffness.tolist()}
    if stable:
        compliance = np.asarray(np.linalg.inv(stiffness), dtype=np.float64)
        tables["compliance (1/GPa)"] = compliance.tolist()
        values += _moduli(stiffness, compliance)
    return Reduced(values=values, tables=tables, notes=notes)


def _moduli(c: Floats, s: Floats) -> list[Value]:
    """Averages over orientations by Voigt, Reuss and Hill (R. Hill, Proc. Phys. Soc. A 65, 349 (1952))."""
    b_voigt = (np.trace(c[:3, :3]) + 2 * (c[0, 1] + c[0, 2] + c[1, 2])) / 9
    g_voigt = (np.trace(c[:3, :3]) - (c[0, 1] + c[0, 2] + c[1, 2]) + 3 * np.trace(c[3:, 3:])) / 15
    b_reuss = 1 / (np.trace(s[:3, :3]) + 2 * (s[0, 1] + s[0, 2] + s[1, 2]))
    g_reuss = 15 / (4 * np.trace(s[:3, :3]) - 4 * (s[0, 1] + s[0, 2] + s[1, 2]) + 3 * np.trace(s[3:, 3:]))
    b, g = 0.5 * (b_voigt + b_reuss), 0.5 * (g_voigt + g_reuss)
    found = {
        ("B", "voigt"): (b_voigt, "GPa"), ("B", "reuss"): (b_reuss, "GPa"), ("B", "hill"): (b, "GPa"),
        ("G", "voigt"): (g_voigt, "GPa"), ("G", "reuss"): (g_reuss, "GPa"), ("G", "hill"): (g, "GPa"),
        ("E", "hill"): (9 * b * g / (3 * b + g), "GPa"),
        ("poisson", "hill"): ((3 * b - 2 * g) / (6 * b + 2 * g), "1"),
        # S. I. Ranganathan and M. Ostoja-Starzewski, Phys. Rev. Lett. 101, 055504 (2008)
        ("universal_anisotropy", ""): (5 * g_voigt / g_reuss + b_voigt / b_reuss - 6, "1"),
    }  # fmt: skip
    return [Value(name=n, where=w, value=float(v), unit=unit) for (n, w), (v, unit) in found.items()]


def unit_strain(direction: int) -> Floats:
    """The symmetric tensor of unit engineering strain in one of Voigt's directions."""
    first, second = VOIGT[direction]
    tensor = np.zeros((3, 3))
    tensor[first, second] += 0.5
    tensor[second, first] += 0.5
    return tensor


def point_group(frame: Frame) -> Floats:
    """A crystal's point group as Cartesian matrices (R, 3, 3). Raises ValueError for an isolated structure."""
    return np.unique(np.round(rotations(symmetry(frame)), 9), axis=0)


def rotated(tensor: Floats, rotation: Floats) -> Floats:
    """A tensor of rank four in other axes."""
    return np.asarray(np.einsum("ai,bj,ck,dl,ijkl->abcd", *[rotation] * 4, tensor, optimize=True))


def full(matrix: Floats) -> Floats:
    """The tensor (3, 3, 3, 3) of a 6 × 6 stiffness."""
    index = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
    return np.asarray(matrix[index[:, :, None, None], index[None, None]])


def voigt(tensor: Floats) -> Floats:
    """The 6 × 6 stiffness of a tensor."""
    return np.array([[tensor[i, j, k, m] for k, m in VOIGT] for i, j in VOIGT])


def invariant_tensors(group: Floats) -> Floats:
    """Tensors (K, 3, 3, 3, 3) that span all stiffnesses that a point group allows."""
    averaged = []
    for row in range(6):
        for column in range(row, 6):
            matrix = np.zeros((6, 6))
            matrix[row, column] = matrix[column, row] = 1
            tensor = full(matrix)
            averaged.append(np.mean([rotated(tensor, one) for one in group], axis=0).ravel())
    _, sizes, vectors = np.linalg.svd(np.array(averaged), full_matrices=False)
    return np.asarray(vectors[sizes > INDEPENDENT].reshape(-1, 3, 3, 3, 3))


def strain_directions(basis: Floats) -> list[int]:
    """The fewest of Voigt's directions whose stresses tell every tensor of a basis."""
    chosen: list[int] = []
    for direction in (0, 3, 1, 2, 4, 5):
        if _rank(basis, [*chosen, direction]) > _rank(basis, chosen):
            chosen.append(direction)
    return sorted(chosen)


def _responses(basis: Floats, directions: Sequence[int]) -> Floats:
    """Stresses (K, 6·D) of each tensor of a basis under unit strains."""
    voigts = [voigt(tensor) for tensor in basis]
    return np.array([np.concatenate([one[:, d] for d in directions]) if directions else [] for one in voigts])


def _rank(basis: Floats, directions: Sequence[int]) -> int:
    return int(np.linalg.matrix_rank(_responses(basis, directions), tol=TELLING)) if directions else 0


def fitted_tensor(basis: Floats, slopes: Mapping[int, Floats]) -> Floats:
    """The allowed tensor whose responses are nearest to the slopes."""
    response = _responses(basis, list(slopes))
    weights, *_ = np.linalg.lstsq(response.T, np.concatenate(list(slopes.values())), rcond=None)
    return np.asarray(np.einsum("k,kabcd->abcd", weights, basis))
