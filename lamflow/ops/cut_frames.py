"""What is labeled of frames that are too large: the surroundings of their least certain atoms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lamflow.config.learning import Config
from lamflow.data import Frame, Trajectory
from lamflow.data.dataset import frame_key
from lamflow.ops.committees import Committees
from lamflow.policy.candidates import ChosenFrame
from lamflow.policy.committee import good_frames
from lamflow.science.cut_out import cut_out
from lamflow.science.deviation import force_deviation


def cut_frames(
    study: Config, committees: Committees, stage: int, known: set[str], chosen: Sequence[ChosenFrame]
) -> tuple[list[ChosenFrame], Mapping[str, int]]:
    """The chosen frames with cut-outs in the place of large ones, and how many were left out by reason.

    A cut-out is left out that the filters refuse, or that is among the keys of `known` frames; what the models predict
    of it, and how far they disagree, is computed anew.
    """
    settings = study.select.cut_out
    kept, dropped = list[ChosenFrame](), Counter[str]()
    for item in chosen:
        if settings is None or item.frame.natoms <= settings.above:
            kept.append(item)
            continue
        atom = _least_certain(committees, item)
        frame = cut_out(item.frame, atom, settings.radius)
        good, refused = good_frames(study.select.filters, Trajectory.of([frame], [item.why.origin.step or 0]))
        dropped.update({f"cut-out: {reason}": count for reason, count in refused.items()})
        if not len(good):
            continue
        if frame_key(frame.content_hash(), item.why.origin.head) in known:
            dropped["cut-out: in the data already"] += 1
            continue
        kept.append(_judged(study, committees, stage, item, frame, atom))
    return kept, dropped


def _least_certain(committees: Committees, item: ChosenFrame) -> int:
    models = committees.committee(item.why.origin.head)
    forces = np.stack([model.evaluate([item.frame])[0].forces for model in models])
    return int(np.argmax(force_deviation(forces[:, None])[0]))


def _judged(
    study: Config, committees: Committees, stage: int, item: ChosenFrame, frame: Frame, atom: int
) -> ChosenFrame:
    """The cut-out as a frame that is labeled, with what the models say of it."""
    number, groups = int(item.why.group), study.stages[stage].explore
    group = groups[number] if number < len(groups) else None
    step = item.why.origin.step or 0
    [scored] = committees.score(item.why.origin.head, 0, [Trajectory.of([frame], [step])], Path(), group=group)
    deviation = float(scored.deviation[0])
    origin = item.why.origin.model_copy(update={"deviation": deviation if np.isfinite(deviation) else None})
    rule = f"{item.why.rule}; {frame.natoms} of {item.frame.natoms} atoms, around atom {atom}"
    update = {"hash": frame.content_hash(), "natoms": frame.natoms, "rule": rule, "origin": origin}
    return ChosenFrame(frame, scored.forces[0], item.why.model_copy(update=update))
