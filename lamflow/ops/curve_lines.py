"""Lines in a job's log about how its training goes."""

from __future__ import annotations

import time
from pathlib import Path

from lamflow.data.curves import Curve, read_curve
from lamflow.data.layout import CURVE
from lamflow.ops.operation import Context

EVERY = 30.0
"""s between two lines of one training."""
UNITS = {"force_rmse": "eV/Å", "energy_rmse": "eV/atom", "virial_rmse": "eV/atom", "magnetic_force_rmse": "eV/μB"}


class CurveLines:
    """Progress of one training: passes it on, and says every half minute where its learning curve is.

    before, weight  which part of the job's work had been done before it, and which part it is
    """

    def __init__(self, context: Context, name: str, scratch: Path, before: float, weight: float) -> None:
        self.context, self.name, self.scratch = context, name, scratch
        self.before, self.weight = before, weight
        self.begun: tuple[float, float] | None = None
        self.said = -EVERY

    def __call__(self, fraction: float) -> None:
        """Take the fraction of this training that is done."""
        self.context.progress(self.before + fraction * self.weight)
        now = time.monotonic()
        if now - self.said < EVERY:
            return
        curve = read_curve(self.scratch / CURVE)
        if not len(curve.values):
            return
        self.said, step = now, float(curve.steps[-1])
        self.begun = self.begun or (now, step)
        speed = (step - self.begun[1]) / (now - self.begun[0]) if now > self.begun[0] else 0.0
        self.context.say(f"{self.name}: {curve_line(curve, fraction, speed)}")


def curve_line(curve: Curve, fraction: float, speed: float) -> str:
    """The last point of a curve in words: step, errors on the training batch, learning rate, speed, time left.

    speed  steps a second, 0 if it is not known yet
    """
    step = float(curve.steps[-1])
    words = [f"step {step:.0f} ({fraction:.0%})"]
    for name, value in zip(curve.columns[1:], curve.values[-1, 1:], strict=True):
        unit = next((unit for quantity, unit in UNITS.items() if name.startswith(quantity)), "")
        words.append(f"{name.replace('_', ' ')} {value:.3g} {unit}".rstrip())
    if speed > 0.0:
        words.append(f"{speed:.3g} steps/s")
        if fraction > 0.0:
            words.append(f"{_duration(step * (1 / fraction - 1) / speed)} left")
    return ", ".join(words)


def _duration(seconds: float) -> str:
    """1:02:03"""
    return f"{int(seconds // 3600)}:{int(seconds // 60) % 60:02d}:{int(seconds) % 60:02d}"
