"""What a calibrated window stated, against what the labels have shown since."""

from __future__ import annotations

from collections.abc import Sequence

from lamflow.data.calibration import RiskCheck
from lamflow.data.results import Iteration

RISK_COLUMNS = (
    "iteration", "judged by", "of", "frames", "stated risk", "found", "stated above the error", "found above",
)  # fmt: skip


def risk_rows(iterations: Sequence[Iteration]) -> list[tuple[str, ...]]:
    """A row for each check of each iteration, and one for all iterations of each kind of frames together."""
    rows: list[tuple[str, ...]] = []
    together: dict[str, list[RiskCheck]] = {}
    for iteration in iterations:
        state = iteration.selected.calibration if iteration.selected else None
        if state is not None and not iteration.risk_checks:
            rows.append((str(iteration.number), state.words, "", "", "", "", "", ""))
        for kind, check in iteration.risk_checks.items():
            together.setdefault(kind, []).append(check)
            rows.append((str(iteration.number), state.words if state else "", kind, *_cells(check)))
            rows += [(str(iteration.number), "", f"{kind}: {name}", *cells) for name, cells in _channels(check)]
    for what, checks in together.items():
        if len(checks) > 1:
            total = _sum(checks)
            rows.append(("all", "", what, *_cells(total)))
            rows += [("all", "", f"{what}: {name}", *cells) for name, cells in _channels(total)]
    return rows


def _channels(check: RiskCheck) -> list[tuple[str, tuple[str, ...]]]:
    """What was found of each quantity of a window that looks at several."""
    return [(name, ("", "", "", "", f"{above / check.frames:.1%}")) for name, above in check.channels.items()]


def _sum(checks: Sequence[RiskCheck]) -> RiskCheck:
    return RiskCheck(
        frames=sum(check.frames for check in checks), stated=checks[0].stated,
        above_bound=sum(check.above_bound for check in checks), above=sum(check.above for check in checks),
        stated_above=sum(check.stated_above for check in checks),
        channels={name: sum(check.channels.get(name, 0) for check in checks) for name in checks[-1].channels},
    )  # fmt: skip


def _cells(check: RiskCheck) -> tuple[str, ...]:
    low, high = likely(check.above_bound, check.frames)
    return (
        str(check.frames), f"{check.stated:.1%}", f"{check.above_bound / check.frames:.1%} ({low:.1%} to {high:.1%})",
        f"{check.stated_above / check.frames:.1%}", f"{check.above / check.frames:.1%}",
    )  # fmt: skip


def likely(count: int, total: int) -> tuple[float, float]:
    """The interval that holds a fraction with 95 % probability (C. J. Clopper, E. S. Pearson, Biometrika 26, 404)."""
    from scipy.stats import binomtest

    interval = binomtest(count, total).proportion_ci(0.95)
    return float(interval.low), float(interval.high)
