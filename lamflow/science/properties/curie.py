"""Magnetisation against temperature, by moments that move while atoms stand still, and the Curie or Néel point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lamflow.data import Frame, Labels
from lamflow.data.frames import Floats
from lamflow.data.properties import Curve, Reduced, Value
from lamflow.science.magnets import crossing, sample_magnetisation
from lamflow.science.properties.cells import conventional, repeated
from lamflow.science.properties.magnets import UP, moment_lengths, signs
from lamflow.science.properties.sample import Answer, Crystal, Sample
from lamflow.science.spin_dynamics import SpinDynamics

Evaluate = Callable[[Sequence[Frame]], list[Labels]]


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


def sampled(samples: Sequence[Sample], evaluate: Evaluate) -> list[Mapping[str, float]]:
    """Means of |m|, m² and m⁴ of the order parameter m in μB an atom, of samples that move at once.

    m is that of the order in which the moments begin. Raises EngineError where the model fails.
    """
    found: dict[int, Mapping[str, float]] = {}
    for natoms in sorted({sample.frame.natoms for sample in samples}):
        places = [place for place, sample in enumerate(samples) if sample.frame.natoms == natoms]
        found |= zip(places, _alike([samples[place] for place in places], evaluate), strict=True)
    return [found[place] for place in range(len(samples))]


def _alike(samples: Sequence[Sample], evaluate: Evaluate) -> list[Mapping[str, float]]:
    """Samples of one supercell, all at once."""
    settings, first = samples[0].about["dynamics"], samples[0].frame
    spins = np.asarray(first.spins)
    up = np.sign(spins @ UP)
    dynamics = SpinDynamics(
        np.array([float(sample.about["temperature"]) for sample in samples]), settings["mobility"],
        settings["timestep"], [int(sample.about["seed"]) for sample in samples], settings["fixed_length"],
    )  # fmt: skip
    series = sample_magnetisation(
        [first] * len(samples), evaluate, dynamics, settings["steps"], settings["equilibration"], up
    )
    squares = (series**2).sum(axis=2)
    return [{"m": float(np.sqrt(own).mean()), "m2": float(own.mean()), "m4": float((own**2).mean())} for own in squares]


def reduce(crystal: Crystal, answers: Sequence[Answer]) -> Reduced:
    """Temperature where Binder's cumulants cross, with the error that runs left out one at a time give, and curves.

    K. Binder, Z. Phys. B 43, 119 (1981); B. Efron, Ann. Stat. 7, 1 (1979) for the error.
    """
    del crystal
    failure = next((answer.failure for answer in answers if answer.failure is not None), None)
    if failure is not None:
        raise ValueError(failure)
    sizes = sorted({int(answer.about["size"]) for answer in answers})
    temperatures = np.array(sorted({float(answer.about["temperature"]) for answer in answers}))
    table = {size: _moments(answers, size, temperatures) for size in sizes}
    small, large = (table[size] for size in sizes)
    runs = small["m2"].shape[1]
    cumulants = {size: _cumulants(own) for size, own in table.items()}
    best = crossing(temperatures, cumulants[sizes[0]], cumulants[sizes[1]])
    left = []
    for number in range(runs):
        kept = np.delete(np.arange(runs), number)
        try:
            left.append(crossing(temperatures, _cumulants(small, kept), _cumulants(large, kept)))
        except ValueError:
            continue
    error = float(np.sqrt((len(left) - 1) * np.var(left))) if len(left) > 1 else None
    size = sizes[1]
    values = [Value(name="T_C", value=best, unit="K", uncertainty=error)]
    values += [
        Value(
            name="m", value=float(own.mean()), unit="μB", where=f"{temperature:g} K",
            uncertainty=float(own.std(ddof=1) / np.sqrt(runs)),
        )
        for temperature, own in zip(temperatures, large["m"], strict=True)
    ]  # fmt: skip
    curves = [_curve("magnetisation", "μB an atom", size, temperatures, large["m"].mean(axis=1))]
    curves += [_curve("binder", "1", one, temperatures, cumulants[one]) for one in sizes]
    return Reduced(values=values, curves=curves)


def _moments(answers: Sequence[Answer], size: int, temperatures: Floats) -> dict[str, Floats]:
    """Means by name, (T, runs)."""
    own = [answer for answer in answers if answer.about["size"] == size]
    names = ("m", "m2", "m4")
    return {
        name: np.array([[one.measured[name] for one in own if one.about["temperature"] == t] for t in temperatures])
        for name in names
    }


def _cumulants(table: Mapping[str, Floats], runs: Any = slice(None)) -> Floats:
    """U = 1 - ⟨m⁴⟩ / 3⟨m²⟩² (T,) over these runs."""
    return np.asarray(1 - table["m4"][:, runs].mean(axis=1) / (3 * table["m2"][:, runs].mean(axis=1) ** 2))


def _curve(name: str, unit: str, size: int, temperatures: Floats, y: Floats) -> Curve:
    label = {"magnetisation": f"order ({unit})", "binder": f"Binder's cumulant ({unit})"}[name]
    return Curve(name=name, x=temperatures.tolist(), y=y.tolist(), x_label="temperature (K)", y_label=label,
                 where=f"{size}³ cells")  # fmt: skip
