"""Values that look the same in two programs and are not: units, defaults, forms of before, and what has no counterpart."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.data import chemical_symbols
from ase.io import read, write

from lamflow.config import Config, parse
from lamflow.config.schema import Study
from lamflow.data.io import read_labeled
from lamflow.driver.inspection import examine
from lamflow.engines.vasp import Vasp
from lamflow.engines.vasp_incar import is_on
from lamflow.errors import InputError
from lamflow.migrate import Migration, migrate
from lamflow.migrate.commands import command, lammps_command
from lamflow.migrate.crystals import crystal
from lamflow.migrate.templates import lammps_template
from tests.migrate.test_migrate import DPGEN2, PARAM, PFD, TEMPLATE, TRAINING, place
from tests.migrate.test_same_meaning import CALYPSO_GROUP, CALYPSO_JOB, OLD_CP2K, OLD_VASP, without_none

__all__ = ["place"]
Spec = dict[str, Any]
WALK = {"sys_idx": [0], "temps": [300], "press": [1.0], "trj_freq": 10, "nsteps": 100, "ensemble": "npt"}
TABLE = chemical_symbols[1:119]


def study(place: Path, raw: Spec, name: str = "input.json") -> tuple[Migration, Spec]:
    """The migration of a file, and its YAML, which the grammar has accepted."""
    (place / name).write_text(json.dumps(raw))
    migration = migrate(place / name, place)
    parse(migration.text, "study.yaml", place, kind=Study, files=False)
    return migration, yaml.safe_load(migration.text)


def notes(migration: Migration, kind: str) -> str:
    return "\n".join(str(note) for note in migration.notes.of(kind))  # type: ignore[arg-type]


def dpgen(**changes: Any) -> Spec:
    return without_none({**copy.deepcopy(PARAM), "model_devi_jobs": [WALK], **changes})


def dpgen2(**sections: Spec) -> Spec:
    raw = copy.deepcopy(DPGEN2)
    return {**raw, **{name: {**raw[name], **section} for name, section in sections.items()}}


@pytest.mark.parametrize(
    ("raw", "bar"),
    [
        (dpgen(model_devi_engine="calypso", model_devi_jobs=[CALYPSO_JOB]), [500.0, 20_000.0]),
        (dpgen2(explore={"type": "calypso", "stages": [[CALYPSO_GROUP]]}), [20_000.0]),
        ({**PFD, "exploration": {**PFD["exploration"], "type": "calypso", "stages": [[CALYPSO_GROUP]]}}, [200_000.0]),
    ],
    ids=["DP-GEN: kbar", "dpgen2: kbar", "PFD-kit: GPa"],
)
def test_pressures_of_searches_are_in_the_programs_own_unit(place: Path, raw: Spec, bar: list[float]) -> None:
    migration, spec = study(place, raw)
    assert spec["stages"][0]["explore"][0]["pressures"] == bar
    assert ("GPa became bar" if bar == [200_000.0] else "kbar became bar") in notes(migration, "changed")


def test_levels_of_a_distillation_are_doubled(place: Path) -> None:
    """The deviation of two models is the standard deviation of two forces: half of their difference."""
    fixed = {"type": "fixed-levels", "level_f_lo": 0.05, "level_f_hi": 0.3, "conv_accuracy": 0.9}
    raw = dpgen2(explore={"convergence": fixed})
    raw["fp"] = {"type": "deepmd", "task_max": 5, "run_config": {"teacher_model_path": "model.pt"}, "inputs_config": {}}
    raw["train"] = {"type": "dp-dist", "template_script": "train.json", "config": {"impl": "pytorch"}}
    migration, spec = study(place, raw)
    forces = np.array([[1.0, 2.0, -0.5], [1.4, 1.7, -0.5]])
    assert np.linalg.norm(forces.std(axis=0)) * 2 == pytest.approx(np.linalg.norm(forces[0] - forces[1]))
    assert spec["select"]["window"] == {"rule": "fixed", "low": 0.1, "high": 0.6}
    assert "level_f_lo" not in notes(migration, "translated")
    assert "half of the error of 0.1 eV/Å" in notes(migration, "changed")


def test_given_models_explore_first_and_are_trained_by_dpgen2s_defaults(place: Path) -> None:
    raw = dpgen2(
        train={"init_models_paths": ["model.pt"] * 3, "config": {"impl": "pytorch", "init_model_policy": "yes"}}
    )
    _, spec = study(place, raw)
    assert spec["train"]["phases"] == [
        {"from_iteration": 1, "start_from": "as_is", "shift_energies": False},
        {
            "from_iteration": 2, "start_from": "init", "steps": 400_000, "start_lr": 1e-4, "old_data_fraction": 0.9,
            "loss": {"start_pref_e": 0.1, "start_pref_f": 100.0, "start_pref_v": 0.0},
        },
    ]  # fmt: skip


def test_every_model_starts_from_its_own_file(place: Path) -> None:
    raw = dpgen2(train={"init_models_paths": ["a.pt", "b.pt", "c.pt"], "config": {"impl": "pytorch"}})
    _, spec = study(place, raw)
    first, later = spec["train"]["phases"][:3], spec["train"]["phases"][3:]
    assert [(phase["members"], phase["pretrained"]["file"]) for phase in first] == [
        ([1], "a.pt"),
        ([2], "b.pt"),
        ([3], "c.pt"),
    ]
    assert later == [{"from_iteration": 2, "start_from": "scratch"}], "init_model_policy is no"
    raw = dpgen(
        numb_models=2, training_init_model=True, training_iter0_model_path=["old/0", "old/1"], training_reuse_iter=None
    )
    _, spec = study(place, raw)
    files = [phase["pretrained"]["file"] for phase in spec["train"]["phases"][:2]]
    assert files == ["old/0/model.ckpt.pt", "old/1/model.ckpt.pt"]


@pytest.mark.parametrize(
    ("convergence", "pick"),
    [
        ({"type": "fixed-levels", "level_f_lo": 0.05, "level_f_hi": 0.3}, "random"),
        ({"type": "fixed-levels-max-select", "level_f_lo": 0.05, "level_f_hi": 0.3}, "uncertain"),
        ({"type": "adaptive-lower", "level_f_hi": 0.3}, "random"),
        ({"type": "adaptive-lower", "level_f_hi": 0.3, "candi_sel_prob": "inv_pop_f:5"}, "random"),
    ],
)
def test_candidates_are_drawn_as_dpgen2_draws_them(place: Path, convergence: Spec, pick: str) -> None:
    migration, spec = study(place, dpgen2(explore={"convergence": convergence}))
    assert spec["select"]["pick"] == pick
    assert ("inv_pop_f:5" in notes(migration, "changed")) is ("candi_sel_prob" in convergence)


def test_a_tolerance_of_another_kind_is_said(place: Path) -> None:
    migration, spec = study(place, DPGEN2)
    window = spec["select"]["window"]
    assert (window["settled"], window["over"]) == (0.01, 2), "three levels have two changes"
    assert "0.01 eV/Å at most there, of 0.01 times the level here" in notes(migration, "changed")


def test_filters_drop_what_the_other_program_drops(place: Path) -> None:
    migration, spec = study(place, PARAM)
    assert spec["select"]["filters"] == {
        "min_distance": 0.0, "max_length_ratio": 4.0, "min_angle": 0.0, "volume_per_atom": [0.0, 1e9],
    }  # fmt: skip
    assert "min_angle, min_distance, volume_per_atom: DP-GEN has no such filter" in notes(migration, "changed")
    assert "fp_skip_bad_box height_ratio" in notes(migration, "lost")
    own = [{"type": "box_length", "length_ratio": 7.0}, {"type": "box_skewness", "theta": 50.0}, {"type": "distance"}]
    _, spec = study(place, dpgen2(explore={"filters": own}))
    assert spec["select"]["filters"] == {
        "min_distance": 0.55, "max_length_ratio": 7.0, "min_angle": 40.0, "volume_per_atom": [0.0, 1e9],
    }  # fmt: skip


def test_starts_count_frames(place: Path) -> None:
    write(place / "many.extxyz", [bulk("Cu", a=3.5 + 0.02 * n) for n in range(5)])
    folder = place / "four" / "set.000"
    folder.mkdir(parents=True)
    (place / "four" / "type.raw").write_text("0 1\n")
    (place / "four" / "type_map.raw").write_text("Al Cu\n")
    np.save(folder / "box.npy", np.tile(4 * np.eye(3).ravel(), (4, 1)))
    np.save(folder / "coord.npy", np.tile([0, 0, 0, 2.0, 2.0, 2.0], (4, 1)))
    _, spec = study(place, dpgen(sys_configs_prefix=None, sys_configs=[["four"]], sys_format="deepmd/npy"))
    assert spec["stages"][0]["explore"][0]["starts"] == 4
    _, spec = study(place, dpgen(sys_configs_prefix=None, sys_configs=[["many.extxyz"]], sys_format="extxyz"))
    assert spec["stages"][0]["explore"][0]["starts"] == 5
    migration, spec = study(place, dpgen(sys_configs=[["scale*/00000[0-4]/POSCAR"]]))
    assert "starts" not in spec["stages"][0]["explore"][0]
    assert "are not here to be counted" in notes(migration, "changed")


@pytest.mark.parametrize(
    ("indices", "n_sample", "starts"),
    [
        ([0], None, {"conf-0": 2}),
        ([0, 1], None, {"conf-0": 2, "conf-1": 5}),
        ([0, 1, 2], 7, {"conf-0": 2, "conf-1": 3, "conf-2-0": 1, "conf-2-1": 1}),
        ([0, 1], 1, {"conf-0": 1, "conf-1": 1}),
        ([1], 9, {"conf-1": 9}),
    ],
)
def test_as_many_simulations_start_as_dpgen2_draws_of_all_sets(
    place: Path, indices: list[int], n_sample: int | None, starts: dict[str, int]
) -> None:
    for number, size in enumerate((2, 5)):
        write(place / f"many-{number}.extxyz", [bulk("Cu", a=3.5 + 0.02 * n) for n in range(size)])
    confs: list[Spec] = [{"type": "file", "files": [f"many-{n}.extxyz"], "fmt": "extxyz"} for n in (0, 1)]
    confs.append({"type": "alloy", "lattice": ["fcc", 3.9], "numb_confs": 1, "concentration": [[1, 0], [0, 1]]})
    group = without_none({**DPGEN2["explore"]["stages"][0][0], "conf_idx": indices, "n_sample": n_sample})
    migration, spec = study(place, dpgen2(explore={"configurations": confs, "stages": [[group]]}))
    explore = spec["stages"][0]["explore"]
    assert {name: entry["starts"] for entry in explore for name in entry["structures"]} == starts
    several = n_sample is not None and len(starts) > 1
    assert (f"{n_sample} of all structures of the group there" in notes(migration, "changed")) is several
    assert ("n_sample" in notes(migration, "translated")) is (n_sample is not None and not several)


def test_a_periodic_table_is_cut_everywhere(place: Path) -> None:
    lammps = {
        "type": "lmp-template",
        "sys_idx": [0],
        "n_sample": 2,
        "lmp": "in.template",
        "revisions": {"V_TEMP": [300], "V_NSTEPS": [200]},
    }
    alloy = {"type": "alloy", "lattice": ["fcc", 3.9], "numb_confs": 2,
             "concentration": [[1.0 if symbol in ("Al", "Cu", "H") else 0.0 for symbol in TABLE]]}  # fmt: skip
    (place / "in.template").write_text(
        TEMPLATE.replace("mass 1 27\nmass 2 64", "mass 13 26.98\nmass 29 63.55\nmass 1 1.0")
    )
    raw = dpgen2(
        inputs={"type_map": TABLE, "mass_map": [1.0]}, explore={"configurations": [alloy], "stages": [[lammps]]}
    )
    migration, spec = study(place, raw)
    assert spec["elements"] == ["Al", "Cu"]
    assert spec["stages"][0]["explore"][0]["types"] == ["Al", "Cu"]
    assert spec["structures"][0]["composition"] == {"Al": 0.5, "Cu": 0.5}
    template = (place / "stage-0-0.lammps").read_text()
    assert "mass 1 26.98\nmass 2 63.55\n" in template
    assert "1.0\n" not in template.split("{{ potential }}")[0]
    assert "numbered anew (1 = Al, 2 = Cu)" in notes(migration, "changed")


@pytest.mark.parametrize("kind", ["gaussian", "fpop_cp2k"])
def test_structures_say_what_a_periodic_table_is_for(place: Path, kind: str) -> None:
    files = {"type": "file", "prefix": "start", "files": ["*/POSCAR"], "fmt": "vasp/poscar"}
    raw = dpgen2(inputs={"type_map": TABLE, "mass_map": [1.0], "mixed_type": False}, explore={"configurations": [files]},
                 fp={"type": kind, "inputs_config": {}})  # fmt: skip
    _, spec = study(place, raw)
    assert spec["elements"] == ["Al", "Cu"], "of the start data and the structures"
    assert set(spec["label"].get("basis", spec["elements"])) == {"Al", "Cu"}


def test_lists_of_elements_follow_the_order_of_the_run(place: Path) -> None:
    script = copy.deepcopy(TRAINING)
    script["model"]["type_map"] = ["Cu", "Al"]  # type: ignore[index]
    script["model"]["descriptor"]["sel"] = [46, 55]  # type: ignore[index]
    migration, spec = study(place, dpgen2(train={"template_script": script}))
    assert spec["train"]["input"]["model"]["descriptor"]["sel"] == [55, 46]
    assert "sel -> train.input.model: brought into the order Al Cu" in notes(migration, "changed")
    _, spec = study(place, dpgen(default_training_param=script))
    assert spec["train"]["input"]["model"]["descriptor"]["sel"] == [46, 55], "DP-GEN puts its own type map in"


def test_lists_of_elements_are_left_alone_where_the_order_is_their_own(place: Path) -> None:
    raw = {"name": "clean", "dataset": ["data/one"], "valid_data": ["data/two"],
           "train": {"op": "dpclean.dp.RunDPTrain", "params": TRAINING}}  # fmt: skip
    migration, spec = study(place, raw)
    assert spec["train"]["input"]["model"]["descriptor"]["sel"] == [40, 40]
    assert "sel ->" not in notes(migration, "changed")
    script = copy.deepcopy(TRAINING)
    script["model"]["type_map"] = ["Cu", "Al"]  # type: ignore[index]
    script["model"]["descriptor"]["sel"] = [46, 55]  # type: ignore[index]
    _, spec = study(place, {**PFD, "train": {**PFD["train"], "template_script": script}})
    assert dict(zip(spec["elements"], spec["train"]["input"]["model"]["descriptor"]["sel"], strict=True)) == {
        "Cu": 46,
        "Al": 55,
    }


def test_lammps_data_gets_its_elements_from_the_type_map(place: Path) -> None:
    (place / "conf.lmp").write_text(
        "two\n\n3 atoms\n2 atom types\n0 5 xlo xhi\n0 5 ylo yhi\n0 5 zlo zhi\n0 0 0 xy xz yz\n\n"
        "Atoms # atomic\n\n1 2 0 0 0\n2 1 2.5 2.5 0\n3 1 0 2.5 2.5\n"
    )
    raw = dpgen(sys_configs_prefix=None, sys_configs=[["conf.lmp"]], sys_format="lammps/lmp")
    _, spec = study(place, raw)
    assert spec["structures"][0]["files"] == ["sys-0.extxyz"]
    assert "format" not in spec["structures"][0]
    atoms = read(place / "sys-0.extxyz")
    assert sorted(atoms.get_chemical_symbols()) == ["Al", "Al", "Cu"]
    migration, spec = study(place, {**raw, "sys_configs": [["away.lmp"]]}, "other.json")
    assert spec["structures"][0]["format"] == "lammps/lmp"
    assert "names types by number" in notes(migration, "changed")


@pytest.mark.parametrize(("kind", "same"), [(1, True), (2, False)])
def test_electronic_temperatures_of_atoms_are_not_those_of_frames(place: Path, kind: int, same: bool) -> None:
    training = copy.deepcopy(TRAINING)
    training["model"]["fitting_net"]["numb_fparam"] = 10  # type: ignore[index]
    migration, spec = study(place, dpgen(use_ele_temp=kind, default_training_param=training))
    assert spec["train"]["electronic_temperature"] is True
    assert ("use_ele_temp = 1" in notes(migration, "translated")) is same
    assert ("(aparam)" in notes(migration, "changed")) is not same
    assert "10 becomes one parameter of the frame" in notes(migration, "changed")
    assert "temps name none: give electronic_temperatures" in notes(migration, "changed")
    assert "numb_fparam" not in spec["train"]["input"]["model"]["fitting_net"]
    migration, spec = study(place, dpgen(default_training_param=training))
    assert "numb_fparam = 10" in notes(migration, "lost")


def test_the_old_form_of_vasp(place: Path) -> None:
    migration, spec = study(place, dpgen(fp_incar=None, fp_params=OLD_VASP))
    label = spec["label"]
    assert label["input"] == {
        "PREC": "A", "ISYM": 0, "ALGO": "fast", "LREAL": "A", "NELMIN": 4, "ENCUT": 600, "NPAR": 1, "KPAR": 2, "SIGMA": 0.25,
        "ISMEAR": 2, "LASPH": True, "METAGGA": "SCAN", "EDIFF": 1e-5, "NELM": 80,
    }  # fmt: skip
    assert (label["kspacing"], label["gamma"]) == (0.16, False)
    assert "fp_params.ediff = 1e-06: user_vasp_params has it too" in notes(migration, "lost")


def test_the_old_form_of_cp2k(place: Path) -> None:
    raw = dpgen(fp_incar=None, fp_pp_path=None, fp_pp_files=None, fp_style="cp2k")
    _, spec = study(place, {**raw, "fp_params": OLD_CP2K})
    label = spec["label"]
    assert label["basis"] == {"Cu": "SZV", "Al": "DZVP"}
    assert label["potentials"] == {"Cu": "GTH-q11", "Al": "GTH-q3"}
    assert (label["cutoff"], label["rel_cutoff"], label["functional"]) == (450, 60, "BLYP")
    assert label["input"] == {"FORCE_EVAL": {"DFT": {"SCF": {"MAX_SCF": 30}}}}
    pair = {"pair_potential_path": "dftd3.dat", "pair_ref_functional": "BLYP"}
    migration, _ = study(place, {**raw, "fp_params": {**OLD_CP2K, **pair}})
    assert "pair_potential_type is not given" in notes(migration, "lost")
    _, spec = study(place, {**raw, "fp_params": {**OLD_CP2K, **pair, "pair_potential_type": "DFTD3"}})
    assert spec["label"]["input"]["FORCE_EVAL"]["DFT"]["XC"]["VDW_POTENTIAL"]["PAIR_POTENTIAL"]["TYPE"] == "DFTD3"


def test_the_old_form_of_pwscf_has_what_dp_gen_writes_beside_it(place: Path) -> None:
    raw = dpgen(fp_incar=None, fp_style="pwscf", fp_pp_path=".", fp_pp_files=["Al.upf", "Cu.upf"],
                fp_params={"ecut": 50, "ediff": 1e-8, "kspacing": 0.3})  # fmt: skip
    _, spec = study(place, raw)
    assert spec["label"]["input"]["system"] == {"vdw_corr": "TS", "nosym": True, "ts_vdw_econv_thr": 1e-8}


@pytest.mark.parametrize(
    ("incar", "kept"),
    [
        ("ENCUT = 400\nKSPACING = 0.3\nNSW = 0\nIBRION = 2\n", True),
        ("ENCUT = 400\nKSPACING = 0.3\nNSW = 0\nIBRION = 0\nPOTIM = 1\n", True),
        ("ENCUT = 400\nKSPACING = 0.3\nNSW = 100\nIBRION = 2\n", False),
        ("ENCUT = 400\nKSPACING = 0.3\nIBRION = 7\n", False),
        ("ENCUT = 400\nKSPACING = 0.3\nISIF = 0\n", False),
        ("ENCUT = 400\nKSPACING = 0.3\nLDAU = T\nLDAUU = 4 0\n", False),
        ("ENCUT = 400\nKSPACING = 0.3\nPSTRESS = 0\nML_LMLFF = .FALSE.\n", True),
        ("ENCUT = 400\nKSPACING = 0.3\nPSTRESS = 100\n", False),
        ("ENCUT = 400\nKSPACING = 0.3\nML_LMLFF = .TRUE.\n", False),
    ],
)
def test_an_incar_of_anything_becomes_a_single_point(place: Path, incar: str, kept: bool) -> None:
    (place / "INCAR").write_text(incar)
    for raw in (dpgen(), DPGEN2):
        migration, spec = study(place, raw)
        assert ("incar" in spec["label"]) is kept
        if not kept:
            assert spec["label"]["input"]["ENCUT"] == "400"
            assert "without those that are left out below" in notes(migration, "changed")
            assert any(
                tag in notes(migration, "lost") for tag in ("NSW", "IBRION", "ISIF", "LDAUU", "PSTRESS", "ML_LMLFF")
            )


def test_a_training_with_spins_and_moments_that_vasp_holds(place: Path) -> None:
    """DP-GEN hands DeePMD-kit's section `spin` and the INCAR through; lamflow has settings for both."""
    (place / "INCAR").write_text(
        "ENCUT = 400\nKSPACING = 0.3\nLNONCOLLINEAR = T\nLDELTASPIN = T\nM_DELTASPIN = 0 0 2\n"
    )
    given = dpgen()
    given["default_training_param"]["model"]["spin"] = {"use_spin": [False, True], "virtual_scale": [0.0, 0.25]}
    given["default_training_param"]["loss"] = {"type": "ener_spin", "start_pref_fm": 1000}
    migration, spec = study(place, given)
    assert spec["train"]["spin"] == {"elements": ["Cu"], "virtual_scale": 0.25}
    assert "spin" not in spec["train"]["input"]["model"]
    assert spec["train"]["input"]["loss"] == {"start_pref_fm": 1000}
    assert "compress" not in spec["train"]
    assert spec["label"]["deltaspin"] == {"elements": ["Al", "Cu"]}
    assert "M_DELTASPIN" in notes(migration, "lost")
    assert "moments of all elements are held" in notes(migration, "changed")


