"""Magnetisation against temperature, by moments that move while atoms stand still, and the Curie or Néel point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lamflow.data import Frame, Labels
from lamflow.data.frames import Floats
from lamflow.data.properties import Curve, Reduced, Value
from lamflow.science.magnets import crossing, reweighted, sample_magnetisation
from lamflow.science.properties.cells import conventional, repeated
from lamflow.science.properties.magnets import UP, moment_lengths, signs
from lamflow.science.properties.sample import Answer, Crystal, Sample
from lamflow.science.spin_dynamics import SpinDynamics

Evaluate = Callable[[Sequence[Frame]], list[Labels]]
SAMPLES = 500
"""Of a run that are kept at most; neighbouring steps say nearly the same."""
POINTS = 201
"""Temperatures at which cumulants are looked at."""
FEWEST = 50
"""Samples that count at a temperature where cumulants are compared."""


def frames(
    crystal: Crystal, *, moments: Mapping[str, float], temperatures: Sequence[float], sizes: Sequence[int],
    wave_vector: Sequence[float], repeats: int, **dynamics: Any,
) -> list[Sample]:  # fmt: skip
    """Ordered supercells of both sizes, `repeats` of each at every temperature; `dynamics` says how they move."""
    cell, made = conventional(crystal.frame), list[Sample]()
    for size in sizes:
        frame = repeated(cell, (size, size, size))
        order = signs(cell, frame, wave_vector)
        spins = order[:, None] * moment_lengths(crystal, frame, moments) * UP
        start = frame.with_fields(spin=spins)
        for temperature in temperatures:
            for number in range(repeats):
                seed = (crystal.seed + 1_000_003 * len(made)) % 2**31
                about = {"size": size, "temperature": temperature, "run": number, "seed": seed}
                made.append(Sample(start, "sampled", {**about, "dynamics": dynamics}))
    return made


def sampled(samples: Sequence[Sample], evaluate: Evaluate) -> list[Mapping[str, list[float]]]:
    """`m2`, the square of the order parameter in (μB/atom)², and `energy` in eV, step by step, of samples that move at
    once.

    The order is that in which the moments begin. Raises EngineError where the model fails.
    """
    found: dict[int, Mapping[str, list[float]]] = {}
    for natoms in sorted({sample.frame.natoms for sample in samples}):
        places = [place for place, sample in enumerate(samples) if sample.frame.natoms == natoms]
        found |= zip(places, _alike([samples[place] for place in places], evaluate), strict=True)
    return [found[place] for place in range(len(samples))]


def _alike(samples: Sequence[Sample], evaluate: Evaluate) -> list[Mapping[str, list[float]]]:
    """Samples of one supercell, all at once."""
    settings, first = samples[0].about["dynamics"], samples[0].frame
    spins = np.asarray(first.spins)
    up = np.sign(spins @ UP)
    dynamics = SpinDynamics(
        np.array([float(sample.about["temperature"]) for sample in samples]), settings["mobility"],
        settings["timestep"], [int(sample.about["seed"]) for sample in samples], settings["fixed_length"],
    )  # fmt: skip
    series, energies = sample_magnetisation(
        [first] * len(samples), evaluate, dynamics, settings["steps"], settings["equilibration"], up
    )
    every = -(-settings["steps"] // SAMPLES)
    squares = (series[:, ::every] ** 2).sum(axis=2)
    return [
        {"m2": own.tolist(), "energy": energy.tolist()}
        for own, energy in zip(squares, energies[:, ::every], strict=True)
    ]


def reduce(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Temperature where Binder's cumulants cross, with the error that runs left out one at a time give, and curves.

    Samples of all temperatures count at each of them (see reweighted). U = 1 - ⟨m⁴⟩ / 3⟨m²⟩²: K. Binder, Z. Phys. B 43,
    119 (1981); B. Efron, Ann. Stat. 7, 1 (1979) for the error.
    """
    del crystal
    failure = next((answer.failure for answer in answers if answer.failure is not None), None)
    if failure is not None:
        raise ValueError(failure)
    small, large = sorted({int(answer.about["size"]) for answer in answers})
    runs = sorted({int(answer.about["run"]) for answer in answers})
    temperatures = np.array(sorted({float(answer.about["temperature"]) for answer in answers}))
    fine = np.linspace(temperatures[0], temperatures[-1], POINTS)

    def means(size: int, at: Floats, left_out: int | None = None) -> tuple[Floats, Floats, Floats]:
        """Order parameter, cumulant and samples that count (A,) at temperatures (A,)."""
        own = [answer for answer in answers if answer.about["size"] == size and answer.about["run"] != left_out]
        return _means(own, temperatures, at)

    found = {size: means(size, fine) for size in (small, large)}
    known = np.min([count for _, _, count in found.values()], axis=0) >= FEWEST
    notes = [] if known.all() else [
        f"fewer than {FEWEST} samples count at {(~known).mean():.0%} of the temperatures, for energies at neighbouring "
        "temperatures do not overlap: take temperatures closer to each other, smaller cells or more steps"
    ]  # fmt: skip
    if known.sum() < 2:
        raise ValueError(notes[0])
    fine, cumulants = fine[known], {size: cumulant[known] for size, (_, cumulant, _) in found.items()}
    point = crossing(fine, cumulants[small], cumulants[large])
    points, orders = [], []
    for number in runs:
        orders.append(means(large, temperatures, number)[0])
        try:
            points.append(crossing(fine, means(small, fine, number)[1], means(large, fine, number)[1]))
        except ValueError:
            continue
    order, errors = means(large, temperatures)[0], _jackknife(np.array(orders))
    missing = len(runs) - len(points)
    uncertainty = float(_jackknife(np.array(points))) if len(points) > 1 else None
    values = [Value(name="T_C", value=point, unit="K", uncertainty=uncertainty)]
    values += [
        Value(name="m", value=float(own), unit="μB", where=f"{temperature:g} K", uncertainty=float(error))
        for temperature, own, error in zip(temperatures, order, errors, strict=True)
    ]
    curves = [_curve("magnetisation", "μB an atom", large, temperatures, order)]
    curves += [_curve("binder", "1", size, fine, cumulant) for size, cumulant in cumulants.items()]
    if missing:
        notes.append(f"without one run the cumulants do not cross, for {missing} of {len(runs)}; take more steps")
    return Reduced(values=values, curves=curves, notes=notes)


