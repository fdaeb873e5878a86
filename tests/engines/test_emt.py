from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamflow.data import Frame
from lamflow.engines.emt import Emt
from lamflow.engines.example import copper_frames
from lamflow.engines.protocol import LabelFailure
from lamflow.engines.registry import evaluator, labeler
from lamflow.errors import EngineError

IRON = Frame(np.array([26]), np.zeros((1, 3)), np.eye(3) * 3)


def test_a_foreign_element_names_the_frame() -> None:
    with pytest.raises(EngineError, match="frame 3: EMT has no parameters for Fe"):
        evaluator(Emt()).evaluate([*copper_frames(), IRON])


def test_a_failure_does_not_stop_the_others(tmp_path: Path) -> None:
    one, other = copper_frames()[:2]
    first, second, third = labeler(Emt()).label([one, IRON, other], tmp_path)
    assert isinstance(second, LabelFailure)
    assert not isinstance(first, LabelFailure)
    assert not isinstance(third, LabelFailure)
