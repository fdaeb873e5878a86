"""Orders of moments, exchange constants and spirals of a crystal that stands still."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.data.properties import Curve, Reduced, Value
from lamflow.science.magnets import fit_exchange
from lamflow.science.properties.cells import conventional, repeated, repeats
from lamflow.science.properties.sample import Answer, Crystal, Relax, Sample
from lamflow.units import BOLTZMANN

UP = np.array([0.0, 0.0, 1.0])
LANDE = 2.0
"""g factor of electrons in a moment."""


def moment_lengths(crystal: Crystal, frame: Frame, moments: Mapping[str, float]) -> Floats:
    """Lengths (N, 1) in μB of the moments of `frame`'s atoms. Raises ValueError where nothing says them."""
    lengths = dict(moments)
    if not lengths and crystal.frame.spins is not None:
        norms, symbols = np.linalg.norm(crystal.frame.spins, axis=1), np.array(crystal.frame.symbols)
        lengths = {str(symbol): float(norms[symbols == symbol].mean()) for symbol in np.unique(symbols)}
    if not any(lengths.values()):
        raise ValueError("it has no magnetic moments; give `moments`, or its structure set `spins`")
    foreign = sorted(set(lengths) - set(frame.symbols))
    if foreign:
        raise ValueError(f"moments: it has no {', '.join(foreign)}, only {', '.join(sorted(set(frame.symbols)))}")
    return np.array([[lengths.get(symbol, 0.0)] for symbol in frame.symbols], dtype=np.float64)


def commensurate(wave_vectors: Floats, most: int = 24) -> tuple[int, int, int]:
    """How often the conventional cell is repeated so that all waves (Q, 3) fit. Raises ValueError beyond `most`."""
    times = []
    for column in np.asarray(wave_vectors, dtype=np.float64).T:
        fits = [n for n in range(1, most + 1) if np.allclose(n * column, np.round(n * column), atol=1e-4)]
        if not fits:
            raise ValueError(f"wave_vector: no supercell of up to {most} cells along an axis fits {column.tolist()}")
        times.append(fits[0])
    return times[0], times[1], times[2]


def wave(cell: Frame, frame: Frame, wave_vector: Sequence[float] | Floats) -> Floats:
    """Phases (N,) in radians of the atoms of a supercell of `cell`, whose reciprocal vectors the wave vector is in."""
    scaled = np.linalg.solve(cell.cell.T, frame.positions.T).T
    return np.asarray(2 * np.pi * scaled @ np.asarray(wave_vector), dtype=np.float64)


def signs(cell: Frame, frame: Frame, wave_vector: Sequence[float] | Floats) -> Floats:
    """(N,) 1 where a moment of the order points up, -1 where down."""
    return np.asarray(np.where(np.cos(wave(cell, frame, wave_vector)) > -1e-6, 1.0, -1.0), dtype=np.float64)


def order_frames(
    crystal: Crystal, *, moments: Mapping[str, float], wave_vectors: Sequence[Sequence[float]], relax: bool
) -> list[Sample]:
    """The ferromagnet, an antiferromagnet for each wave vector, and disorder where nothing relaxes, in one cell."""
    cell = conventional(crystal.frame)
    frame = repeated(cell, commensurate(np.array(wave_vectors)))
    lengths = moment_lengths(crystal, frame, moments)
    spins = {"ferromagnetic": lengths * UP}
    spins |= {f"antiferromagnetic [{_title(q)}]": signs(cell, frame, q)[:, None] * lengths * UP for q in wave_vectors}
    if not relax:
        anywhere = np.random.default_rng(crystal.seed).normal(size=(frame.natoms, 3))
        spins["disordered"] = lengths * anywhere / np.linalg.norm(anywhere, axis=1, keepdims=True)
    moving: Relax = "moments" if relax else "none"
    return [Sample(frame.with_fields(spin=own), moving, {"order": order}) for order, own in spins.items()]


def _title(wave_vector: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in wave_vector)


