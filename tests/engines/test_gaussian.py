"""Gaussian: its input, multiplicities, and outputs of several versions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from pydantic import ValidationError

from lamflow.data import Frame, Labels
from lamflow.engines import gaussian
from tests.engines.conftest import Put, failed
from tests.engines.test_qe import silicon


class TestGaussian:
    settings = gaussian.Gaussian(engine="gaussian", keywords="b3lyp/6-31g(d)")

    def frame_of(self, path: Path) -> Frame:
        from lamflow.data.io import read_labeled

        frame = read_labeled(path, "gaussian/log")[-1].frame
        return Frame(frame.numbers, frame.positions, np.zeros((3, 3)), pbc=False)

    @pytest.mark.parametrize(
        ("name", "energy"), [("gaussian-09-water", -2049.63709311), ("gaussian-16-methane", -1102.56137487)]
    )
    def test_a_finished_log_gives_what_it_says(self, put: Put, name: str, energy: float) -> None:
        path = put(f"{name}.log", "label.log")
        found = gaussian.read_log(path, self.frame_of(path))
        assert isinstance(found, Labels)
        assert found.energy == pytest.approx(energy, abs=1e-6)
        assert found.virial is None

    def test_a_log_without_forces_is_incomplete(self, put: Put) -> None:
        failed(gaussian.read_log(put("gaussian-09-no-forces.log", "label.log"), silicon(1)), "incomplete")

    def test_how_it_fails(self, put: Put) -> None:
        """The two lines of a failed cycle are written here; the rest is a real log."""
        path = put("gaussian-09-water.log", "label.log")
        frame, text = self.frame_of(path), path.read_text()
        path.write_text(text[: len(text) // 2])
        failed(gaussian.read_log(path, frame), "incomplete")
        path.write_text(text[: len(text) // 2] + "\n Convergence criterion not met.\n Error termination via Lnk1e\n")
        failed(gaussian.read_log(path, frame), "unconverged")
        begin = text.index(" SCF Done")
        path.write_text(text[:begin] + " Convergence criterion not met.\n" + text[begin:])
        failed(gaussian.read_log(path, frame), "unconverged")
        path.write_text(text[:begin] + " Convergence criterion not met.\n (Enter /g09/l508.exe)\n" + text[begin:])
        assert isinstance(gaussian.read_log(path, frame), Labels), "scf=xqc went on, and came to an end"
        path.write_text(text[: len(text) // 2] + "\n Error termination via Lnk1e in l101.exe\n")
        assert "l101" in failed(gaussian.read_log(path, frame), "stopped")

    @pytest.mark.parametrize(("name", "spin"), [("H2O", 1), ("O2", 3), ("NO", 2), ("CH3", 2), ("CH4", 1), ("OH", 2)])
    def test_multiplicities_of_molecules(self, name: str, spin: int) -> None:
        assert gaussian.multiplicity(Frame.from_ase(molecule(name))) == spin

    def test_spins_of_a_cluster_add_up(self) -> None:
        atoms = molecule("O2") + molecule("CH3")
        atoms.positions[2:] += 10
        frame = Frame.from_ase(atoms)
        assert [len(members) for members in gaussian.molecules(frame)] == [2, 4]
        assert gaussian.multiplicity(frame) == 4

    def test_the_input(self) -> None:
        made = gaussian.GaussianLabeler(self.settings).files(self.settings, Frame.from_ase(molecule("CH3")))
        lines = str(made["label.gjf"]).splitlines()
        assert lines[2] == "#p b3lyp/6-31g(d) force nosymm"
        assert lines[6] == "0 2"
        assert len(lines) == 12

    def test_what_it_cannot_treat(self, tmp_path: Path) -> None:
        settings = self.settings.model_copy(update={"command": ["true"]})
        [answer] = gaussian.GaussianLabeler(settings).label([silicon(1)], tmp_path)
        assert "periodic" in failed(answer, "refused")
        triplet = settings.model_copy(update={"multiplicity": 3})
        [answer] = gaussian.GaussianLabeler(triplet).label([Frame.from_ase(molecule("CH3"))], tmp_path)
        assert "multiplicity 3 is impossible with 9 electrons" in failed(answer, "refused")

    def test_a_label_is_one_point(self) -> None:
        with pytest.raises(ValidationError, match="one single point"):
            gaussian.Gaussian(engine="gaussian", keywords="b3lyp/6-31g(d) opt")
