"""Labelers that run as programs: what they write, how they read real outputs, failures and remedies."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from pydantic import ValidationError

from lamflow.config import parse
from lamflow.config.schema import TrainingStudy
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.engines import abacus, cp2k, gaussian, vasp
from lamflow.engines.conformance import LabelerConformance, virial_traces
from lamflow.engines.custom import Custom, CustomLabeler
from lamflow.engines.gpaw import Gpaw, GpawLabeler
from lamflow.engines.periodic import kpoint_grid
from lamflow.engines.protocol import Labeler, LabelFailure, SaysVersion
from lamflow.engines.qe import QuantumEspresso
from lamflow.engines.species import aligned, by_species
from lamflow.errors import InputError, NodeError
from lamflow.ops.read import settings_hash
from lamflow.units import BOLTZMANN
from tests.engines.test_qe import silicon

OUTPUTS = Path(__file__).parent / "outputs"
Put = Callable[[str, str], Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Unpacks a recorded output to where a code would have written it."""

    def unpack(name: str, to: str) -> Path:
        path = tmp_path / to
        path.parent.mkdir(parents=True, exist_ok=True)
        packed = OUTPUTS / f"{name}.gz"
        path.write_bytes(gzip.decompress(packed.read_bytes()) if packed.exists() else (OUTPUTS / name).read_bytes())
        return path

    return unpack


def failed(answer: Labels | LabelFailure, kind: str) -> str:
    assert isinstance(answer, LabelFailure), answer
    assert answer.kind == kind, answer
    return answer.reason


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
        tags = vasp.read_incar(str(made["INCAR"]))
        assert tags["ENCUT"] == "500"
        assert tags["LREAL"] == ".FALSE."
        assert tags["MAGMOM"] == "2*0 2*1.5"
        assert tags["NSW"] == "0"

    def test_tags_of_species_are_given_by_element(self, potcars: Path) -> None:
        frame = Frame(np.array([32, 14]), np.eye(2, 3) * 2, np.diag([5.0, 6.0, 20.0]))
        given = {"LDAU": True, "LDAUU": {"Ge": 4.0}, "LDAUL": {"Ge": 2, "Fe": 2}}
        settings = self.settings(potcars, potcar_names={"Ge": "Ge_d"}, input=given, kspacing=0.5)
        tags = vasp.read_incar(str(vasp.VaspLabeler(settings).files(settings, frame)["INCAR"]))
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
        assert vasp.read_incar(text) == {"ENCUT": "500", "ISMEAR": "0", "SIGMA": "0.05", "MAGMOM": "2*1.0   0"}

    def test_kspacing_may_stay_in_the_incar(self, potcars: Path, tmp_path: Path) -> None:
        (tmp_path / "INCAR").write_text("KSPACING = 0.3\nKGAMMA = .TRUE.\n")
        settings = vasp.Vasp.model_validate({"engine": "vasp", "potcars": str(potcars), "incar": tmp_path / "INCAR"})
        made = vasp.VaspLabeler(settings).files(settings, silicon(1))
        assert "KPOINTS" not in made
        assert "KSPACING = 0.3" in str(made["INCAR"])

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"kspacing": 0}, "greater than 0"),
            ({"kspacing": None, "kpoints": [4, 0, 4]}, "greater than or equal to 1"),
            ({"kspacing": None}, "give kspacing, kpoints, or an INCAR"),
            ({"kspacing": None, "input": {"KSPACING": 0}}, "must be more than 0"),
            ({"kpoints": [1, 1, 1]}, "not both"),
            ({"input": {"NSW": 10}}, "NSW = 10 is not allowed"),
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


HYDROGEN = {
    "engine": "cp2k", "basis": {"H": "SZV-MOLOPT-SR-GTH"}, "potentials": {"H": "GTH-PBE-q1"}, "cutoff": 120,
    "rel_cutoff": 30, "command": ["cp2k.psmp"],
    "input": {"FORCE_EVAL": {"DFT": {"SCF": {"EPS_SCF": 1e-6}}}},
}  # fmt: skip


def hydrogen(strain: float = 0.0, pbc: bool = True) -> Frame:
    positions = np.array([[1.0, 1, 1], [1.1, 1.2, 1.75]]) * (1 + strain)
    cell = np.diag([3.0, 3.2, 3.4]) * (1 + strain) if pbc else np.zeros((3, 3))
    return Frame(np.array([1, 1]), positions, cell, pbc)


