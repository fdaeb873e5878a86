"""Window rules: between which deviations a frame is worth a label. A new rule is a row of WINDOW_RULES."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lamflow.config.select import AdaptiveWindow, CalibratedWindow, FixedWindow
from lamflow.config.select import Window as WindowSettings
from lamflow.data.frames import Floats, Ints
from lamflow.policy.calibration import Calibration
from lamflow.policy.pick import sample


def rescaled(deviation: Floats, levels: tuple[float, float], scale: tuple[float, float]) -> Floats:
    """Deviations (F,) whose levels are `levels` on a scale where these are `scale`, the order of all kept."""
    (low, high), (first, last) = levels, scale
    with np.errstate(invalid="ignore"):
        inside = first + (deviation - low) / (high - low) * (last - first)
        below = deviation / low * first if low else inside
        return np.where(deviation < low, below, np.where(deviation < high, inside, deviation / high * last))


@dataclass(frozen=True)
class Window:
    """Candidates are the frames with low ≤ deviation < high; below is accurate, above (or not a number) has failed."""

    low: float
    high: float

    def candidates(self, deviation: Floats) -> Ints:
        """Indices of the candidates among deviations (F,)."""
        return np.flatnonzero((deviation >= self.low) & (deviation < self.high))

    def counts(self, deviation: Floats) -> tuple[int, int, int]:
        """How many frames are accurate, candidates, and failed."""
        accurate = int(np.count_nonzero(deviation < self.low))
        candidates = int(np.count_nonzero(deviation < self.high)) - accurate
        return accurate, candidates, len(deviation) - accurate - candidates


class WindowRule(Protocol):
    """Where the levels of a window come from."""

    @property
    def adapts(self) -> bool:
        """The lower level follows the deviations, so that the fraction of accurate frames says nothing."""
        ...

    def levels(self, deviation: Floats) -> Window:
        """The window for the deviations (F,) of all frames of an iteration."""
        ...

    def levels_after(self, low: float, high: float) -> Window:
        """The window for single frames after an iteration whose levels were these."""
        ...

    def preselect(self, deviation: Floats, limit: int, seed: int) -> Ints:
        """Indices among deviations (F,) of the frames of one job that could be candidates once all jobs are seen."""
        ...


@dataclass(frozen=True)
class FixedRule:
    """Two levels that stay as they are."""

    settings: FixedWindow
    adapts: bool = False

    def levels(self, deviation: Floats) -> Window:
        """See WindowRule."""
        del deviation
        return Window(self.settings.low, self.settings.high)

    def levels_after(self, low: float, high: float) -> Window:
        """See WindowRule."""
        del low, high
        return Window(self.settings.low, self.settings.high)

    def preselect(self, deviation: Floats, limit: int, seed: int) -> Ints:
        """At most `limit` of the candidates, drawn at random. See WindowRule."""
        window = Window(self.settings.low, self.settings.high)
        return sample(window.candidates(deviation), limit, seed)


@dataclass(frozen=True)
class AdaptiveRule:
    """The most uncertain frames below a fixed upper level."""

    settings: AdaptiveWindow
    adapts: bool = True

    def levels(self, deviation: Floats) -> Window:
        """The window with as many candidates as the settings ask for, as far as there are so many below `high`.

        `low` is the smallest deviation among them. Frames whose deviation is not a number count, and are never
        candidates.
        """
        high = self.settings.high
        below = deviation[deviation < high]
        wanted = max(self.settings.candidates, int(np.ceil(self.settings.fraction * len(deviation))))
        count = min(len(below), wanted)
        if count == 0:
            return Window(high, high)
        rank = len(below) - count
        return Window(float(np.partition(below, rank)[rank]), high)

    def levels_after(self, low: float, high: float) -> Window:
        """See WindowRule."""
        del high
        return Window(low, self.settings.high)

    def preselect(self, deviation: Floats, limit: int, seed: int) -> Ints:
        """The most uncertain frames, in their order. See WindowRule."""
        del seed
        below = np.flatnonzero(deviation < self.settings.high)
        count = max(limit, self.settings.candidates)
        return np.sort(below[np.argsort(-deviation[below], kind="stable")][:count])


@dataclass(frozen=True)
class CalibratedRule:
    """Levels of the score that stand for levels of the error; without a calibration every frame is a candidate."""

    settings: CalibratedWindow
    calibration: Calibration | None = None
    adapts: bool = False

    def levels(self, deviation: Floats) -> Window:
        """See WindowRule. Levels that no frame reaches are cut to a little more than the largest deviation."""
        top = float(np.nextafter(np.max(deviation, initial=0.0, where=np.isfinite(deviation)), np.inf))
        window = self._window()
        return Window(min(window.low, top), min(window.high, top))

    def levels_after(self, low: float, high: float) -> Window:
        """See WindowRule."""
        return Window(low, high or np.inf)

    def preselect(self, deviation: Floats, limit: int, seed: int) -> Ints:
        """At most `limit` of the candidates, and accurate frames in proportion to the audit, both drawn at random."""
        window = self._window()
        accurate = np.flatnonzero(deviation < window.low)
        drawn = sample(window.candidates(deviation), limit, seed)
        audited = sample(accurate, int(np.ceil(self.settings.audit * limit)), seed)
        return np.sort(np.concatenate([drawn, audited]))

    def _window(self) -> Window:
        if self.calibration is None or self.calibration.map is None:
            return Window(0.0, np.inf)
        told = self.calibration.map
        low = told.level(self.settings.error, self.settings.risk)
        high = np.inf if self.calibration.worthless else told.expected_level(self.settings.unphysical)
        return Window(low, max(low, high))


WINDOW_RULES: Mapping[str, Callable[[Any, Calibration | None], WindowRule]] = {
    "fixed": lambda settings, _: FixedRule(settings),
    "adaptive": lambda settings, _: AdaptiveRule(settings),
    "calibrated": CalibratedRule,
}
"""By `select.window.rule`."""


def window_rule(settings: WindowSettings, calibration: Calibration | None = None) -> WindowRule:
    """The rule that a `select.window` section names; `calibration` is what a calibrated one goes by."""
    return WINDOW_RULES[settings.rule](settings, calibration)
