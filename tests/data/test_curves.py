"""Learning curves, whatever the engine that they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lamflow.data.curves import Curve, read_curve, write_curve
from lamflow.data.layout import CURVE
from lamflow.engines.deepmd.curve import learning_curve, problem, read_lcurve

LINES = """\
#  step      rmse_e_trn_copper  rmse_f_trn_copper    rmse_f_trn_gold         lr
# If there is no available reference data, rmse_*_{val,trn} will print nan
      1      1.0e-01    2.0e+00   4.0e+00    1.0e-03
    100      5.0e-02    1.0e+00   nan    5.0e-04
    200      5.0e-0"""


def test_a_curve_is_read_as_it_was_written(tmp_path: Path) -> None:
    curve = Curve(["step", "force_rmse"], np.array([[1.0, 0.5], [100.0, np.nan]]))
    write_curve(tmp_path / CURVE, curve)
    again = read_curve(tmp_path / CURVE)
    assert again.columns == curve.columns
    np.testing.assert_array_equal(again.values, curve.values)


def test_there_is_none_yet(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name in ("none", "empty"):
        assert not len(read_curve(tmp_path / name).values)
        assert not len(read_lcurve(tmp_path / name).values)


def test_deepmd_kits_columns_get_names_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "lcurve.out").write_text(LINES)
    curve = learning_curve(read_lcurve(tmp_path / "lcurve.out"))
    assert curve.columns == ["step", "energy_rmse_copper", "force_rmse_copper", "force_rmse_gold", "learning_rate"]
    assert curve.steps.tolist() == [1, 100], "the line that is being written is left out"
    np.testing.assert_array_equal(curve.of("force_rmse")["copper"], [2.0, 1.0])
    write_curve(tmp_path / CURVE, curve)
    np.testing.assert_array_equal(read_curve(tmp_path / CURVE).of("force_rmse")["gold"], [4.0, np.nan])


def test_a_batch_of_easy_systems_is_no_measure_of_an_explosion() -> None:
    def said(*energies: float) -> str | None:
        steps = 20.0 * np.arange(1, len(energies) + 1)
        return problem(Curve(["step", "rmse_e_trn"], np.stack([steps, np.array(energies)], axis=1)))

    assert said(9.7e-3, 0.27, 15.9, 0.5, 12.0) is None, "batches of other systems"
    assert said(0.02, 0.01, 0.02, 0.03, 40.0, 900.0, 2000.0) == "rmse_e_trn has grown to 900 from 0.02"
    assert said(0.02, 0.01, np.inf) == "rmse_e_trn is inf"
