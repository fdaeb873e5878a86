"""Records of rounds that nobody has carried out."""

from __future__ import annotations

from typing import Literal

from lamflow.data.results import Iteration, ModelResult
from lamflow.data.selected import Selected


def model(index: int = 0, **more: object) -> ModelResult:
    """A model that has been trained."""
    known: dict[str, object] = {"index": index, "seed": 1, "data_hash": "", "training_frames": 8, "steps": 1}
    return ModelResult.model_validate(known | {"seconds": 1.0, **more})


def iteration(number: int, decision: Literal["label", "stop"] | None = None, **more: object) -> Iteration:
    """A round that has finished; an iteration of learning where it has decided something."""
    selected = None
    if decision is not None:
        selected = Selected(
            frames=1, accurate=0, candidates=1, failed=0, dropped={}, low=0.1, high=1.0, chosen=[], batches=1,
            decision=decision, reason="as the test wants it",
        )  # fmt: skip
    known: dict[str, object] = {"training_frames": 8, "heldout_frames": 2, "labels": 10, "selected": selected}
    return Iteration.model_validate({"number": number, "stage": "warm" if number else "start", **known, **more})