def test_cp2k_of_another_build_is_read(put: Put) -> None:
    path = put("cp2k-2023.1-converged.out", "cp2k.out")
    frame = Frame(np.array([11, 11]), np.array([[0, 0, 0], [2.0, 2, 2]]), np.eye(3) * 9, pbc=False)
    found = cp2k.read_output(path, frame)
    assert isinstance(found, Labels)
    assert found.energy == pytest.approx(-94.456784327723540 * 27.211386246, abs=1e-5)
    assert np.linalg.norm(found.forces, axis=1).max() == pytest.approx(0.052832, abs=1e-5)


def test_cp2ks_newer_table_of_forces(put: Put) -> None:
    """Its lines are written here after CP2K 2024's source; the rest is a real output."""
    path = put("cp2k-2023.1-converged.out", "cp2k.out")
    text = path.read_text()
    old = text[text.index(" ATOMIC FORCES in [a.u.]") : text.index(" SUM OF ATOMIC FORCES")]
    new = (
        " FORCES| Atomic forces [hartree/bohr]\n FORCES| Atom     x               y               z          |f|\n"
        " FORCES|      1 1.0E-02 -2.0E-02 0.0E+00 2.2E-02\n FORCES|      2 -1.0E-02 2.0E-02 0.0E+00 2.2E-02\n"
        " FORCES| Sum  0.0E+00 0.0E+00 0.0E+00 0.0E+00\n"
    )
    path.write_text(text.replace(old, new))
    found = cp2k.read_output(path, Frame(np.array([11, 11]), np.zeros((2, 3)), np.eye(3) * 9, pbc=False))
    assert isinstance(found, Labels)
    assert found.forces[0] == pytest.approx(np.array([0.01, -0.02, 0]) * 27.211386246 / 0.529177210903)


def test_cp2k_settings_that_make_no_sense() -> None:
    with pytest.raises(ValidationError, match="potentials: H has a basis set and nothing in potentials"):
        cp2k.Cp2k.model_validate({**HYDROGEN, "potentials": {}})
    changes = {"FORCE_EVAL": {"DFT": {"SCF": {"IGNORE_CONVERGENCE_FAILURE": True}}}}
    with pytest.raises(ValidationError, match="IGNORE_CONVERGENCE_FAILURE: not allowed"):
        cp2k.Cp2k.model_validate({**HYDROGEN, "input": changes})


def test_cp2k_gets_the_spin_and_the_functional_that_are_asked_for() -> None:
    oxygen = Frame(np.array([8, 8]), np.array([[0, 0, 0], [0, 0, 1.2]]), np.zeros((3, 3)), pbc=False)
    given = {**HYDROGEN, "basis": {"O": "B"}, "potentials": {"O": "P"}, "magnetic_moments": {"O": 1.0}}
    own: dict[str, Any] = {"force_eval": {"dft": {"xc": {"xc_functional": {"becke88": {}, "lyp": {}}}}}}
    settings = cp2k.Cp2k.model_validate({**given, "input": own})
    text = str(cp2k.Cp2kLabeler(settings).files(settings, oxygen)["cp2k.inp"])
    assert "MULTIPLICITY 3" in text
    assert "&BECKE88" in text
    assert "&XC_FUNCTIONAL PBE" not in text
    assert text.count("&DFT") == 1
    with pytest.raises(ValueError, match=r"label.basis: there is none for H"):
        cp2k.Cp2kLabeler(settings).files(settings, hydrogen())