def _means(answers: Sequence[Answer], temperatures: Floats, at: Floats) -> tuple[Floats, Floats, Floats]:
    """⟨|m|⟩ in μB an atom, Binder's cumulant and samples that count (A,), of samples of one supercell."""

    def series(name: str, temperature: float) -> Floats:
        return np.concatenate([one.series[name] for one in answers if one.about["temperature"] == temperature])

    squares = [series("m2", temperature) for temperature in temperatures]
    (order, second, fourth), count = reweighted(
        temperatures, [series("energy", temperature) for temperature in temperatures],
        [np.stack([np.sqrt(own), own, own**2]) for own in squares], at,
    )  # fmt: skip
    return order, np.asarray(1 - fourth / (3 * second**2)), count


def _jackknife(left: Floats) -> Floats:
    """Standard error of a mean from values (R, …) without each of R parts."""
    return np.asarray(np.sqrt((len(left) - 1) * left.var(axis=0)))


def _curve(name: str, unit: str, size: int, temperatures: Floats, y: Floats) -> Curve:
    label = {"magnetisation": f"order ({unit})", "binder": f"Binder's cumulant ({unit})"}[name]
    return Curve(name=name, x=temperatures.tolist(), y=y.tolist(), x_label="temperature (K)", y_label=label,
                 where=f"{size}³ cells")  # fmt: skip
