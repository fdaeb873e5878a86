"""ABACUS: its input, and outputs of several versions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lamflow.data import Frame, Labels
from lamflow.engines import abacus
from lamflow.engines.own_relaxation import OwnRelaxation
from tests.engines.conftest import Put, failed
from tests.engines.test_qe import silicon


class TestAbacus:
    @pytest.fixture
    def settings(self, tmp_path: Path) -> abacus.Abacus:
        for name in ("Si.upf", "Si.orb"):
            (tmp_path / name).touch()
        given = {"engine": "abacus", "pseudopotentials": {"Si": tmp_path / "Si.upf"}, "ecutwfc": 60, "kspacing": 0.5}
        return abacus.Abacus.model_validate(given)

    def frame(self, put: Put) -> Frame:
        import dpdata

        put("abacus-3.4.0-converged.INPUT", "INPUT")
        system = dpdata.System(str(put("abacus-3.4.0-converged.STRU", "STRU")), fmt="abacus/stru")
        return Frame(np.array([11, 11]), system["coords"][0], system["cells"][0])

    def test_a_converged_log_gives_what_it_says(self, put: Put, tmp_path: Path) -> None:
        frame = self.frame(put)
        put("abacus-3.4.0-converged.log", abacus.LOG)
        found = abacus.read_output(tmp_path, frame)
        assert isinstance(found, Labels)
        assert found.energy == pytest.approx(-2311.4283254622828, abs=1e-6)
        assert found.virial is not None
        pressure = np.trace(found.virial) / 3 / abs(np.linalg.det(frame.cell)) / 6.241509074e-7 / 1000
        assert pressure == pytest.approx(1216.074094, rel=1e-4), "the log's TOTAL-PRESSURE in kbar"

    @pytest.mark.parametrize("name", ["abacus-3.10.1-unconverged", "abacus-3.11.0-unconverged"])
    def test_an_unconverged_cycle_is_a_failure(self, put: Put, tmp_path: Path, name: str) -> None:
        put(f"{name}.log", abacus.LOG)
        failed(abacus.read_output(tmp_path, self.frame(put)), "unconverged")

    def test_a_log_without_forces_is_incomplete(self, put: Put, tmp_path: Path) -> None:
        put("abacus-3.10.0-no-forces.log", abacus.LOG)
        failed(abacus.read_output(tmp_path, self.frame(put)), "incomplete")

    @pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
    def test_a_cut_off_log_never_gives_labels(self, put: Put, tmp_path: Path, fraction: float) -> None:
        path, frame = put("abacus-3.4.0-converged.log", abacus.LOG), self.frame(put)
        text = path.read_text()
        path.write_text(text[: int(fraction * len(text))])
        settings = abacus.Abacus.model_construct(remedies={})  # type: ignore[call-arg]  # reading asks for nothing else
        labeler = abacus.AbacusLabeler(settings)
        failed(labeler._read(labeler.settings, frame, tmp_path), "incomplete")

    def test_the_input_is_what_abacus_reads(self, settings: abacus.Abacus, tmp_path: Path) -> None:
        import dpdata

        frame = silicon(3)
        lcao = abacus.Abacus.model_validate(
            {**settings.model_dump(), "orbitals": {"Si": tmp_path / "Si.orb"}, "magnetic_moments": {"Si": 1.0},
             "input": {"smearing_method": "gauss", "nspin": 1}}
        )  # fmt: skip
        for given, basis in ((settings, "pw"), (lcao, "lcao")):
            made = abacus.AbacusLabeler(given).files(given, frame)
            keys = dict(line.split(None, 1) for line in str(made["INPUT"]).splitlines()[1:])
            assert keys["basis_type"] == basis
            assert keys["cal_stress"] == "1"
            assert made["KPT"] == "K_POINTS\n0\nGamma\n5 5 5 0 0 0\n"
            (tmp_path / "STRU").write_text(str(made["STRU"]))
            again = dpdata.System(str(tmp_path / "STRU"), fmt="abacus/stru")
            np.testing.assert_allclose(again["coords"][0], frame.positions, atol=1e-6)
        assert keys["nspin"] == "2"
        assert "Si-Si.orb" in made

    def test_keys_that_are_lamflows(self, settings: abacus.Abacus, tmp_path: Path) -> None:
        with pytest.raises(ValidationError, match="Calculation: not allowed: labels are single points"):
            abacus.Abacus.model_validate({**settings.model_dump(), "input": {"Calculation": "md"}})
        both = {"Si": tmp_path / "Si.upf", "Ge": tmp_path / "Si.upf"}
        given = {**settings.model_dump(), "pseudopotentials": both, "orbitals": {"Si": tmp_path / "Si.orb"}}
        with pytest.raises(ValidationError, match="orbitals: there is none for Ge"):
            abacus.Abacus.model_validate(given)

    def test_abacus_relaxes_by_itself(self, settings: abacus.Abacus, tmp_path: Path) -> None:
        code = abacus.AbacusLabeler(settings)
        whole = code.relaxing_files(settings, silicon(1), OwnRelaxation("all", 60, 0.01, 50.0, pressure=2000.0))
        for line in ("calculation cell-relax", "relax_nmax 60", "force_thr_ev 0.01", "stress_thr 0.05", "press1 2.0",
                     "fixed_axes None"):  # fmt: skip
            assert f"{line}\n" in str(whole["INPUT"])
        atoms = code.relaxing_files(settings, silicon(1), OwnRelaxation("none", 60, 0.01, 1.0))
        assert "calculation relax\n" in str(atoms["INPUT"])
        assert "stress_thr" not in str(atoms["INPUT"])
        failed(code.read_relaxed(silicon(1), tmp_path), "incomplete")
