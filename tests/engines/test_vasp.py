"""VASP: its input, outputs of several versions, and potentials that stay where they are."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lamflow.config import parse
from lamflow.config.schema import TrainingStudy
from lamflow.data import Frame, Labels
from lamflow.engines import vasp
from lamflow.engines.own_relaxation import OwnRelaxation
from lamflow.engines.vasp_incar import read_incar
from lamflow.errors import InputError
from lamflow.ops.read import settings_hash
from tests.engines.conftest import Put, failed
from tests.engines.test_qe import silicon


class TestVasp:
    @pytest.fixture
    def potcars(self, tmp_path: Path) -> Path:
        """Stand-ins for licensed potentials."""
        for name in ("Si", "Ge_d", "Ge"):
            (tmp_path / "potcars" / name).mkdir(parents=True)
            (tmp_path / "potcars" / name / "POTCAR").write_text(f"SECRET PAW_PBE {name}\n")
        return tmp_path / "potcars"

    def settings(self, potcars: Path, **more: object) -> vasp.Vasp:
        return vasp.Vasp.model_validate({"engine": "vasp", "potcars": str(potcars), "kspacing": 0.5, **more})

    def frame_of(self, path: Path) -> Frame:
        from ase.io import read

        return Frame.from_ase(read(path, format="vasp-out"))

    def test_a_converged_outcar_gives_what_it_says(self, put: Put) -> None:
        path = put("vasp-5.4.4-converged.OUTCAR", "OUTCAR")
        found = vasp.read_outcar(path, self.frame_of(path))
        assert isinstance(found, Labels)
        assert found.energy == -6.50214658, "the free energy TOTEN, not energy(sigma->0)"
        assert np.linalg.norm(found.forces, axis=1).max() == pytest.approx(14.662859, abs=1e-6)
        assert found.virial is not None
        stated = next(line for line in path.read_text().splitlines() if line.startswith("  Total"))
        np.testing.assert_allclose(np.diag(found.virial), [float(word) for word in stated.split()[1:4]], atol=1e-3)

    def test_steps_that_ran_out_are_unconverged_whatever_vasp_5_says(self, put: Put) -> None:
        path = put("vasp-5.4.4-nelm-reached.OUTCAR", "OUTCAR")
        assert "because EDIFF is reached" in path.read_text()
        assert "within 8 steps" in failed(vasp.read_outcar(path, silicon(1)), "unconverged")

    def test_a_killed_run_is_incomplete(self, put: Put, tmp_path: Path) -> None:
        failed(vasp.read_outcar(put("vasp-5.4.4-unfinished.OUTCAR", "OUTCAR"), silicon(1)), "incomplete")
        failed(vasp.read_outcar(tmp_path / "none", silicon(1)), "incomplete")

    @pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8, 0.95, 0.99])
    def test_a_cut_off_outcar_never_gives_labels(self, put: Put, fraction: float) -> None:
        path = put("vasp-6.2.0-converged.OUTCAR", "OUTCAR")
        frame, text = self.frame_of(path), path.read_text()
        path.write_text(text[: int(fraction * len(text))])
        failed(vasp.read_outcar(path, frame), "incomplete")

    def test_an_outcar_of_another_structure_is_refused(self, put: Put) -> None:
        path = put("vasp-6.2.0-converged.OUTCAR", "OUTCAR")
        assert isinstance(vasp.read_outcar(path, self.frame_of(path)), Labels)
        assert "another structure" in failed(vasp.read_outcar(path, silicon(1)), "invalid")

    def test_the_input_is_sorted_by_species(self, potcars: Path) -> None:
        frame = Frame(np.array([32, 14, 32, 14]), np.eye(4, 3) * 2, np.diag([5.0, 6.0, 20.0]))
        settings = self.settings(
            potcars, potcar_names={"Ge": "Ge_d"}, input={"encut": 500, "LREAL": False},
            magnetic_moments={"Ge": 1.5}, kspacing=[0.5, 0.5, 1.0],
        )  # fmt: skip
        made = vasp.VaspLabeler(settings).files(settings, frame)
        assert made["POTCAR"] == "SECRET PAW_PBE Si\nSECRET PAW_PBE Ge_d\n"
        assert str(made["POSCAR"]).splitlines()[5].split() == ["Si", "Ge"]
        assert made["KPOINTS"] == "lamflow\n0\nGamma\n3 3 1\n0 0 0\n"
        tags = read_incar(str(made["INCAR"]))
        assert tags["ENCUT"] == "500"
        assert tags["LREAL"] == ".FALSE."
        assert tags["MAGMOM"] == "2*0 2*1.5"
        assert tags["NSW"] == "0"

    def test_tags_of_species_are_given_by_element(self, potcars: Path) -> None:
        frame = Frame(np.array([32, 14]), np.eye(2, 3) * 2, np.diag([5.0, 6.0, 20.0]))
        given = {"LDAU": True, "LDAUU": {"Ge": 4.0}, "LDAUL": {"Ge": 2, "Fe": 2}}
        settings = self.settings(potcars, potcar_names={"Ge": "Ge_d"}, input=given, kspacing=0.5)
        tags = read_incar(str(vasp.VaspLabeler(settings).files(settings, frame)["INCAR"]))
        assert (tags["LDAUU"], tags["LDAUL"]) == ("0.0 4.0", "-1 2"), "silicon, then germanium"
        with pytest.raises(ValueError, match="give it by element"):
            self.settings(potcars, input={"LDAUU": "4.0 0.0"}, kspacing=0.5)
        mixed = self.settings(potcars, potcar_names={"Ge": "Ge_d"}, input={"MAGMOM": "4 0"}, kspacing=0.5)
        with pytest.raises(ValueError, match="order of atoms"):
            vasp.VaspLabeler(mixed).files(mixed, frame)
        with pytest.raises(ValueError, match=r"remedies.unconverged: INCAR: NSW = 5 is not allowed"):
            self.settings(potcars, kspacing=0.5, remedies={"unconverged": [{"NSW": 5}]})

    def test_labels_of_other_potentials_are_other_labels(self, potcars: Path, tmp_path: Path) -> None:
        """Also when the settings fit structures of one size only."""
        frame = silicon(1)
        shutil.copytree(potcars, tmp_path / "other")
        (tmp_path / "other" / "Si" / "POTCAR").write_text("SECRET PAW_LDA Si\n")
        for more in ({}, {"input": {"MAGMOM": "2*2.0"}}):
            hashes = {
                folder: vasp.VaspLabeler(self.settings(folder, kspacing=0.5, **more)).input_hash(frame)
                for folder in (potcars, tmp_path / "other")
            }
            assert len(set(hashes.values())) == 2
        here, there = (self.settings(folder, kspacing=0.5) for folder in hashes)
        assert settings_hash(here) == settings_hash(there), "where potentials lie does not matter"

    def test_what_is_wrong_is_not_blamed_on_remedies(self, potcars: Path) -> None:
        with pytest.raises(ValidationError) as caught:
            self.settings(potcars, input={"LDAUU": "4 0"}, kspacing=0.5)
        assert "remedies" not in str(caught.value.errors()[0]["msg"])
        given = {"VDW_C6": {"Si": 1.0}}
        settings = self.settings(potcars, potcar_names={"Ge": "Ge_d"}, input=given, kspacing=0.5)
        frame = Frame(np.array([32, 14]), np.eye(2, 3) * 2, np.diag([5.0, 6.0, 20.0]))
        with pytest.raises(ValueError, match="VDW_C6: there is no value for Ge"):
            vasp.VaspLabeler(settings).files(settings, frame)

    def test_the_potcar_is_there_only_while_the_program_runs(self, potcars: Path, tmp_path: Path) -> None:
        program = tmp_path / "vasp"
        program.write_text("#!/bin/sh\ntest -s POTCAR && echo there\n")
        program.chmod(0o755)
        settings = self.settings(potcars, kspacing=0.5, command=[str(program)])
        for _ in range(2):
            [answer] = vasp.VaspLabeler(settings).label([silicon(1)], tmp_path / "work")
            assert failed(answer, "incomplete") == "there is no OUTCAR"
            assert not list((tmp_path / "work").rglob("POTCAR"))
            assert "there" in next((tmp_path / "work").rglob("vasp.out")).read_text()

    def test_an_incar_is_read_as_vasp_does(self) -> None:
        text = "encut = 500 ! eV\nISMEAR=0; SIGMA = 0.05 # comment\nMAGMOM = 2*1.0 \\\n 0\nnonsense\n"
        assert read_incar(text) == {"ENCUT": "500", "ISMEAR": "0", "SIGMA": "0.05", "MAGMOM": "2*1.0   0"}

    def test_kspacing_may_stay_in_the_incar(self, potcars: Path, tmp_path: Path) -> None:
        (tmp_path / "INCAR").write_text("KSPACING = 0.3\nKGAMMA = .TRUE.\n")
        settings = vasp.Vasp.model_validate({"engine": "vasp", "potcars": str(potcars), "incar": tmp_path / "INCAR"})
        made = vasp.VaspLabeler(settings).files(settings, silicon(1))
        assert "KPOINTS" not in made
        assert "KSPACING = 0.3" in str(made["INCAR"])

    @pytest.mark.parametrize(
        ("incar", "more", "kpoints", "tag"),
        [
            ("KGAMMA = .FALSE.\n", {}, "Monkhorst-Pack", None),
            ("KGAMMA = T\n", {"kspacing": None, "kpoints": [2, 2, 2]}, "Gamma", None),
            ("ENCUT = 400\n", {}, "Gamma", None),
            ("ENCUT = 400\n", {"input": {"kgamma": False}}, "Monkhorst-Pack", None),
            ("KGAMMA = .FALSE.\n", {"gamma": True}, "Gamma", None),
            ("KSPACING = 0.3\nKGAMMA = F\n", {"kspacing": None}, None, "F"),
            ("KSPACING = 0.3\nKGAMMA = T\n", {"kspacing": None, "gamma": False}, None, ".FALSE."),
        ],
    )
    def test_the_centre_of_the_mesh_is_said_once(
        self, potcars: Path, tmp_path: Path, incar: str, more: dict[str, object], kpoints: str | None, tag: str | None
    ) -> None:
        """VASP takes it from KPOINTS if there is one, and else from KGAMMA."""
        (tmp_path / "INCAR").write_text(incar)
        settings = self.settings(potcars, incar=tmp_path / "INCAR", **more)
        made = vasp.VaspLabeler(settings).files(settings, silicon(1))
        assert (str(made["KPOINTS"]).splitlines()[2] if "KPOINTS" in made else None) == kpoints
        assert read_incar(str(made["INCAR"])).get("KGAMMA") == tag

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"kspacing": 0}, "greater than 0"),
            ({"kspacing": None, "kpoints": [4, 0, 4]}, "greater than or equal to 1"),
            ({"kspacing": None}, "give kspacing, kpoints, or an INCAR"),
            ({"kspacing": None, "input": {"KSPACING": 0}}, "must be more than 0"),
            ({"kpoints": [1, 1, 1]}, "not both"),
            ({"gamma": False, "input": {"kgamma": True}}, "input.KGAMMA: there is gamma too"),
            ({"input": {"NSW": 10}}, "NSW = 10 is not allowed"),
            ({"input": {"PSTRESS": 100}}, "PSTRESS = 100 is not allowed: VASP adds this pressure to the stress"),
            ({"input": {"ML_LMLFF": True}}, "ML_LMLFF = True is not allowed"),
            ({"input": {"IMAGES": 3}}, "IMAGES = 3 is not allowed"),
            (
                {"input": {"I_CONSTRAINED_M": 1}},
                r"I_CONSTRAINED_M = 1: it holds moments, .* give label.constrained_moments",
            ),
            ({"potcar_names": {"Si": "../../etc"}}, "is not below the folder"),
        ],
    )
    def test_settings_that_make_no_sense(self, potcars: Path, change: dict[str, object], expected: str) -> None:
        with pytest.raises(ValidationError, match=expected):
            self.settings(potcars, **change)

    def test_a_list_of_moments_must_fit(self, potcars: Path) -> None:
        settings = self.settings(potcars, input={"MAGMOM": "3*1.0"}, command=["true"])
        [answer] = vasp.VaspLabeler(settings).label([silicon(1)], potcars.parent / "work")
        assert "MAGMOM has 3 values for 2 atoms" in failed(answer, "refused")

    def test_potentials_stay_where_they_are(self, potcars: Path, tmp_path: Path) -> None:
        """Nothing of a POTCAR outlives the run, and another POTCAR than at first is refused."""
        config = parse(
            "workflow: training\nname: x\nelements: [Si]\nstructures: [{name: s, crystal: {formula: Si, lattice: diamond}}]\n"
            f"start: {{label: [s]}}\nheldout: {{fraction: 0.5}}\ntrain: {{engine: pair}}\n"
            f"label: {{engine: vasp, potcars: {potcars}, kspacing: 0.5, command: ['true']}}\n",
            kind=TrainingStudy,
        )
        settings = config.labeler().pinned(config)
        assert isinstance(settings, vasp.Vasp)
        assert len(settings.potcar_sha256["Si"]) == 64
        vasp.VaspLabeler(settings).label([silicon(1)], tmp_path / "work")
        left = [path for path in (tmp_path / "work").rglob("*") if path.is_file()]
        assert {path.name for path in left} >= {"INCAR", "POSCAR", "KPOINTS"}
        assert not any(b"SECRET" in path.read_bytes() for path in left)
        (potcars / "Si" / "POTCAR").write_text("SECRET another\n")
        [answer] = vasp.VaspLabeler(settings).label([silicon(1)], tmp_path / "work")
        assert "not the one that the run began with" in failed(answer, "refused")

    def test_a_missing_potcar_is_found_before_the_run(self, potcars: Path) -> None:
        text = (
            "workflow: training\nname: x\nelements: [Si, O]\nstructures: [{name: s, crystal: {formula: Si, lattice: diamond}}]\n"
            "start: {label: [s]}\nheldout: {fraction: 0.5}\ntrain: {engine: pair}\n"
            f"label: {{engine: vasp, potcars: {potcars}, kspacing: 0.5}}\n"
        )
        config = parse(text, kind=TrainingStudy)
        with pytest.raises(InputError, match="no POTCAR for O"):
            config.labeler().examine(config)

    def test_vasp_relaxes_by_itself(self, potcars: Path, put: Put) -> None:
        code = vasp.VaspLabeler(self.settings(potcars, potcar_names={"Ge": "Ge_d"}, input={"EDIFF": 1e-6}))
        frame = replace(silicon(1), numbers=np.array([32, 14]))
        files = code.relaxing_files(code.settings, frame, OwnRelaxation("all", 60, 0.01, 50.0, pressure=2000.0))
        tags = read_incar(str(files["INCAR"]))
        wanted = {"IBRION": "2", "NSW": "60", "ISIF": "3", "EDIFFG": "-0.01", "PSTRESS": "2.0", "EDIFF": "1e-06"}
        assert {name: tags[name] for name in wanted} == wanted
        fixed = code.relaxing_files(code.settings, frame, OwnRelaxation("none", 60, 0.01, 1.0))
        assert read_incar(str(fixed["INCAR"]))["ISIF"] == "2"
        path = put("vasp-5.4.4-converged.OUTCAR", "OUTCAR")
        stated = self.frame_of(path)
        moved = replace(stated, positions=stated.positions + 0.3)
        found = code.read_relaxed(moved, path.parent)
        assert isinstance(found, Frame)
        assert found.positions == pytest.approx(stated.positions)
        failed(code.read_relaxed(frame, path.parent), "invalid")