def test_an_incar_without_kspacing_has_vasps_own(place: Path) -> None:
    (place / "INCAR").write_text("ENCUT = 400\n")
    migration, spec = study(place, dpgen())
    assert spec["label"]["kspacing"] == 0.5
    assert "VASP's own 0.5" in notes(migration, "changed")


@pytest.mark.parametrize("more", ["", "NSW = 5\n"])
def test_meshes_of_other_keys_have_the_centre_that_the_incar_says(place: Path, more: str) -> None:
    """DP-GEN takes KGAMMA of the INCAR also with fp_aniso_kspacing; dpgen2 has a key of its own."""
    (place / "INCAR").write_text(f"ENCUT = 400\nKSPACING = 0.3\nKGAMMA = .FALSE.\n{more}")
    for raw, spacing, gamma in (dpgen(fp_aniso_kspacing=[0.2, 0.2, 1.0]), [0.2, 0.2, 1.0], False), (DPGEN2, 0.3, False):
        migration, spec = study(place, raw)
        label = parse(migration.text, "study.yaml", place).labeler()
        assert isinstance(label, Vasp)
        assert spec["label"]["kspacing"] == spacing
        assert is_on(label.tags()["KGAMMA"]) is gamma
        assert "KSPACING = '0.3' -> " not in notes(migration, "translated")
        assert "KSPACING" not in notes(migration, "changed")
        assert ("KSPACING = '0.3': another key says it" in notes(migration, "lost")) is bool(more)


