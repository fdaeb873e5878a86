"""GPAW: its virial, failures and remedies."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lamflow.data import Labels
from lamflow.engines.conformance import virial_traces
from lamflow.engines.gpaw import Gpaw, GpawLabeler
from lamflow.engines.protocol import Labeler
from tests.engines.conftest import failed
from tests.engines.test_qe import silicon

GPAW = {"engine": "gpaw", "cutoff": 300, "kspacing": 1.1, "command": [sys.executable]}


@pytest.mark.gpaw
class TestGpaw:
    @pytest.fixture
    def engine(self) -> Labeler:
        return GpawLabeler(Gpaw.model_validate(GPAW))

    def test_the_virial_is_the_strain_derivative(self, engine: Labeler, tmp_path: Path) -> None:
        stated, derived = virial_traces(engine, lambda strain: silicon(1, strain), tmp_path)
        assert stated == pytest.approx(derived, rel=0.03)

    def test_an_unconverged_cycle_is_a_failure_until_a_remedy_helps(self, tmp_path: Path) -> None:
        ladder = {"unconverged": [{"maxiter": 4}, {"maxiter": 300}]}
        settings = Gpaw.model_validate({**GPAW, "input": {"maxiter": 3}, "remedies": ladder})
        [answer] = GpawLabeler(settings).label([silicon(1)], tmp_path)
        assert isinstance(answer, Labels)
        assert [attempt.kind for attempt in answer.attempts] == ["unconverged", "unconverged", None]
        none = settings.model_copy(update={"remedies": {}})
        [answer] = GpawLabeler(none).label([silicon(2)], tmp_path)
        failed(answer, "unconverged")

    def test_what_gpaw_says_is_the_reason(self, tmp_path: Path) -> None:
        settings = Gpaw.model_validate({**GPAW, "input": {"nonsense": 3}})
        [answer] = GpawLabeler(settings).label([silicon(1)], tmp_path)
        assert "nonsense" in failed(answer, "stopped")