@pytest.mark.cp2k
class TestCp2k:
    @pytest.fixture
    def engine(self) -> Labeler:
        return cp2k.Cp2kLabeler(cp2k.Cp2k.model_validate(HYDROGEN))

    def test_the_virial_is_the_strain_derivative(self, engine: Labeler, tmp_path: Path) -> None:
        stated, derived = virial_traces(engine, hydrogen, tmp_path)
        assert stated == pytest.approx(derived, rel=0.02)

    def test_an_unconverged_cycle_is_a_failure_until_a_remedy_helps(self, tmp_path: Path) -> None:
        short = {"FORCE_EVAL": {"DFT": {"SCF": {"MAX_SCF": 1}}}}
        none = cp2k.Cp2k.model_validate({**HYDROGEN, "input": short, "remedies": {}})
        [answer] = cp2k.Cp2kLabeler(none).label([hydrogen()], tmp_path)
        failed(answer, "unconverged")
        remedied = none.model_copy(update={"remedies": cp2k.REMEDIES})
        [answer] = cp2k.Cp2kLabeler(remedied).label([hydrogen()], tmp_path)
        assert isinstance(answer, Labels)
        assert [attempt.kind for attempt in answer.attempts] == ["unconverged", None]
        assert answer.attempts[1].changes == cp2k.REMEDIES["unconverged"][0]

    def test_an_abort_says_why(self, tmp_path: Path) -> None:
        settings = cp2k.Cp2k.model_validate({**HYDROGEN, "potentials": {"H": "NOPE"}})
        [answer] = cp2k.Cp2kLabeler(settings).label([hydrogen()], tmp_path)
        assert "An invalid potential type <NOPE>" in failed(answer, "stopped")

    def test_hot_electrons(self, tmp_path: Path) -> None:

        hot = hydrogen().with_fields(electronic_temperature=20_000.0)
        settings = cp2k.Cp2k.model_validate({**HYDROGEN, "basis": {"H": "DZVP-MOLOPT-SR-GTH"}})
        cold_labels, hot_labels = cp2k.Cp2kLabeler(settings).label([hydrogen(), hot], tmp_path)
        assert isinstance(cold_labels, Labels)
        assert isinstance(hot_labels, Labels), hot_labels
        assert hot_labels.energy < cold_labels.energy, "the free energy has the electrons' entropy"


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


LABEL = """\
import sys
from ase.calculators.emt import EMT
from ase.io import read, write
import os
atoms = read("POSCAR")
print("step", os.environ.get("STEPS", "1"))
if int(os.environ.get("STEPS", "1")) < 3:
    print("NOT CONVERGED")
    sys.exit(0)
atoms.calc = EMT()
atoms.get_stress(); atoms.get_forces()
write("labeled.extxyz", atoms)
"""