def test_a_shifted_mesh_of_abacus_is_said(place: Path) -> None:
    for centre in ("Gamma", "MP"):
        (place / "KPT").write_text(f"K_POINTS\n0\n{centre}\n4 4 2 0 0 0\n")
        migration, spec = study(place, dpgen(fp_style="abacus", fp_incar=None, fp_kpt_file="KPT"))
        assert spec["label"]["kpoints"] == [4, 4, 2]
        assert ("all are centred at Γ here" in notes(migration, "changed")) is (centre == "MP")


@pytest.mark.parametrize(
    ("text", "engine", "words"),
    [
        ("mpirun -n 32 cp2k.popt -i input.inp", "cp2k", ["mpirun", "-n", "32", "cp2k.popt"]),
        ("cp2k.psmp -o output -i input.inp", "cp2k", ["cp2k.psmp"]),
        ("mpirun -n 4 /opt/cp2k.psmp input.inp", "cp2k", ["mpirun", "-n", "4", "/opt/cp2k.psmp"]),
        ("mpirun -i -n 4 pw.x -nk 2 -in input > out", "qe", ["mpirun", "-i", "-n", "4", "pw.x", "-nk", "2"]),
        ("pw.x -input x -ndiag 1", "qe", ["pw.x", "-ndiag", "1"]),
        ("g16 < input || :", "gaussian", ["g16"]),
        ("g16 input.com output.log", "gaussian", ["g16"]),
        ("my-wrapper -i input.inp", "cp2k", ["my-wrapper", "-i", "input.inp"]),
    ],
)
def test_programs_are_not_told_twice_of_their_input(text: str, engine: str, words: list[str]) -> None:
    assert command(text, engine) == words


