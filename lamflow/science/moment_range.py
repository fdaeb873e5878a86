"""Whether frames have magnetic moments unlike all those that models were trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.data.moments import TrainedMoments

Bools = NDArray[np.bool_]

COLLINEAR = 1e-3
"""μB across the longest moment of a frame that rounding may leave."""
LONGER = 1.5
"""Times the longest moment of the training data."""


def trained_moments(frames: Iterable[Frame]) -> TrainedMoments | None:
    """The moments of training data; None if no frame has any."""
    known = [frame.spins for frame in frames if frame.spins is not None and frame.spins.any()]
    if not known:
        return None
    longest = max(float(np.linalg.norm(spins, axis=-1).max()) for spins in known)
    return TrainedMoments(longest=longest, collinear=all(bool(are_collinear(spins[None])[0]) for spins in known))


def are_beyond(trained: TrainedMoments | None, spins: Floats | None) -> Bools:
    """Which of F frames have moments unlike those trained on, from their moments (F, N, 3) in μB; none where either is
    unknown."""
    if trained is None or spins is None:
        return np.zeros(0 if spins is None else len(spins), dtype=bool)
    longer = np.linalg.norm(spins, axis=-1).max(axis=-1, initial=0.0) > LONGER * trained.longest
    return np.asarray(longer | ~are_collinear(spins) if trained.collinear else longer)


def beyond_trained(trained: Sequence[Frame], judged: Sequence[Frame]) -> str | None:
    """Why models trained on `trained` can say nothing of the moments of `judged`; None if they can, or neither has
    moments."""
    known, asked = trained_moments(trained), [frame.spins for frame in judged if frame.spins is not None]
    if known is None or not asked:
        return None
    longest = max(float(np.linalg.norm(spins, axis=-1).max()) for spins in asked)
    if longest > LONGER * known.longest:
        return (
            f"there is a moment of {longest:.3g} μB, and the longest in the training data is {known.longest:.3g} μB; "
            "train on longer ones, or take these frames out"
        )
    if any(are_beyond(known, spins[None])[0] for spins in asked):
        return (
            "moments point in several directions, and those of every training frame lie along one line: collinear "
            "labels say nothing of the forces that turn moments; add noncollinear ones"
        )
    return None


def extrapolation(trained: TrainedMoments | None, judged: Sequence[Frame]) -> str:
    """What is to be said of a model that judges moments unlike those trained on; empty if there are none."""
    asked = [frame.spins for frame in judged if frame.spins is not None]
    beyond = sum(bool(are_beyond(trained, spins[None])[0]) for spins in asked) if trained is not None else 0
    if trained is None or not beyond:
        return ""
    kind = "collinear moments" if trained.collinear else "moments"
    return (
        f"was trained on {kind} of up to {trained.longest:.3g} μB, and {beyond} of {len(asked)} frames have others: "
        "what it says of them is an extrapolation"
    )


def longest_moments(frames: Iterable[Frame]) -> dict[str, float]:
    """Length of the longest magnetic moment of each element that has some, μB."""
    longest: dict[str, float] = {}
    for frame in frames:
        if frame.spins is not None:
            for symbol, length in zip(frame.symbols, np.linalg.norm(frame.spins, axis=1), strict=True):
                longest[symbol] = max(longest.get(symbol, 0.0), float(length))
    return {symbol: length for symbol, length in longest.items() if length > 0}


def moment_warnings(frames: Sequence[Frame], magnetic: Sequence[str]) -> list[str]:
    """What is odd about the moments of training data for models that see those of the elements `magnetic`."""
    longest, present = longest_moments(frames), {symbol for frame in frames for symbol in frame.symbols}
    still = [element for element in magnetic if element in present and element not in longest]
    unseen = {element: length for element, length in longest.items() if element not in magnetic}
    warnings = []
    if still:
        warnings.append(
            f"train.spin.elements: no frame has a moment of {', '.join(still)}; are they missing? Models learn that "
            "there is none"
        )
    if unseen and magnetic:
        named = ", ".join(f"{element} (up to {length:.3g} μB)" for element, length in unseen.items())
        warnings.append(f"train.spin.elements: the models do not see the moments of {named}, which the data have")
    trained = trained_moments(frames)
    if magnetic and trained is not None and trained.collinear:
        warnings.append(
            "train.spin: the moments of every frame lie along one line, which says nothing of the forces that turn "
            "them; add noncollinear ones before moments are to turn"
        )
    return warnings


def are_collinear(spins: Floats) -> Bools:
    """Whether the moments of each of F frames (F, N, 3) in μB lie along one line."""
    lengths = np.linalg.norm(spins, axis=-1)
    frames = np.arange(len(spins))
    longest = spins[frames, lengths.argmax(axis=1)]
    length = np.maximum(np.linalg.norm(longest, axis=-1, keepdims=True), COLLINEAR)
    across = np.linalg.norm(np.cross(spins, (longest / length)[:, None]), axis=-1)
    return np.asarray(across.max(axis=1) < COLLINEAR)