class TestCustom(LabelerConformance):
    """A command of the user's: here one that needs three steps to converge."""

    @pytest.fixture
    def settings(self, tmp_path: Path) -> Custom:
        (tmp_path / "label.py").write_text(LABEL)
        return Custom.model_validate(
            {
                "engine": "custom", "command": [sys.executable, "label.py"], "files": [tmp_path / "label.py"],
                "unconverged": "NOT CONVERGED",
                "remedies": {"unconverged": [{"environment": {"STEPS": str(n)}} for n in (2, 3)]},
            }
        )  # fmt: skip

    @pytest.fixture
    def engine(self, settings: Custom) -> Labeler:
        return CustomLabeler(settings)

    def test_each_try_is_recorded(self, engine: Labeler, tmp_path: Path) -> None:
        frame = self.good_frames()[0]
        [answer] = engine.label([frame], tmp_path)
        assert isinstance(answer, Labels)
        assert [attempt.kind for attempt in answer.attempts] == ["unconverged", "unconverged", None]
        assert [attempt.changes for attempt in answer.attempts] == [
            {}, {"environment": {"STEPS": "2"}}, {"environment": {"STEPS": "3"}},
        ]  # fmt: skip

    def test_a_ladder_ends(self, settings: Custom, tmp_path: Path) -> None:
        short = settings.model_copy(update={"remedies": {"unconverged": settings.remedies["unconverged"][:1]}})
        [answer] = CustomLabeler(short).label([self.good_frames()[0]], tmp_path)
        failed(answer, "unconverged")
        assert isinstance(answer, LabelFailure)
        assert len(answer.attempts) == 2

    def test_a_code_that_exits_0_without_finishing(self, settings: Custom, tmp_path: Path) -> None:
        silent = settings.model_copy(update={"command": ["true"], "remedies": {}})
        [answer] = CustomLabeler(silent).label([self.good_frames()[0]], tmp_path)
        assert "wrote no labeled.extxyz" in failed(answer, "incomplete")

    def test_a_code_that_takes_too_long(self, settings: Custom, tmp_path: Path) -> None:
        slow = settings.model_copy(update={"command": ["sleep", "60"], "label_timeout": 0.5})
        [answer] = CustomLabeler(slow).label([self.good_frames()[0]], tmp_path)
        assert "did not finish within 0.5 s" in failed(answer, "late")

    def test_a_killed_code_gets_one_more_chance(self, settings: Custom, tmp_path: Path) -> None:
        killed = settings.model_copy(update={"command": ["sh", "-c", f"echo >> {tmp_path}/tries; kill -9 $$"]})
        [answer] = CustomLabeler(killed).label([self.good_frames()[0]], tmp_path)
        assert "was killed" in failed(answer, "incomplete")
        assert (tmp_path / "tries").read_text().count("\n") == 2
        ended = settings.model_copy(update={"command": ["sh", "-c", "kill -15 $$"]})
        with pytest.raises(NodeError, match="was killed"):
            CustomLabeler(ended).label([self.good_frames()[0]], tmp_path)

    def test_a_command_that_fails_has_no_labels_whatever_it_wrote(self, settings: Custom, tmp_path: Path) -> None:
        script = ["sh", "-c", f"{sys.executable} {tmp_path}/label.py && exit 3"]
        (tmp_path / "label.py").write_text(LABEL)
        other = settings.model_copy(update={"command": script, "input": {"environment": {"STEPS": "3"}}})
        [answer] = CustomLabeler(other).label([self.good_frames()[0]], tmp_path)
        assert "labels are there, but it failed; sh exited with 3" in failed(answer, "stopped")

    def test_another_script_is_asked_again_and_has_another_recipe(self, tmp_path: Path) -> None:
        script, frame = tmp_path / "run.sh", self.good_frames()[0]
        settings = Custom(engine="custom", command=["sh", str(script)], output_file="out.extxyz", remedies={})
        hashes = set()
        for status in (3, 4):
            script.write_text(f"exit {status}\n")
            [answer] = CustomLabeler(settings).label([frame], tmp_path)
            assert f"exited with {status}" in failed(answer, "incomplete")
            hashes.add(CustomLabeler(settings).input_hash(frame))
        assert len(hashes) == 2

    def test_an_unconverged_try_is_not_paid_again(self, settings: Custom, tmp_path: Path) -> None:
        counted = ["sh", "-c", f"echo >> {tmp_path}/tries; echo no convergence; touch labeled.extxyz"]
        other = settings.model_copy(update={"command": counted, "unconverged": "no convergence", "remedies": {}})
        for _ in range(2):
            [answer] = CustomLabeler(other).label([self.good_frames()[0]], tmp_path)
            failed(answer, "unconverged")
        assert (tmp_path / "tries").read_text().count("\n") == 1

    def test_files_that_would_replace_others_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="another file called POSCAR"):
            Custom(engine="custom", command=["x"], files=[tmp_path / "POSCAR"])

    def test_labels_without_a_virial_are_incomplete(self, settings: Custom, tmp_path: Path) -> None:
        (tmp_path / "label.py").write_text(LABEL.replace("atoms.get_forces()", "del atoms.calc.results['stress']"))
        other = settings.model_copy(update={"input": {"environment": {"STEPS": "3"}}})
        [answer] = CustomLabeler(other).label([self.good_frames()[0]], tmp_path)
        assert "no stress" in failed(answer, "incomplete")

    def test_formats_that_do_not_exist(self, settings: Custom, tmp_path: Path) -> None:
        other = settings.model_copy(update={"input_format": "nonsense"})
        [answer] = CustomLabeler(other).label([self.good_frames()[0]], tmp_path)
        assert "'nonsense' cannot be written" in failed(answer, "refused")