def test_shells_pass_the_input_to_the_program() -> None:
    text = "source env.sh && mpirun -n 4 cp2k.popt -i input.inp -o output && rm -f x"
    assert command(text, "cp2k")[2] == 'source env.sh && mpirun -n 4 cp2k.popt "$@" && rm -f x'
    assert lammps_command("source env.sh; lmp -i input.lammps -v restart 0")[2] == 'source env.sh; lmp "$@"'


def hybrid(lines: str) -> str:
    return TEMPLATE.replace("pair_style deepmd\npair_coeff * *\n", lines)


def templated(place: Path, text: str) -> tuple[Migration, Spec, str]:
    """A template of DP-GEN, migrated: the migration, the explore group, the template."""
    (place / "in.template").write_text(text)
    (place / "job-0.lammps").unlink(missing_ok=True)
    job = {
        "sys_idx": [0],
        "trj_freq": 10,
        "template": {"lmp": "in.template"},
        "rev_mat": {"lmp": {"V_TEMP": [300], "V_NSTEPS": [50]}},
    }
    migration, spec = study(place, dpgen(model_devi_jobs=[job]))
    return migration, spec["stages"][0]["explore"][0], (place / "job-0.lammps").read_text()


def test_masses_of_templates_are_kept(place: Path) -> None:
    migration, _, text = templated(place, TEMPLATE.replace("mass 1 27", "mass 1 2.014"))
    assert "mass 1 2.014\nmass 2 64\n" in text
    assert "mass 1 2.014 -> template: kept: Al moves with 2.014 u" in notes(migration, "changed")