def reduce_orders(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Energies above the ferromagnet, and mean lengths of moments; a note says which order is lowest."""
    del crystal
    values, natoms = list[Value](), answers[0].frame.natoms
    energies = {str(answer.about["order"]): answer.energy / natoms for answer in answers}
    for answer in answers:
        order = str(answer.about["order"])
        above, spins = energies[order] - energies["ferromagnetic"], np.asarray(answer.frame.spins)
        lengths, symbols = np.linalg.norm(spins, axis=1), np.array(answer.frame.symbols)
        values.append(Value(name="E", value=above, unit="eV/atom", where=order))
        values += [
            Value(name=f"moment_{element}", value=float(lengths[symbols == element].mean()), unit="μB", where=order)
            for element in np.unique(symbols)
            if lengths[symbols == element].any()
        ]
    lowest = min(energies, key=lambda order: energies[order])
    return Reduced(values=values, notes=[f"the lowest order is {lowest}"])


def exchange_frames(
    crystal: Crystal, *, moments: Mapping[str, float], cutoff: float, size: float, frames: int, tilt: float | None
) -> list[Sample]:
    """Supercells with moments at random, or at random within a cone."""
    cell = conventional(crystal.frame)
    frame = repeated(cell, repeats(cell.cell, size))
    lengths, rng = moment_lengths(crystal, frame, moments), np.random.default_rng(crystal.seed)
    lowest = -1.0 if tilt is None else float(np.cos(np.radians(tilt)))
    made = []
    for number in range(frames):
        height = rng.uniform(lowest, 1.0, frame.natoms)
        angle, across = rng.uniform(0, 2 * np.pi, frame.natoms), np.sqrt(1 - height**2)
        spins = lengths * np.stack([across * np.cos(angle), across * np.sin(angle), height], axis=1)
        made.append(Sample(frame.with_fields(spin=spins), "none", {"frame": number, "cutoff": cutoff}))
    return made


def reduce_exchange(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Exchange constants by shell, the Curie point of mean-field theory, and what the fit leaves.

    In mean-field theory of classical moments of one kind, kT = s² Σⱼ J(rⱼ) / 3. (P. W. Anderson, Solid State Phys. 14,
    99 (1963).)
    """
    del crystal
    frames, cutoff = [answer.frame for answer in answers], float(answers[0].about["cutoff"])
    found = fit_exchange(frames, np.array([answer.energy for answer in answers]), cutoff)
    values = list[Value]()
    for shell, (distance, constant) in enumerate(zip(found.distances, found.constants, strict=True), 1):
        note = f"{distance:.3f} Å"
        values.append(Value(name="J", value=1000 * float(constant), unit="meV/μB²", where=f"shell {shell}", note=note))
    values.append(Value(name="fit_residual", value=1000 * found.residual, unit="meV/atom"))
    lengths = np.linalg.norm(np.asarray(frames[0].spins), axis=1)
    if np.ptp(lengths) < 1e-6:
        mean_field = float(found.neighbors @ found.constants) * lengths[0] ** 2 / (3 * BOLTZMANN)
        values.append(Value(name="T_C", value=mean_field, unit="K", where="mean field"))
    curve = Curve(
        name="exchange", x=found.distances.tolist(), y=(1000 * found.constants).tolist(), x_label="distance (Å)",
        y_label="exchange constant (meV/μB²)",
    )  # fmt: skip
    return Reduced(values=values, curves=[curve])


def spiral_frames(
    crystal: Crystal, *, moments: Mapping[str, float], wave_vector: Sequence[float], points: int
) -> list[Sample]:
    """Flat spirals from the ferromagnet to the wave vector, each in the same supercell."""
    if not any(wave_vector):
        raise ValueError("wave_vector: [0, 0, 0] is the ferromagnet; give the end of the line")
    cell = conventional(crystal.frame)
    end = np.asarray(wave_vector, dtype=np.float64)
    frame = repeated(cell, commensurate(np.array([end / points]), most=200))
    lengths, made = moment_lengths(crystal, frame, moments), []
    for step in range(points + 1):
        phase = wave(cell, frame, end * step / points)
        spins = lengths * np.stack([np.cos(phase), np.sin(phase), np.zeros_like(phase)], axis=1)
        length = 2 * np.pi * float(np.linalg.norm(np.linalg.solve(cell.cell, end))) * step / points
        made.append(Sample(frame.with_fields(spin=spins), "none", {"fraction": step / points, "q": length}))
    return made


def reduce_spirals(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Energy against q, its largest, the lowest spiral, and the stiffness D of magnons, ħω = D q² for small q.

    A flat spiral of moments M has ħω = 2g ΔE/M with ΔE per moment and M in μB (S. V. Halilov et al., Phys. Rev. B 58,
    293 (1998)). D is the limit of ħω/q², by a parabola in q² through the first four points; its error is the difference
    from a straight line.
    """
    del crystal
    natoms, q = answers[0].frame.natoms, np.array([float(answer.about["q"]) for answer in answers])
    energy = np.array([answer.energy for answer in answers]) / natoms
    energy = energy - energy[0]
    lengths = np.linalg.norm(np.asarray(answers[0].frame.spins), axis=1)
    magnetic = lengths[lengths > 0]
    omega = 2 * LANDE * energy * natoms / magnetic.sum()
    first = slice(1, 5)
    line, parabola = (float(np.polyfit(q[first] ** 2, omega[first] / q[first] ** 2, degree)[-1]) for degree in (1, 2))
    lowest = int(np.argmin(energy))
    values = [
        Value(name="D", value=1000 * parabola, unit="meV Å²", uncertainty=1000 * abs(parabola - line)),
        Value(name="E_max", value=float(energy.max()), unit="eV/atom"),
        Value(name="q_min", value=float(q[lowest]), unit="1/Å", note="of the lowest spiral; 0 is the ferromagnet"),
    ]
    notes = ["the ferromagnet is not the lowest spiral"] if lowest else []
    if len(np.unique(np.round(magnetic, 6))) > 1:
        notes.append("moments of several lengths: D is that of their mean")
    curve = Curve(name="spiral", x=q.tolist(), y=(1000 * energy).tolist(), x_label="q (1/Å)",
                  y_label="energy above the ferromagnet (meV/atom)")  # fmt: skip
    return Reduced(values=values, curves=[curve], notes=notes)
