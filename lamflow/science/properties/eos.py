"""The equation of state: energy against volume, fitted by Birch–Murnaghan and Vinet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from lamflow.data.frames import Floats
from lamflow.data.properties import Curve, Reduced, Value
from lamflow.science.properties.sample import Answer, Crystal, Sample
from lamflow.units import EV_PER_A3_IN_GPA

PARAMETERS = (("E0", "eV/atom", 1.0), ("V0", "Å³/atom", 1.0), ("B0", "GPa", EV_PER_A3_IN_GPA), ("B0'", "1", 1.0))
"""Names, units and their factors, in the order in which both forms take them."""
ROUGH = 2e-3
"""Residual, as a fraction of the range of the energies, above which the points lie on no smooth curve."""


def frames(crystal: Crystal, *, strain: float, points: int) -> list[Sample]:
    """The crystal at `points` volumes from 1 - strain to 1 + strain of its own, both ends included; ions relax."""
    if not crystal.frame.pbc:
        raise ValueError("it is isolated, and has no volume")
    made = []
    for factor in np.linspace(1 - strain, 1 + strain, points):
        scale = float(factor) ** (1 / 3)
        frame = replace(crystal.frame, cell=crystal.frame.cell * scale, positions=crystal.frame.positions * scale)
        made.append(Sample(frame, "positions", {"volume_factor": round(float(factor), 9)}))
    return made


def reduce(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """V0, E0, B0, B0' of both fits, with their errors: the standard error of the fit, or what it changes when only the
    inner half of the volumes is fitted, whichever is larger. Raises ValueError where no minimum is inside."""
    natoms = crystal.frame.natoms
    volumes = np.array([answer.frame.volume for answer in answers]) / natoms
    energies = np.array([answer.energy for answer in answers]) / natoms
    values: list[Value] = []
    notes: list[str] = []
    for name, form in (("", birch_murnaghan), ("vinet", vinet)):
        best, errors, residual = _fit(form, volumes, energies)
        if not volumes.min() < best[1] < volumes.max():
            raise ValueError(f"the minimum, {best[1]:.2f} Å³/atom, lies outside of the volumes that were looked at")
        errors = np.maximum(errors, _change_inside(form, volumes, energies, best))
        for place, (label, unit, factor) in enumerate(PARAMETERS):
            values.append(
                Value(name=label, value=float(best[place]) * factor, unit=unit, where=name,
                      uncertainty=float(errors[place]) * factor)
            )  # fmt: skip
        notes.append(f"{form.__name__.replace('_', '–').title()}: residual {1000 * residual:.2g} meV/atom")
        if residual > ROUGH * np.ptp(energies):
            notes[-1] += (
                f", {residual / np.ptp(energies):.1%} of the range of the energies: the points lie on no smooth curve "
                f"(B0' is {best[3]:.2g}), and B0 may be far off; look at it, and try a smaller strain"
            )
    curve = Curve(
        name="energy", x=volumes.tolist(), y=energies.tolist(), x_label="volume (Å³/atom)", y_label="energy (eV/atom)"
    )
    return Reduced(values=values, curves=[curve], notes=notes)


def _change_inside(form: Callable[..., Floats], volumes: Floats, energies: Floats, best: Floats) -> Floats:
    """How much the parameters (4,) change when the inner half of the volumes is fitted; 0 where nobody can tell."""
    inner = np.abs(volumes - volumes.mean()) < 0.26 * np.ptp(volumes)
    if inner.sum() <= len(PARAMETERS):
        return np.zeros(len(PARAMETERS))
    try:
        there, _, _ = _fit(form, volumes[inner], energies[inner])
    except ValueError:
        return np.zeros(len(PARAMETERS))
    return np.abs(there - best)


def fitted(volumes: Floats, energies: Floats) -> list[tuple[str, float, str]]:
    """Name, value and unit of the parameters of Birch and Murnaghan; volumes and energies are per atom."""
    best, _, _ = _fit(birch_murnaghan, volumes, energies)
    return [(name, float(value) * factor, unit) for (name, unit, factor), value in zip(PARAMETERS, best, strict=True)]


def birch_murnaghan(volume: Floats, e0: float, v0: float, b0: float, b1: float) -> Floats:
    """F. Birch, Phys. Rev. 71, 809 (1947), third order; b0 in eV/Å³."""
    x = (v0 / volume) ** (2 / 3) - 1
    return np.asarray(e0 + 9 * v0 * b0 / 16 * (x**3 * b1 + x**2 * (6 - 4 * (x + 1))))


def vinet(volume: Floats, e0: float, v0: float, b0: float, b1: float) -> Floats:
    """P. Vinet et al., J. Phys.: Condens. Matter 1, 1941 (1989); b0 in eV/Å³."""
    x, eta = (volume / v0) ** (1 / 3), 1.5 * (b1 - 1)
    return np.asarray(e0 + 9 * b0 * v0 / eta**2 * (1 - (1 - eta * (1 - x)) * np.exp(eta * (1 - x))))


def _fit(form: Callable[..., Floats], volumes: Floats, energies: Floats) -> tuple[Floats, Floats, float]:
    """Parameters (4,), their standard errors (4,), and the root mean square residual in eV."""
    from scipy.optimize import curve_fit

    parabola = np.polyfit(volumes, energies, 2)
    if parabola[0] <= 0:
        raise ValueError("the energy has no minimum over the volumes that were looked at")
    v0 = -parabola[1] / (2 * parabola[0])
    start = (float(np.polyval(parabola, v0)), v0, 2 * parabola[0] * v0, 4.0)
    try:
        best, covariance = curve_fit(form, volumes, energies, p0=start, maxfev=20_000)
    except RuntimeError as error:
        raise ValueError(f"{form.__name__} does not fit: {error}") from error
    residual = float(np.sqrt(np.mean((form(volumes, *best) - energies) ** 2)))
    return best, np.sqrt(np.abs(np.diag(covariance))), residual