def test_labels_find_their_atoms_again() -> None:
    """A code that sorts by species and turns the cell."""
    rng = np.random.default_rng(5)
    frame = Frame(np.array([13, 6, 13, 6, 8]), rng.uniform(0, 4, (5, 3)), np.array([[4.0, 0, 0], [1, 5, 0], [0, 1, 6]]))
    order = by_species(frame)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    forces, virial = rng.normal(size=(5, 3)), rng.normal(size=(3, 3))
    wrapped = frame.positions[order] + frame.cell[0]
    found = LabeledFrame(
        Frame(frame.numbers[order], wrapped @ turn, frame.cell @ turn),
        Labels(1.0, forces[order] @ turn, turn.T @ virial @ turn),
    )
    answer = aligned(found, frame)
    assert isinstance(answer, Labels)
    np.testing.assert_allclose(answer.forces, forces, atol=1e-10)
    assert answer.virial is not None
    np.testing.assert_allclose(answer.virial, virial, atol=1e-10)
    other = np.argsort([[8, 13, 6].index(number) for number in frame.numbers], kind="stable")
    grouped = LabeledFrame(Frame(frame.numbers[other], frame.positions[other], frame.cell), Labels(1.0, forces[other]))
    answer = aligned(grouped, frame)
    assert isinstance(answer, Labels), "species may come in any order"
    np.testing.assert_allclose(answer.forces, forces, atol=1e-10)
    moved = Frame(frame.numbers, frame.positions + np.eye(5, 3), frame.cell)
    failed(aligned(found, moved), "invalid")


def test_k_points_along_each_vector() -> None:
    cell = np.diag([2.0, 4.0, 100.0])
    assert kpoint_grid(cell, [0.5, 1.0, 0.01]) == (7, 2, 7)


def test_hot_electrons_are_smeared(tmp_path: Path) -> None:
    """Each code's own words for a Fermi-Dirac distribution at a temperature."""

    hot = silicon(1).with_fields(electronic_temperature=11604.5)
    (tmp_path / "Si").mkdir()
    (tmp_path / "Si" / "POTCAR").write_text("fake\n")
    (tmp_path / "Si.upf").touch()
    width = 11604.5 * BOLTZMANN
    settings = vasp.Vasp.model_validate({"engine": "vasp", "potcars": str(tmp_path), "kspacing": 0.5})
    tags = vasp.read_incar(str(vasp.VaspLabeler(settings).files(settings, hot)["INCAR"]))
    assert tags["ISMEAR"] == "-1"
    assert float(tags["SIGMA"]) == pytest.approx(width)
    ab = abacus.Abacus.model_validate(
        {"engine": "abacus", "pseudopotentials": {"Si": tmp_path / "Si.upf"}, "ecutwfc": 50}
    )
    keys = dict(line.split(None, 1) for line in str(abacus.AbacusLabeler(ab).files(ab, hot)["INPUT"]).splitlines()[1:])
    assert keys["smearing_method"] == "fd"
    assert float(keys["smearing_sigma"]) == pytest.approx(width / 13.605693123)
    gp = Gpaw.model_validate(GPAW)
    task = json.loads(str(GpawLabeler(gp).files(gp, hot)["task.json"]))
    assert task["arguments"]["occupations"] == {"name": "fermi-dirac", "width": pytest.approx(width)}


def test_remedies_cannot_hide_a_failure() -> None:
    with pytest.raises(ValidationError, match="electrons.scf_must_converge: not allowed"):  # noqa: RUF043
        QuantumEspresso.model_validate(
            {"engine": "qe", "pseudopotentials": {}, "ecutwfc": 10,
             "remedies": {"unconverged": [{"electrons": {"scf_must_converge": False}}]}}
        )  # fmt: skip


@pytest.mark.parametrize(
    ("output", "file", "labeler", "expected"),
    [
        ("vasp-6.2.0-converged.OUTCAR", "OUTCAR", vasp.VaspLabeler, "6.2.0"),
        ("vasp-5.4.4-converged.OUTCAR", "OUTCAR", vasp.VaspLabeler, "5.4.4.18Apr17-6-g9f103f2a35"),
        ("cp2k-2023.1-converged.out", "cp2k.out", cp2k.Cp2kLabeler, "2023.1"),
        ("gaussian-16-methane.log", "stdout.log", gaussian.GaussianLabeler, "16, Revision B.01"),
        ("gaussian-09-water.log", "stdout.log", gaussian.GaussianLabeler, "09, Revision A.02"),
        ("abacus-3.11.0-unconverged.log", abacus.LOG, abacus.AbacusLabeler, "3.11.0-beta10"),
    ],
)
def test_outputs_say_the_version_of_the_code(
    put: Put, tmp_path: Path, output: str, file: str, labeler: type[Any], expected: str
) -> None:
    made = labeler(None)
    assert isinstance(made, SaysVersion)
    assert made.version(tmp_path) is None
    put(output, f"hash/0/{file}")
    assert made.version(tmp_path) == expected
