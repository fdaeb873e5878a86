"""How much may fail before a run stops with the reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lamflow.config.schema import DataStudy
from lamflow.config.select import Select
from lamflow.data.explored import ExploredFrames
from lamflow.data.results import LabelOutcome, SimulationResult
from lamflow.errors import EngineError


def exploration_failed(
    settings: Select, results: Mapping[int, SimulationResult], explored: Sequence[ExploredFrames]
) -> str | None:
    """Why nothing can be selected, or None: too many simulations failed outright, or no frame passed the filters."""
    lost = [result for result in results.values() if result.failed and result.frames == 0]
    empty = not any(len(frames.deviation) for frames in explored)
    if not empty and len(lost) <= settings.max_failed * len(results):
        return None
    shown = "\n".join(
        f"  {result.name}: {result.log or result.failed or result.dropped}" for result in list(results.values())[:3]
    )
    what = "no frame passed the filters" if empty else f"{len(lost)} of {len(results)} simulations failed"
    return f"{what} (select.max_failed is {settings.max_failed:g}); the first ones:\n{shown}"


def failed_labels(study: DataStudy, outcomes: Sequence[LabelOutcome]) -> list[LabelOutcome]:
    """The labels that failed. Raises EngineError when they are more than `budget.failed_labels` allows."""
    failed = [outcome for outcome in outcomes if outcome.failed]
    allowed = study.budget.failed_labels
    if failed and len(failed) > allowed * len(outcomes):
        shown = "\n".join(_shown(outcome) for outcome in failed[:3])
        raise EngineError(
            f"{len(failed)} of {len(outcomes)} labels failed, more than budget.failed_labels ({allowed:g}) allows; "
            f"the first ones:\n{shown}"
        )
    return failed


def refuse_nothing(failed: Sequence[LabelOutcome], frames: int) -> None:
    """Raise EngineError where all labels of the start failed, and there are no `frames` beside them."""
    if failed and not frames:
        shown = "\n".join(_shown(outcome) for outcome in failed[:3])
        raise EngineError(f"there is nothing to train on: all {len(failed)} labels failed; the first ones:\n{shown}")


def _shown(outcome: LabelOutcome) -> str:
    """Where a label failed and why, and the end of its log if there is one."""
    step = f" step {outcome.origin.step}" if outcome.origin.step is not None else ""
    return f"  {outcome.origin.source}{step}: {outcome.failed}\n{outcome.log}".rstrip()
