"""A frame of a system on its way by a potential of LAMMPS: with what LAMMPS holds of the last one, and set up anew.

    python benchmarks/lammps_frames.py [--atoms 4 108 500] [--frames 60]

Copper by EAM; atoms move by a few mÅ a frame, in a cell that stays and in one that breathes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from _bench import Cell, parse_arguments, parser, publish, timed
from ase.build import bulk

from lamflow.data import Frame
from lamflow.engines.lammps_potential import LammpsPotentialEvaluator, LammpsPotentialSettings

STEP, BREATH = 4e-3, 1e-4
"""Å and strain a frame."""


def walk(times: int, frames: int, breath: float) -> list[Frame]:
    """Frames of a cube of `times`³ cells of four atoms."""
    rng, atoms, made = np.random.default_rng(1), bulk("Cu", "fcc", a=3.6, cubic=True) * ((times,) * 3), []
    for _ in range(frames):
        atoms.positions += rng.normal(scale=STEP, size=atoms.positions.shape)
        atoms.set_cell(atoms.cell * (1 + breath * rng.normal()), scale_atoms=True)
        made.append(Frame.from_ase(atoms))
    return made


def milliseconds(frames: Sequence[Frame], *, anew: bool) -> float:
    """Of a frame; the first is not counted. anew: every frame has an evaluator of its own."""
    settings = LammpsPotentialSettings(
        engine="lammps-potential", pair_style="eam/alloy", pair_coeff=["* * lammps:Cu_mishin1.eam.alloy {elements}"]
    )
    evaluator = LammpsPotentialEvaluator(settings)
    evaluator.evaluate(frames[:1])
    with timed() as clock:
        for frame in frames[1:]:
            if anew:
                evaluator.forget()
            evaluator.evaluate([frame])
    return 1000 * clock.seconds / (len(frames) - 1)


def main() -> None:
    """Measure each size."""
    options = parser(__doc__)
    options.add_argument("--atoms", type=int, nargs="*", default=[4, 108, 500])
    options.add_argument("--frames", type=int, default=60)
    settings = parse_arguments(options, atoms=[4], frames=5)
    rows: list[dict[str, Cell]] = []
    for atoms in settings.atoms:
        times = round((atoms / 4) ** (1 / 3))
        still, breathing = (walk(times, settings.frames, breath) for breath in (0.0, BREATH))
        rows.append({
            "atoms": 4 * times**3, "cell stays (ms)": milliseconds(still, anew=False),
            "cell breathes (ms)": milliseconds(breathing, anew=False),
            "set up anew (ms)": milliseconds(still, anew=True),
        })  # fmt: skip
    publish(settings, "lammps_frames", "A frame by a potential of LAMMPS", rows)


if __name__ == "__main__":
    main()
