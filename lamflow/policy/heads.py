"""A training study whose heads are those of cleaned data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from lamflow.config.cleaning import CleaningStudy
from lamflow.data.cleaning import HeadCard
from lamflow.data.layout import HELDOUT, SYSTEMS, TRAIN

RUN = "../../.."
"""The run's folder, as the study sees it from beside the data card."""


def training_study(study: CleaningStudy, heads: Sequence[HeadCard], elements: Sequence[str]) -> str:
    """YAML of a study of the kind training on the cleaned data of a run; paths are relative to the data card.

    Heads without frames to train on, or without any to be judged by, are named in a comment and left out.
    """
    assert study.training is not None  # noqa: S101  its caller knows
    usable = [head for head in heads if head.train and head.heldout]
    most = max((head.train for head in usable), default=1)
    made: list[dict[str, Any]] = [
        {
            "name": head.name,
            "weight": round((head.train / most) ** study.training.exponent, 6),
            "start": {"data": [f"{RUN}/{TRAIN}/*/{SYSTEMS}/{head.name}"]},
            "heldout": {"data": [f"{RUN}/{HELDOUT}/*/{SYSTEMS}/{head.name}"]},
        }
        for head in usable
    ]
    data: dict[str, Any] = {"heads": made}
    if len(made) == 1:
        data = {"start": made[0]["start"], "heldout": made[0]["heldout"]}
    name = f"{study.name}-training"[:40].rstrip("-")
    common: dict[str, Any] = {"workflow": "training", "name": name, "elements": list(elements)}
    left_out = [head.name for head in heads if head not in usable]
    words = f"# Heads on the cleaned data of {study.name}; weight: frames to the power {study.training.exponent:g}.\n"
    words += f"# Left out, with nothing to train on or to be judged by: {', '.join(left_out)}\n" if left_out else ""
    return words + yaml.safe_dump({**common, **data, **study.training.study}, sort_keys=False, allow_unicode=True)
