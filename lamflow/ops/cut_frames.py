"""What is labeled of frames that are too large: the surroundings of their least certain atoms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from lamflow.config.learning import Config
from lamflow.data import Trajectory
from lamflow.data.dataset import frame_key
from lamflow.ops.committees import Committees
from lamflow.policy.candidates import ChosenFrame
from lamflow.policy.committee import good_frames
from lamflow.science.cut_out import cut_out
from lamflow.science.deviation import force_deviation


def cut_frames(
    study: Config, committees: Committees, known: set[str], chosen: Sequence[ChosenFrame]
) -> tuple[list[ChosenFrame], Mapping[str, int]]:
    """The chosen frames with cut-outs in the place of large ones, and how many were left out by reason.

    A cut-out is left out that the filters refuse, or that is among the keys of `known` frames. Of its forces only that
    on the least certain atom is predicted, in the whole frame: what its label says of the others is no error there.
    """
    settings = study.select.cut_out
    kept, dropped = list[ChosenFrame](), Counter[str]()
    for item in chosen:
        if settings is None or item.frame.natoms <= settings.above:
            kept.append(item)
            continue
        atom = _least_certain(committees, item)
        frame, atoms = cut_out(item.frame, atom, settings.radius)
        good, refused = good_frames(study.select.filters, Trajectory.of([frame], [0]))
        dropped.update({f"cut-out: {reason}": count for reason, count in refused.items()})
        digest = frame.content_hash()
        if frame_key(digest, item.why.origin.head) in known:
            dropped["cut-out: in the data already"] += 1
        elif len(good):
            rule = f"{item.why.rule}; {frame.natoms} of {item.frame.natoms} atoms, around atom {atom}"
            why = item.why.model_copy(update={"hash": digest, "natoms": frame.natoms, "rule": rule})
            forces = np.where((atoms == atom)[:, None], item.forces[atoms], np.nan)
            kept.append(ChosenFrame(frame, forces, why))
    return kept, dropped


def _least_certain(committees: Committees, item: ChosenFrame) -> int:
    models = committees.committee(item.why.origin.head)
    forces = np.stack([model.evaluate([item.frame])[0].forces for model in models])
    return int(np.argmax(force_deviation(forces[:, None])[0]))