def test_styles_over_the_model_become_overlays(place: Path) -> None:
    lines = (
        "pair_style hybrid/overlay deepmd ../graph.000.pb out_freq 10 zbl 0.6 1.2 dispersion/d3 bj pbe 30 20\n"
        "pair_coeff * * deepmd\npair_coeff 1 2 zbl 13 29\npair_coeff 2 2 zbl 29 29\npair_coeff * * dispersion/d3 Al Cu\n"
    )
    migration, group, text = templated(place, hybrid(lines))
    assert group["overlays"] == [
        {"style": "zbl 0.6 1.2", "coefficients": ["{Al} {Cu} 13 29", "{Cu} {Cu} 29 29"]},
        {"style": "dispersion/d3 bj pbe 30 20", "coefficients": ["* * {elements}"]},
    ]
    assert text.count("{{ potential }}") == 1
    assert "pair_" not in text
    assert "pair_style zbl 0.6 1.2 -> stages: overlays" in notes(migration, "translated")


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("pair_style hybrid deepmd g.pb lj/cut 8\npair_coeff 1 1 deepmd\npair_coeff 1 2 lj/cut 1 2\n", r"in\.template, line 7: pair_style hybrid"),
        ("pair_style eam/alloy\npair_coeff * * Al.eam Al Cu\n", r"in\.template, line 7: pair_style eam/alloy"),
        ("", "has no `pair_style deepmd`"),
    ],
)  # fmt: skip
def test_potentials_that_are_no_layers_are_refused_by_their_line(place: Path, lines: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        templated(place, hybrid(lines))
    assert not (place / "job-0.lammps").exists()


def test_open_boundaries_of_templates_are_said(place: Path) -> None:
    migration, _, text = templated(place, TEMPLATE.replace("units metal", "units metal\nboundary f f f"))
    assert "boundary f f f" in text
    assert "boundary f f f -> template: kept" in notes(migration, "changed")


def test_restarts_of_templates_are_taken_as_a_beginning() -> None:
    text = (
        'if "${restart} > 0" then "read_restart dpgen.restart.*" else "read_data conf.lmp"\n'
        'if "${restart} == 0" then "velocity all create 300 1"\n'
    )
    assert lammps_template(text, []) == "read_data {{ structure }}\nvelocity all create 300 1\n"


def test_a_system_has_its_own_revisions_beside_those_of_all(place: Path) -> None:
    """As DP-GEN: each of the system's with each of rev_mat's, which are put in first; what differs in text is a file."""
    (place / "in.template").write_text(TEMPLATE + "variable PRES equal V_PRES\ninclude V_FILE\n")
    own = {
        "0": {"lmp": {"V_PRES": [1, 10], "V_FILE": ["a.lmp"], "V_TEMP": [5]}, "_type": "IS"},
        "1": {"lmp": {"V_PRES": [2], "V_FILE": ["b.lmp"]}},
        "2": {"lmp": {"V_PRES": [1, 5, 10], "V_FILE": ["a.lmp"]}},
    }
    job = {
        "sys_idx": [0, 1, 2], "trj_freq": 10, "template": {"lmp": "in.template"},
        "rev_mat": {"lmp": {"V_TEMP": [300, 400], "V_NSTEPS": [50]}}, "sys_rev_mat": own,
    }  # fmt: skip
    migration, spec = study(place, dpgen(model_devi_jobs=[job]))
    first, second, third = spec["stages"][0]["explore"]
    general = {"V_TEMP": [300, 400], "V_NSTEPS": [50]}
    assert [group["variables"] for group in (first, second, third)] == [
        general | {"V_PRES": items} for items in ([1, 10], [2], [1, 5, 10])
    ]
    templates = [Path(group["template"]).name for group in (first, second, third)]
    assert templates == ["job-0.lammps", "job-0-1.lammps", "job-0.lammps"]
    for name, file in (("job-0.lammps", "a.lmp"), ("job-0-1.lammps", "b.lmp")):
        text = (place / name).read_text()
        assert f"variable PRES equal {{{{ V_PRES }}}}\ninclude {file}\n" in text
    assert "sys_rev_mat.0.lmp.V_TEMP: rev_mat has it, too, and DP-GEN puts that in first" in notes(migration, "lost")
    assert "V_PRES" not in notes(migration, "lost")


def test_a_placeholder_without_a_value_is_said_and_refused_by_check(place: Path) -> None:
    (place / "in.template").write_text(TEMPLATE + "variable PRES equal V_PRES\n")
    job = {
        "sys_idx": [0], "trj_freq": 10, "template": {"lmp": "in.template"},
        "rev_mat": {"lmp": {"V_TEMP": [300], "V_NSTEPS": [50]}},
    }  # fmt: skip
    migration, spec = study(place, dpgen(model_devi_jobs=[job]))
    assert "V_PRES: no revision has a value for it; write one in line 14 of job-0.lammps" in notes(migration, "lost")
    with pytest.raises(
        InputError, match=r"job-0\.lammps, line 14: V_PRES looks like a placeholder of DP-GEN's, and noth"
    ):
        examine(parse(migration.text, "study.yaml", place, kind=Config, files=False))
    (place / "job-0.lammps").write_text((place / "job-0.lammps").read_text().replace("V_PRES", "1"))
    (place / "in.plumed").write_text("V_D: DISTANCE ATOMS=1,2\nPRINT ARG=V_D STRIDE=V_STRIDE  # V_OLD\n")
    group = spec["stages"][0]["explore"][0] | {"plumed": str(place / "in.plumed")}
    spec["stages"][0]["explore"] = [group]
    with pytest.raises(InputError, match=r"in\.plumed, line 2: V_STRIDE looks like"):
        examine(parse(yaml.dump(spec), "study.yaml", place, kind=Config, files=False))


def test_texts_and_plumed_values_of_one_value_are_put_in(place: Path) -> None:
    (place / "in.template").write_text(TEMPLATE + "include V_FILE\n")
    (place / "in.plumed").write_text("PRINT STRIDE=V_STRIDE\n")
    values = {"lmp": {"V_TEMP": [300, 400], "V_NSTEPS": [50], "V_FILE": ["more.lmp"]}, "plm": {"V_STRIDE": [10]}}
    job = {"sys_idx": [0], "trj_freq": 10, "template": {"lmp": "in.template", "plm": "in.plumed"}, "rev_mat": values}
    _, spec = study(place, dpgen(model_devi_jobs=[job]))
    assert (place / "job-0.plumed").read_text() == "PRINT STRIDE=10\n"
    assert "include more.lmp" in (place / "job-0.lammps").read_text()
    assert spec["stages"][0]["explore"][0]["variables"] == {"V_TEMP": [300, 400], "V_NSTEPS": [50]}


def test_thermostats_have_the_other_programs_defaults(place: Path) -> None:
    job = without_none({**WALK, "taut": None})
    _, spec = study(place, dpgen(model_devi_jobs=[job]))
    group = spec["stages"][0]["explore"][0]
    assert (group["thermostat_time"], group["barostat_time"]) == (0.1, 0.5)
    task = without_none({**DPGEN2["explore"]["stages"][0][0], "tau_t": None})
    _, spec = study(place, dpgen2(explore={"stages": [[task]]}))
    group = spec["stages"][0]["explore"][0]
    assert (group["thermostat_time"], group["barostat_time"]) == (0.05, 0.5)


def test_dispersion_that_is_not_enabled_is_left_out(place: Path) -> None:
    d3 = {"enable": False, "functional": "pbe", "damping_function": "bj", "cutoff": 30.0, "cn_cutoff": 20.0}
    migration, spec = study(place, dpgen(lmp_d3=d3))
    assert "d3" not in spec["stages"][0]["explore"][0]
    assert "lmp_d3: it is not enabled" in notes(migration, "lost")
    _, spec = study(place, dpgen(lmp_d3={**d3, "enable": True}))
    assert spec["stages"][0]["explore"][0]["d3"]["cutoff"] == 30.0


def test_hdf5_files_are_named_once(place: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(place / "data.hdf5", "w") as file:
        for name, count in (("a/b", 2), ("c", 1)):
            file[f"{name}/type.raw"] = np.array([0, 1])
            file[f"{name}/type_map.raw"] = np.array([b"Al", b"Cu"])
            file[f"{name}/set.000/box.npy"] = np.tile(4 * np.eye(3).ravel(), (count, 1))
            file[f"{name}/set.000/coord.npy"] = np.tile(np.array([0, 0, 0, 2, 2, 2.0]), (count, 1))
            file[f"{name}/set.000/energy.npy"] = -np.arange(1.0, count + 1)
            file[f"{name}/set.000/force.npy"] = 0.1 * np.ones((count, 6))
    migration, spec = study(
        place, dpgen(init_data_prefix=None, init_data_sys=["data.hdf5#/a/b", "data.hdf5#/c", "data/one"])
    )
    assert spec["start"]["data"] == ["data.hdf5", "data/one"]
    assert "data.hdf5" not in migration.missing
    assert "all systems in this file are read" in notes(migration, "changed")
    labeled = read_labeled(place / "data.hdf5")
    assert len(labeled) == 3
    assert labeled[0].frame.symbols == ["Al", "Cu"]
    (place / "broken.h5").write_text("no")
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        read_labeled(place / "broken.h5")


@pytest.mark.parametrize(
    ("kind", "nearest", "expected"),
    [
        ("fcc", False, (4, 4.0**3)),
        ("bcc", False, (2, 4.0**3)),
        ("sc", False, (1, 4.0**3)),
        ("hcp", False, (2, 4.0**3 * np.sqrt(2))),
        ("hcp", True, (2, 4.0**3 / 2)),
        ("diamond", False, (2, 2 * 4.0**3)),
    ],
)
def test_crystals_have_the_cells_of_the_other_programs(kind: str, nearest: bool, expected: tuple[int, float]) -> None:
    """Number of atoms and volume of the cell for a constant of 4 Å: theirs are written out in their unit cells."""
    spec = crystal(kind, 4.0, "Si", nearest=nearest)
    atoms = bulk("Si", spec["lattice"], a=spec["a"], c=spec.get("c"), cubic=spec.get("cubic", False))
    assert (len(atoms), atoms.get_volume()) == (expected[0], pytest.approx(expected[1], rel=1e-6))


INIT = {
    "stages": [1, 2], "cell_type": "fcc", "latt": 4.1, "super_cell": [2, 1, 1], "elements": ["Al"], "potcars": ["potentials/POTCAR.Al"],
    "relax_incar": "INCAR", "md_incar": "INCAR.md", "scale": [0.98, 1.0], "skip_relax": True, "pert_numb": 5, "pert_box": 0.03,
    "pert_atom": 0.03, "md_nstep": 10, "coll_ndata": 50,
}  # fmt: skip


def test_init_bulk(place: Path) -> None:
    (place / "INCAR.md").write_text("ENCUT = 400\nKSPACING = 0.3\nNSW = 10\nIBRION = 0\nTEBEG = 300\nPOTIM = 1\n")
    migration, spec = study(place, INIT)
    first = spec["structures"][0]
    assert spec["workflow"] == "training"
    assert first["crystal"] == {"formula": "Al", "lattice": "fcc", "a": 4.1, "cubic": True}
    assert (first["supercell"], first["scale"], first["copies"], first["strain"]) == ([2, 1, 1], [0.98, 1.0], 5, 0.03)
    assert first["rattle"] == pytest.approx(0.01), "uniform displacements of up to 0.03 Å"
    assert spec["start"] == {"label": ["bulk"]}
    assert spec["label"]["input"] == {"ENCUT": "400"}
    assert "md_nstep = 10: there is no dynamics by the label engine" in notes(migration, "lost")


def test_init_surf(place: Path) -> None:
    raw = {
        **INIT,
        "millers": [[1, 0, 0], [1, 1, 1]],
        "z_min": 9,
        "vacuum_max": 12.0,
        "vacuum_resol": [0.5, 1],
        "mid_point": 4.0,
    }
    migration, spec = study(place, raw)
    slabs = [item["slab"] for item in spec["structures"] if item["name"].startswith("surface")]
    assert [slab["miller"] for slab in slabs] == [[1, 0, 0], [1, 1, 1]]
    assert slabs[0] == {"miller": [1, 0, 0], "layers": 3, "vacuum": 12.0}
    assert "vacuum_resol: each slab has one vacuum" in notes(migration, "lost")


def test_init_reaction_is_refused(place: Path) -> None:
    with pytest.raises(InputError, match="runs no ReaxFF dynamics"):
        study(place, {"type_map": ["H", "O"], "reaxff": {}, "cutoff": 3.5, "dataset_size": 100, "qmkeywords": "b3lyp"})


def test_autotest_and_apex_become_studies_of_properties(place: Path) -> None:
    properties = [
        {"type": "eos", "vol_start": 0.9, "vol_end": 1.1, "vol_step": 0.01, "cal_setting": {"relax_pos": True}},
        {"type": "elastic", "norm_deform": 2e-2, "shear_deform": 5e-2},
        {"type": "gamma", "plane_miller": [1, 1, 1], "slip_direction": [-1, 1, 0], "n_steps": 10},
        {"type": "phonon", "supercell_size": [3, 3, 3], "MESH": "20 20 20"},
        {"type": "surface", "skip": True, "max_miller": 2},
        {"type": "rss", "n": 4},
    ]
    raw = {"structures": ["start/*"], "interaction": {"type": "deepmd", "model": "model.pt", "type_map": {"Al": 0, "Cu": 1}},
           "properties": properties, "relaxation": {"cal_setting": {"etol": 0}}}  # fmt: skip
    migration, spec = study(place, raw)
    assert spec["workflow"] == "properties"
    assert (spec["elements"], spec["potentials"]) == (
        ["Al", "Cu"], [{"name": "deepmd", "evaluate": {"engine": "deepmd", "model": {"file": "model.pt"}}}],
    )  # fmt: skip
    assert [item["files"] for item in spec["structures"]] == [["start/0/POSCAR"], ["start/1/POSCAR"]]
    assert spec["properties"] == [
        {"property": "eos", "strain": 0.1, "points": 21},
        {"property": "elastic", "strain": 0.02},
        {"property": "gamma", "miller": [1, 1, 1], "direction": [-1, 1, 0], "points": 11},
        {"property": "phonon", "supercell": [3, 3, 3], "mesh": 20},
    ]
    assert "shear_deform" in notes(migration, "changed")
    lost = notes(migration, "lost")
    for key in ("n = 4: there is no such property", "max_miller = 2: `skip` leaves it out", "cal_setting"):
        assert key in lost


def test_what_apex_says_of_hexagonal_crystals_keeps_its_meaning(place: Path) -> None:
    properties = [
        {"type": "gamma", "plane_miller": [0, 0, 0, 1], "slip_direction": [1, 0, -1, 0]},
        {
            "type": "gamma",
            "plane_miller": [0, 1, -1, 1],
            "slip_direction": [-2, 1, 1, 3],
            "hcp": {"plane_miller": [0, 0, 1]},
        },
        {"type": "gamma", "plane_miller": [0, 0, 0, 1], "slip_direction": [2, -1, -1, 0]},
        {"type": "surface", "max_miller": 6},
        {"type": "elastic", "norm_deform": 0.5},
        {"type": "phonon", "supercell_size": [2, 2, 2]},
        {"type": "phonon", "supercell_size": [3, 3, 3], "primitive": True},
    ]
    raw = {"structures": ["start/0"], "interaction": {"type": "deepmd", "model": "model.pt", "type_map": {"Cu": 0}},
           "properties": properties}  # fmt: skip
    migration, spec = study(place, raw)
    slips = [(item["miller"], item["direction"]) for item in spec["properties"] if item["property"] == "gamma"]
    assert slips == [([0, 0, 1], [2, 1, 0]), ([0, 1, 1], [-1, 0, 1]), ([0, 0, 1], [1, 0, 0])]
    assert "hcp" in notes(migration, "lost")
    changed = notes(migration, "changed")
    for said in (
        "max_miller: 6 is more than there is: 4 is put in",
        "0.5 is more than there is: 0.3",
        "primitive cell",
    ):
        assert said in changed
    assert changed.count("supercell_size") == 1


def test_structures_of_folders_of_one_name_have_names_of_their_own(place: Path) -> None:
    for folder in ("x/a", "y/a", "z/a-1"):
        (place / folder).mkdir(parents=True)
        shutil.copy(place / "start" / "0" / "POSCAR", place / folder / "POSCAR")
    raw = {"structures": ["x/a", "y/a", "z/a-1"],
           "interaction": {"type": "deepmd", "model": "model.pt", "type_map": {"Cu": 0}},
           "properties": [{"type": "eos"}]}  # fmt: skip
    _, spec = study(place, raw)
    assert [item["name"] for item in spec["structures"]] == ["a-2", "a-3", "a-1"]


def test_apex_at_temperatures(place: Path) -> None:
    moving = {"temperature": [300, 600], "equi_step": 30000, "ave_step": 10000, "N_every": 100, "tdamp": 0.1}
    raw = {
        "structures": ["start/0"], "interaction": {"type": "deepmd", "model": "model.pt", "type_map": {"Al": 0}},
        "properties": [
            {"type": "finite_t_latt", "supercell_size": [4, 4, 4], "cal_setting": moving},
            {"type": "finite_t_elastic", "temperature": [300], "strain": 0.002, "response_step": 8000, "n_blocks": 10},
            {"type": "annealing", "start_temp": 300, "target_temp": 1500, "temp_ramp_rate": 100, "hold_step": 100},
            {"type": "annealing", "start_temp": 300, "target_temp": 300},
            {"type": "gruneisen", "volume_strains": [-0.02, 0, 0.02], "temperatures": [100, 300]},
        ],
    }  # fmt: skip
    migration, spec = study(place, raw)
    assert spec["properties"] == [
        {"property": "dynamics", "ensemble": "npt", "timestep": 0.001, "temperatures": [300, 600], "time": 40.0,
         "equilibration": 0.75},
        {"property": "thermal-elastic", "temperatures": [300], "strain": 0.002, "timestep": 0.001, "time": 8.0},
        {"property": "melting", "coldest": 300, "hottest": 1500, "rate": 100, "timestep": 0.001},
        {"property": "quasiharmonic", "strain": 0.02, "points": 5, "temperatures": [100, 300]},
    ]  # fmt: skip
    assert "N_every = 100: every step counts, and errors come from blocks" in notes(migration, "lost")
    assert "nothing is heated from 300 to 300 K" in notes(migration, "lost")


def test_interactions_of_lammps_are_potentials(place: Path) -> None:
    raw = {"structures": ["start/0"], "interaction": {"type": "eam_alloy", "model": "Al.eam.alloy", "type_map": {"Al": 0}},
           "properties": [{"type": "vacancy", "supercell": [3, 3, 3]}]}  # fmt: skip
    _, spec = study(place, raw)
    assert spec["potentials"][0]["evaluate"] == {
        "engine": "lammps-potential", "pair_style": "eam/alloy", "pair_coeff": ["* * Al.eam.alloy {elements}"],
        "files": ["Al.eam.alloy"],
    }  # fmt: skip


def test_the_old_form_of_autotest(place: Path) -> None:
    old = {"potcar_map": {"Al": "potentials/POTCAR.Al"}, "conf_dir": "start/0", "task_type": "vasp", "task": "all", "vol_start": 12,
           "vasp_params": {"ecut": 650, "ediff": 1e-6, "kspacing": 0.1, "kgamma": False, "npar": 1, "kpar": 1}}  # fmt: skip
    migration, spec = study(place, old)
    label = spec["potentials"][0]["label"]
    assert (label["kspacing"], label["input"]["ENCUT"]) == (0.1, 650)
    assert {"property": "surface"} in spec["properties"]
    assert "vol_start = 12: properties have lamflow's own defaults" in notes(migration, "lost")


@pytest.mark.parametrize("operation", ["nequip.RunNequipTrain", "ocp.RunOCPTrain"])
def test_programs_that_lamflow_does_not_train_with_are_named(place: Path, operation: str) -> None:
    raw = {"name": "x", "task": "train_only", "dataset": "data/one", "train": {
        "op": f"dpclean.{operation}", "params": {"learning_rate": 0.002, "r_max": 6.0}}}  # fmt: skip
    with pytest.raises(InputError, match="only DeePMD-kit trains models here"):
        study(place, raw)


def test_heads_are_named_in_three_ways(place: Path) -> None:
    for arguments in ("--model-branch Domains_Alloy", "--model-branch=Domains_Alloy", "-m Domains_Alloy"):
        raw = copy.deepcopy(PFD)
        raw["train"]["config"]["finetune_args"] = arguments
        _, spec = study(place, raw)
        assert spec["train"]["pretrained"]["head"] == "Domains_Alloy"


def test_other_files_are_named_for_what_they_are(place: Path) -> None:
    with pytest.raises(InputError, match="an input of DeePMD-kit alone"):
        study(place, without_none({**TRAINING, "_comment": None}))
    with pytest.raises(InputError, match=r"this is a machine\.json"):
        study(place, {"deepmd_path": "/opt", "train_machine": {}, "fp_command": "vasp"})


FORMER = """\
# my study
name: old
elements: [Al, Cu]
structures:
- {name: one, files: [start/0/POSCAR], format: vasp}
start: {data: [data/one, data/two]}
heldout: {share: 0.2}  # a fifth
pods: {label: {tasks_per_pod: 5}}
train:
  engine: deepmd
  choose_within: 1.5
  phases:
  - {from_iteration: 2, start_from: init, old_data_share: 0.9}
stages:
- name: warm
  explore:
  - engine: lammps
    structures: [one]
    temperatures: [300, 600]
    climb: {safe: 0.9}
    steps: 100
select:
  by: force_mean
label: {engine: emt}
"""


def test_a_study_of_the_grammar_of_before(place: Path) -> None:
    (place / "old.yaml").write_text(FORMER)
    migration = migrate(place / "old.yaml", place)
    assert migration.source == "lamflow"
    spec = parse(migration.text, "new.yaml", place, kind=Study, files=False).model_dump()
    assert spec["heldout"]["fraction"] == 0.2
    assert spec["select"]["metric"] == "force_mean"
    assert spec["stages"][0]["explore"][0]["ramp"]["advance_at"] == 0.9
    assert spec["train"]["phases"][0]["old_data_fraction"] == 0.9
    assert spec["train"]["speed_tolerance"] == 1.5
    assert spec["pods"]["label"]["work_per_job"] == 5
    assert "# my study" in migration.text
    assert "{fraction: 0.2}  # a fifth" in migration.text
    assert "select.by -> select.metric" in notes(migration, "translated")
    (place / "new.yaml").write_text(migration.text)
    with pytest.raises(InputError, match="present grammar already"):
        migrate(place / "new.yaml", place)
    (place / "elsewhere").mkdir()
    with pytest.raises(InputError, match="relative to its folder"):
        migrate(place / "old.yaml", place / "elsewhere")
    (place / "wrong.yaml").write_text(FORMER.replace("engine: emt", "engine: nobody"))
    with pytest.raises(InputError, match="more than names of keys is wrong"):
        migrate(place / "wrong.yaml", place)


def test_a_study_without_stages_of_the_grammar_of_before(place: Path) -> None:
    text = FORMER.replace(
        FORMER[FORMER.index("stages:") : FORMER.index("select:")], "budget:\n  iterations: 5\n  labels: 9\n"
    )
    (place / "old.yaml").write_text(text)
    migration = migrate(place / "old.yaml", place)
    spec = parse(migration.text, "new.yaml", place, kind=Study, files=False).model_dump()
    assert (spec["workflow"], spec["budget"]["labels"]) == ("training", 9)
    assert "select" in notes(migration, "lost")


def test_structures_lose_their_cells(place: Path) -> None:
    files = {"type": "file", "prefix": "start", "files": ["*/POSCAR"], "fmt": "vasp/poscar", "remove_pbc": True}
    group = {**DPGEN2["explore"]["stages"][0][0], "ens": "nvt"}
    for raw, name in (
        (dpgen2(explore={"configurations": [files], "stages": [[group]]}), "conf-0.extxyz"),
        (dpgen(model_devi_nopbc=True, model_devi_jobs=[{**WALK, "ensemble": "nvt"}]), "sys-0.extxyz"),
    ):
        migration, spec = study(place, raw)
        assert spec["structures"][0]["files"] == [name]
        assert not any(atoms.pbc.any() for atoms in read(place / name, index=":"))
        assert "without their cells" in notes(migration, "changed")


def test_what_may_fail_is_what_may_fail_there(place: Path) -> None:
    _, spec = study(place, dpgen(ratio_failed=None))
    assert spec["budget"]["failed_labels"] == 0.05, "DP-GEN's default"
    steps = {
        "run_fp_config": {"continue_on_success_ratio": 0.9},
        "run_explore_config": {"continue_on_success_ratio": 0.7},
    }
    for raw in (DPGEN2, PFD):
        migration, spec = study(place, {**raw, "step_configs": steps})
        assert (spec["budget"]["failed_labels"], spec["select"]["max_failed"]) == (0.1, 0.3)
    assert "0.9 must succeed there: 0.1 may fail here" in notes(migration, "changed")
