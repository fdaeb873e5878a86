"""Moments unlike those of the training data are told, from the function to the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamflow.data import Frame, LabeledFrame
from lamflow.data.io import write_extxyz
from lamflow.engines.registry import evaluator
from lamflow.engines.spin_lattice import SpinLatticeLabels, iron_frames
from lamflow.science.moment_range import beyond_trained
from tests.cli.test_outcomes import lamflow

STUDY = """\
workflow: training
name: iron
elements: [Fe]
start: {data: [train.extxyz]}
heldout: {data: [heldout.extxyz]}
train: {engine: pair, models: 1, cutoff: 4.6, SPIN}
"""


def collinear(frames: list[Frame]) -> list[Frame]:
    return [frame.with_fields(spin=np.linalg.norm(np.asarray(frame.spins), axis=1)) for frame in frames]


def longer(frames: list[Frame]) -> list[Frame]:
    return [frame.with_fields(spin=2 * np.asarray(frame.spins)) for frame in frames]


def without(frames: list[Frame]) -> list[Frame]:
    return [frame.with_fields(spin=None) for frame in frames]


def test_what_lies_beyond() -> None:
    frames = iron_frames()
    assert beyond_trained(frames, collinear(frames)) is None
    assert beyond_trained(without(frames), frames) is None
    assert beyond_trained(frames, without(frames)) is None
    assert "along one line" in str(beyond_trained(collinear(frames), frames))
    assert "there is a moment of" in str(beyond_trained(frames, longer(frames)))


@pytest.mark.parametrize(
    ("train", "heldout", "spin", "expected"),
    [
        (collinear, list, True, "heldout.data: moments point in several directions"),
        (list, longer, True, "heldout.data: there is a moment of"),
        (without, list, True, "frame 0 has no spin (μB) of its Fe, which train.spin needs"),
        (list, list, False, "frame 0 has magnetic moments, which the models do not see"),
    ],
)
def test_each_is_one_message(tmp_path: Path, train: object, heldout: object, spin: bool, expected: str) -> None:
    model = evaluator(SpinLatticeLabels(engine="spin-lattice"))
    parts = {"train": iron_frames()[:2], "heldout": iron_frames()[2:]}
    for (name, frames), change in zip(parts.items(), (train, heldout), strict=True):
        assert callable(change)
        changed = change(frames)
        labels = model.evaluate(frames if changed[0].spins is None else changed)
        write_extxyz(tmp_path / f"{name}.extxyz", [LabeledFrame(f, la) for f, la in zip(changed, labels, strict=True)])
    text = STUDY.replace(", SPIN", ", spin: {elements: [Fe]}" if spin else "")
    (tmp_path / "iron.yaml").write_text(text, encoding="utf-8")
    done = lamflow("check", "iron.yaml", cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
