"""JSON documents of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamflow.cli.documents import print_document
from lamflow.data.evaluation import Judgement, SystemErrors


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_come_back(
    value: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = {"force_rmse": value, "force_mae": 1.0, "force_size": 1.0, "energy_rmse": 0.1, "frames": 2}
    system = SystemErrors.model_validate(
        {"name": "a", "role": "heldout", "natoms": 2, "errors": errors, "unshifted_energy_rmse": value}
    )
    judged = Judgement(shift={"": {"Cu": value}}, systems=[system], overall={"": system.errors}, seconds=1.0)
    judged.save(tmp_path / "evaluation.json")
    again = Judgement.read(tmp_path / "evaluation.json")
    assert str(again.systems[0].errors.force_rmse) == str(again.shift[""]["Cu"]) == str(value)
    json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=pytest.fail)
    print_document({"judgement": again})
    assert json.loads(capsys.readouterr().out)["judgement"]["systems"][0]["errors"]["force_rmse"] is None
