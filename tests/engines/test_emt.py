from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamflow.data import Frame
from lamflow.engines.conformance import EvaluatorConformance, LabelerConformance
from lamflow.engines.emt import Emt
from lamflow.engines.protocol import Evaluator, Labeler, LabelFailure
from lamflow.engines.registry import evaluator, labeler
from lamflow.errors import EngineError

IRON = Frame(np.array([26]), np.zeros((1, 3)), np.eye(3) * 3)


class TestEvaluator(EvaluatorConformance):
    @pytest.fixture
    def engine(self) -> Evaluator:
        return evaluator(Emt())

    def test_a_foreign_element_names_the_frame(self, engine: Evaluator) -> None:
        with pytest.raises(EngineError, match="frame 3: EMT has no parameters for Fe"):
            engine.evaluate([*self.frames(), IRON])


class TestLabeler(LabelerConformance):
    @pytest.fixture
    def engine(self) -> Labeler:
        return labeler(Emt())

    def test_a_failure_does_not_stop_the_others(self, engine: Labeler, tmp_path: Path) -> None:
        first, second, third = engine.label([self.good_frames()[0], IRON, self.good_frames()[1]], tmp_path)
        assert isinstance(second, LabelFailure)
        assert not isinstance(first, LabelFailure)
        assert not isinstance(third, LabelFailure)
