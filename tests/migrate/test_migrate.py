"""Files of other programs become studies, and every key in them is spoken of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ase.build import bulk
from ase.io import write
from typer.testing import CliRunner

from lamflow.cli.app import app
from lamflow.config import load, parse
from lamflow.config.schema import TrainingStudy
from lamflow.data import LabeledFrame
from lamflow.data.dataset import Item, Origin, write_dataset
from lamflow.engines.emt import Emt
from lamflow.engines.registry import evaluator
from lamflow.errors import InputError
from lamflow.migrate import Migration, migrate
from lamflow.migrate.commands import command, lammps_command
from lamflow.migrate.cp2k import _moments, cp2k_sections
from lamflow.migrate.keys import Notes
from lamflow.migrate.templates import lammps_template
from tests.engines.test_lammps_runs import alloys

TRAINING = {
    "_comment": "by hand",
    "model": {
        "type_map": ["Al", "Cu"],
        "descriptor": {"type": "se_e2_a", "sel": [40, 40], "rcut": 5.0, "rcut_smth": 0.5, "neuron": [10, 20], "seed": 1},
        "fitting_net": {"neuron": [32, 32], "seed": 2, "coord_norm": True},
    },
    "learning_rate": {"type": "exp", "start_lr": 0.001, "stop_lr": 1e-8, "decay_steps": 500},
    "loss": {"start_pref_e": 0.02, "limit_pref_e": 1, "start_pref_f": 1000, "limit_pref_f": 1},
    "training": {
        "stop_batch": 4000, "seed": 3, "disp_file": "lcurve.out", "disp_freq": 100, "save_freq": 500,
        "training_data": {"systems": [], "set_prefix": "set", "batch_size": "auto"}, "tensorboard": False,
    },
}  # fmt: skip
PARAM: dict[str, Any] = {
    "type_map": ["Al", "Cu"], "mass_map": [27, 64], "init_data_prefix": "data", "init_data_sys": ["one", "two"],
    "sys_configs_prefix": "start", "sys_configs": [["*/POSCAR"], ["0/POSCAR"], ["1/POSCAR"]],
    "init_batch_size": [1, 1], "sys_batch_size": ["auto", "auto", "auto"],
    "numb_models": 4, "default_training_param": TRAINING, "dp_compress": True,
    "training_reuse_iter": 2, "training_reuse_old_ratio": 0.8, "training_reuse_numb_steps": 1000,
    "training_reuse_start_lr": 0.0001, "training_reuse_start_pref_e": 0.1, "training_reuse_start_pref_f": 100,
    "model_devi_dt": 0.002, "model_devi_skip": 0, "model_devi_f_trust_lo": {"0": 0.05, "1": 0.07}, "model_devi_f_trust_hi": 0.2,
    "model_devi_clean_traj": True, "shuffle_poscar": False, "fp_skip_bad_box": "length_ratio:4;height_ratio:4",
    "model_devi_jobs": [
        {"sys_idx": [0], "temps": [300, 600], "press": [0, 1000], "trj_freq": 10, "nsteps": 500, "ensemble": "npt", "_idx": "0"},
        {"sys_idx": ["1-3"], "temps": [900], "trj_freq": 20, "nsteps": 1000, "ensemble": "nvt", "taut": 0.2, "nbeads": 4},
        {"sys_idx": ["1-3"], "temps": [900], "trj_freq": 20, "nsteps": 1000, "ensemble": "nvt", "taut": 0.2, "nbeads": 4},
        {"sys_idx": [0], "trj_freq": 10, "template": {"lmp": "in.template", "plm": "in.plumed"},
         "rev_mat": {"lmp": {"V_TEMP": [300, 400], "V_NSTEPS": [100]}, "plm": {"V_STRIDE": [10]}}},
    ],
    "fp_style": "vasp", "fp_task_max": 20, "fp_task_min": 5, "ratio_failed": 0.1, "fp_pp_path": "potentials",
    "fp_pp_files": ["POTCAR.Al", "POTCAR.Cu"], "fp_incar": "INCAR", "nobody_knows_this": 7,
}  # fmt: skip
MACHINE = {
    "api_version": "1.0",
    "train": [{"command": "dp", "machine": {"batch_type": "Slurm", "remote_profile": {"password": "HUSH"}},
               "resources": {"number_node": 1, "cpu_per_node": 4, "gpu_per_node": 1, "group_size": 1}}],
    "model_devi": [{"command": "lmp -i input.lammps -v restart 0", "machine": {"batch_type": "Slurm"},
                    "resources": {"gpu_per_node": 1, "group_size": 10}}],
    "fp": [{"command": "source env.sh && mpirun -np 32 vasp_std > log 2>&1", "machine": {"batch_type": "Slurm"},
            "resources": {"cpu_per_node": 32, "group_size": 5, "queue_name": "cpu"}}],
}  # fmt: skip
TEMPLATE = """\
variable NSTEPS equal V_NSTEPS
units metal
atom_style atomic
read_data conf.lmp
mass 1 27
mass 2 64
pair_style deepmd
pair_coeff * *
velocity all create V_TEMP 1815
fix 1 all nvt temp V_TEMP V_TEMP 0.1
fix dpgen_plm
dump dpgen_dump
run ${NSTEPS}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with everything that the files name."""
    frames = alloys(6)
    labels = evaluator(Emt()).evaluate(frames)
    for name, part in (("one", slice(0, 3)), ("two", slice(3, 6))):
        items = [
            Item(LabeledFrame(frame, label), Origin(iteration=0, source=name))
            for frame, label in zip(frames[part], labels[part], strict=True)
        ]
        write_dataset(tmp_path / "data" / name, items, ["Al", "Cu"], "deepmd/npy")
    for number in range(2):
        (tmp_path / "start" / str(number)).mkdir(parents=True)
        write(
            tmp_path / "start" / str(number) / "POSCAR",
            bulk("Cu", "fcc", a=3.6 + 0.1 * number, cubic=True),
            format="vasp",
        )
    (tmp_path / "potentials").mkdir()
    for element in ("Al", "Cu"):
        (tmp_path / "potentials" / f"POTCAR.{element}").write_text(f"PAW_PBE {element}\n")
        (tmp_path / f"{element}.upf").write_text("upf")
    (tmp_path / "INCAR").write_text("ENCUT = 400\nKSPACING = 0.3\n")
    (tmp_path / "in.template").write_text(TEMPLATE)
    (tmp_path / "in.plumed").write_text("PRINT STRIDE=10\n")
    (tmp_path / "train.json").write_text(json.dumps(TRAINING))
    (tmp_path / "model.pt").touch()
    return tmp_path


def made(
    place: Path, raw: dict[str, Any], machine: dict[str, Any] | None = None, name: str = "param.json"
) -> Migration:
    (place / name).write_text(json.dumps(raw))
    if machine is not None:
        (place / "machine.json").write_text(json.dumps(machine))
    found = migrate(place / name, place, place / "machine.json" if machine is not None else None)
    (place / "made.yaml").write_text(found.text)
    return found


def said(found: Migration) -> str:
    return "\n".join(f"{note.key} {note.to}" for note in found.notes.items)


def leaves(raw: Any, path: str = "") -> list[str]:
    """Names of all keys that are no comments and no sections."""
    found: list[str] = []
    for key, value in raw.items():
        if key.startswith("_"):
            continue
        found += leaves(value, key) if isinstance(value, dict) and value else [key]
    return found


def checked(place: Path) -> str:
    answer = CliRunner().invoke(app, ["check", str(place / "made.yaml")])
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_dp_gen(place: Path) -> None:
    found = made(place, PARAM, MACHINE)
    checked(place)
    config = load(place / "made.yaml")
    assert found.source == "dpgen"
    assert found.missing == []
    assert config.elements == ["Al", "Cu"]
    assert [stage.name for stage in config.stages] == ["job-0", "job-1", "job-3"]
    assert [stage.max_iterations for stage in config.stages] == [1, 2, None]
    assert config.budget.iterations == 5
    first, second, template = (stage.explore[0] for stage in config.stages)
    assert first.model_dump()["starts"] == 2, "every structure of the system"
    assert first.model_dump()["pressures"] == [0, 1000]
    assert second.model_dump()["beads"] == 4
    assert second.model_dump()["thermostat_time"] == 0.2
    assert len(config.stages[1].explore) == 2, "one group for each system"
    assert template.model_dump()["variables"] == {"V_TEMP": [300, 400], "V_NSTEPS": [100]}
    assert template.model_dump()["types"] == ["Al", "Cu"], "the template may name types by number"
    assert any("V_STRIDE in it is not replaced" in note.why for note in found.notes.of("changed"))
    assert "create {{ V_TEMP }} 1815" in (place / "job-3.lammps").read_text()
    assert (config.select.window.low, config.select.window.high) == (0.05, 0.2)  # type: ignore[union-attr]
    assert (config.select.limit, config.select.per_group) == (40, 20)
    assert config.select.filters.max_length_ratio == 4
    train = config.train.model_dump()
    assert (train["steps"], train["checkpoint_every"], train["compress"]) == (4000, 500, True)
    assert train["phases"][0]["from_iteration"] == 3
    assert train["phases"][0]["loss"] == {"start_pref_e": 0.1, "start_pref_f": 100}
    label = config.labeler().model_dump()
    assert label["command"] == ["bash", "-c", 'source env.sh && mpirun -np 32 vasp_std "$@"', "bash"]
    assert label["potcar_names"] == {"Al": "POTCAR.Al", "Cu": "POTCAR.Cu"}
    assert (config.pods.train.gpus, config.pods.explore.gpus, config.pods.label.cpu) == (1, 1, "32")
    assert config.pods.label.work_per_job == 5


def test_nothing_is_dropped_in_silence(place: Path) -> None:
    found = made(place, PARAM, MACHINE)
    text = said(found)
    for key in {*leaves(PARAM), *(key for job in PARAM["model_devi_jobs"] for key in leaves(job))} - {"sel"}:
        if key in str(TRAINING["model"]) or key in str(TRAINING["loss"]) or key in str(TRAINING["learning_rate"]):
            continue  # taken over as a section
        assert key in text or key in ("type", "lmp", "plm", "V_TEMP", "V_NSTEPS", "V_STRIDE"), key
    lost = [note.key for note in found.notes.of("lost")]
    assert "nobody_knows_this = 7" in lost
    assert "machine.fp.resources.queue_name pods.label.batch.queue" in text
    assert any(note.startswith("default_training_param.model.fitting_net.coord_norm") for note in lost)


def test_no_secret_of_a_machine_is_shown(place: Path) -> None:
    found = made(place, PARAM, {**MACHINE, "password": "HUSH", "email": "a@b"})
    assert "HUSH" not in found.text + said(found)
    assert "a@b" not in found.text + said(found)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"fp_style": "pwscf", "fp_pp_path": ".", "fp_pp_files": ["Al.upf", "Cu.upf"], "fp_incar": None,
          "user_fp_params": {"control": {"calculation": "scf", "pseudo_dir": "."},
                             "system": {"ecutwfc": 60, "occupations": "smearing", "Hubbard_U(2)": 3.0},
                             "electrons": {"conv_thr": 1e-7}, "kspacing": 0.4}},
         {"engine": "qe", "ecutwfc": 60.0, "kspacing": 0.4, "input": {"electrons": {"conv_thr": 1e-7}, "system": {"occupations": "smearing", "hubbard_u(Cu)": 3.0}}}),
        ({"fp_style": "pwscf", "fp_pp_path": ".", "fp_pp_files": ["Al.upf", "Cu.upf"], "fp_incar": None,
          "fp_params": {"ecut": 50, "ediff": 1e-8, "smearing": "mp:1", "sigma": 0.02, "kspacing": 0.3, "npar": 2}},
         {"engine": "qe", "ecutwfc": 50.0, "kspacing": 0.3}),
        ({"fp_style": "cp2k", "fp_incar": None, "user_fp_params": {"FORCE_EVAL": {
            "DFT": {"BASIS_SET_FILE_NAME": "/x/BASIS", "MGRID": {"CUTOFF": 300}, "XC": {"XC_FUNCTIONAL": {"_": "PBE"}},
                    "SCF": {"MAX_SCF": 15, "IGNORE_CONVERGENCE_FAILURE": True}},
            "SUBSYS": {"KIND": {"_": ["Al", "Cu"], "POTENTIAL": ["GTH-PBE-q3", "GTH-PBE-q11"], "BASIS_SET": ["DZVP", "SZV"]}}}}},
         {"engine": "cp2k", "cutoff": 300.0, "basis": {"Al": "DZVP", "Cu": "SZV"},
          "potentials": {"Al": "GTH-PBE-q3", "Cu": "GTH-PBE-q11"}, "input": {"FORCE_EVAL": {"DFT": {"SCF": {"MAX_SCF": 15}}}}}),
        ({"fp_style": "abacus", "fp_pp_path": ".", "fp_pp_files": ["Al.upf", "Cu.upf"], "fp_incar": None,
          "user_fp_params": {"ecutwfc": 100, "calculation": "scf", "scf_nmax": 50, "kspacing": 0.1}},
         {"engine": "abacus", "ecutwfc": 100.0, "kspacing": 0.189, "input": {"scf_nmax": 50}}),
        ({"fp_style": "gaussian", "fp_incar": None, "use_clusters": True, "cluster_cutoff": 4.0,
          "fp_params": {"keywords": "b3lyp/6-31g** force nosymm", "multiplicity": "auto", "nproc": 8}},
         {"engine": "gaussian", "keywords": "b3lyp/6-31g**", "nproc": 8}),
        ({"fp_style": "custom", "fp_incar": None,
          "fp_params": {"input_fn": "in.xyz", "input_fmt": "extxyz", "output_fn": "out.xyz", "output_fmt": "extxyz"}},
         {"engine": "custom", "input_file": "in.xyz", "output_format": "extxyz"}),
        ({"fp_style": "siesta", "fp_incar": None, "fp_params": {"ecut": 300}}, {"engine": "custom"}),
    ],
    ids=["pwscf-user", "pwscf", "cp2k", "abacus", "gaussian", "custom", "siesta"],
)  # fmt: skip
def test_label_engines(place: Path, change: dict[str, Any], expected: dict[str, Any]) -> None:
    raw = {**PARAM, **change, "model_devi_jobs": PARAM["model_devi_jobs"][:1]}
    made(place, {key: value for key, value in raw.items() if value is not None})
    config = parse((place / "made.yaml").read_text(), root=place, files=False)
    found = json.loads(config.labeler().model_dump_json())
    for key, value in expected.items():
        assert found[key] == value, key


DPGEN2: dict[str, Any] = {
    "name": "AlCu_test", "bohrium_config": {"username": "me", "password": "HUSH", "project_id": 1},
    "step_configs": {"run_explore_config": {"template_config": {"image": "x", "timeout": 3600}, "template_slice_config": {"group_size": 4},
                                            "executor": {"machine": "2 * NVIDIA V100"}}},
    "inputs": {"type_map": ["Al", "Cu"], "mass_map": [27, 64], "init_data_sys": ["data/one", "data/two"], "mixed_type": True},
    "train": {"type": "dp", "numb_models": 3, "config": {"impl": "pytorch", "init_model_policy": "yes", "init_model_numb_steps": 500,
              "init_model_start_lr": 1e-4, "init_model_old_ratio": 0.9}, "template_script": "train.json"},
    "explore": {
        "type": "lmp", "config": {"command": "lmp -var restart 0"}, "max_numb_iter": 3, "fatal_at_max": False,
        "convergence": {"type": "adaptive-lower", "conv_tolerance": 0.01, "rate_candi_f": 0.1, "numb_candi_f": 50, "level_f_hi": 0.6, "n_checked_steps": 3},
        "configurations": [
            {"type": "alloy", "lattice": ["fcc", 3.9], "replicate": [2, 2, 2], "numb_confs": 5, "concentration": [[1.0, 0.0], [0.5, 0.5]],
             "cell_pert_frac": 0.02, "atom_pert_dist": 0.05},
            {"type": "file", "prefix": "start", "files": ["*/POSCAR"], "fmt": "vasp/poscar"},
        ],
        "stages": [
            [{"type": "lmp-md", "conf_idx": [0], "n_sample": 4, "ens": "npt-a", "temps": [300], "press": [1.0], "nsteps": 200, "dt": 0.002, "tau_t": 0.1}],
            [{"type": "lmp-template", "sys_idx": [1], "n_sample": 2, "lmp": "in.template", "trj_freq": 5, "revisions": {"V_TEMP": [300], "V_NSTEPS": [200]}}],
        ],
    },
    "fp": {"type": "vasp", "task_max": 12, "inputs_config": {"incar": "INCAR", "pp_files": {"Al": "potentials/POTCAR.Al", "Cu": "potentials/POTCAR.Cu"},
                                                             "kspacing": 0.3, "kgamma": False}, "run_config": {"command": "mpirun -n 4 vasp_std"}},
    "unheard_of": {"a": 1},
}  # fmt: skip


def test_dpgen2(place: Path) -> None:
    found = made(place, DPGEN2, name="input.json")
    checked(place)
    config = load(place / "made.yaml")
    assert found.source == "dpgen2"
    assert config.name == "alcu-test"
    assert [item.name for item in config.structures] == ["conf-0-0", "conf-0-1", "conf-1"]
    first, second = (stage.explore[0].model_dump() for stage in config.stages)
    assert first["structures"] == ["conf-0-0", "conf-0-1"]
    assert (first["starts"], first["ensemble"], first["pressures"]) == (2, "npt-aniso", [1.0])
    assert second["structures"] == ["conf-1"]
    assert second["variables"] == {"V_TEMP": [300], "V_NSTEPS": [200]}
    window = config.select.window.model_dump()
    assert window == {"rule": "adaptive", "high": 0.6, "candidates": 50, "fraction": 0.1, "settled": 0.01, "over": 2}
    assert config.budget.iterations == 7
    assert config.pods.explore.work_per_job == 4
    assert config.pods.explore.gpus == 2
    assert config.train.models == 3
    assert config.train.model_dump()["phases"][0]["start_from"] == "init"
    assert config.labeler().model_dump()["gamma"] is False
    lost = [note.key for note in found.notes.of("lost")]
    assert "unheard_of" in " ".join(lost)
    assert "HUSH" not in found.text


def test_dpgen2_distillation(place: Path) -> None:
    raw = {
        **DPGEN2,
        "train": {"type": "dp-dist", "template_script": "train.json", "student_model_path": None},
        "fp": {"type": "deepmd", "task_max": 5, "run_config": {"teacher_model_path": "model.pt"}, "inputs_config": {}},
    }
    made(place, raw, name="input.json")
    config = load(place / "made.yaml")
    assert config.select.score == "teacher"
    assert config.train.models == 1
    assert config.labeler().engine == "deepmd"


PFD: dict[str, Any] = {
    "name": "alcu-ft", "default_step_config": {"executor": None},
    "task": {"type": "finetune", "max_iter": 3, "init_train": False},
    "inputs": {"base_model_path": "model.pt", "init_confs": {"prefix": "start", "confs_paths": ["0/POSCAR", "1/POSCAR"]}},
    "select_confs": {"max_sel": 30, "frame_filter": [{"type": "distance"}], "h_filter": {"chunk_size": 5}},
    "evaluate": {"test_size": 0.2, "model": "dp", "converge": {"type": "force_rmse", "RMSE": 0.05}},
    "exploration": {"type": "ase", "config": {"calculator": "dp"},
                    "stages": [[{"conf_idx": [0, 1], "n_sample": 1, "ens": "nvt", "dt": 2, "nsteps": 300, "temps": [500, 1000], "trj_freq": 20, "tau_t": 50}]]},
    "fp": {"type": "vasp", "run_config": {"command": "mpirun -n 16 vasp_std"},
           "inputs_config": {"incar": "INCAR", "pp_files": {"Al": "potentials/POTCAR.Al", "Cu": "potentials/POTCAR.Cu"}, "kspacing": 0.2}},
    "train": {"type": "dp", "config": {"impl": "pytorch", "finetune_args": "--model-branch Domains_Alloy"}, "template_script": "train.json"},
}  # fmt: skip


def test_pfd_kit(place: Path) -> None:
    found = made(place, PFD, name="ft.json")
    config = parse((place / "made.yaml").read_text(), root=place)
    assert found.source == "pfd"
    assert config.elements == ["Al", "Cu"]
    walk = config.stages[0].explore[0].model_dump()
    assert (walk["engine"], walk["method"], walk["timestep"]) == ("ase", "nvt", 0.002)
    assert walk["thermostat_time"] == pytest.approx(0.1), "50 steps of 2 fs"
    assert config.train.model_dump()["pretrained"]["head"] == "Domains_Alloy"
    assert config.converge.heldout_force_rmse == 0.05
    assert config.start is not None
    assert config.start.label == ["start"]
    distilled = made(
        place,
        {**PFD, "task": {"type": "dist", "max_iter": 2}, "fp": {"type": "ase", "run_config": {"model_style": "dp"}}},
        name="d.json",
    )
    assert "score: teacher" in distilled.text


def test_dpclean(place: Path) -> None:
    raw = {
        "name": "clean", "dataset": ["data/one"], "valid_data": ["data/two"], "ratio_init": 0.1, "zero_shot": True,
        "select": {"op": "dpclean.dp.DPSelectSamples", "ratio_selected": [0.5, 1.0], "image": "x"},
        "train": {"op": "dpclean.dp.RunDPTrain", "image": "x", "params": {**TRAINING, "training": {"numb_steps": "math.ceil(133.0*n)",
                  "training_data": {"batch_size": 1}, "validation_data": {}}}},
    }  # fmt: skip
    found = made(place, raw, name="clean.json")
    checked(place)
    assert found.source == "dpclean"
    assert any("is a formula" in note.why for note in found.notes.of("lost"))
    assert load(place / "made.yaml", TrainingStudy).workflow == "training"


def test_what_is_no_such_file(place: Path) -> None:
    with pytest.raises(InputError, match="not recognised as a file of DP-GEN"):
        made(place, {"what": 1})
    with pytest.raises(InputError, match=r"this is a machine.json; give param.json"):
        made(place, MACHINE, name="machine.json")
    (place / "list.json").write_text("[1]")
    with pytest.raises(InputError, match="must be a mapping"):
        migrate(place / "list.json", place)
    (place / "broken.json").write_text('{"a": [')
    (place / "empty.json").write_text("{}")
    with pytest.raises(InputError, match="must be a mapping"):
        migrate(place / "empty.json", place, source="pfd")
    with pytest.raises(InputError, match="which was flat"):
        made(place, {"explore_style": "lmp", "fp_style": "vasp"}, name="flat.json")
    with pytest.raises(InputError, match="neither JSON nor YAML"):
        migrate(place / "broken.json", place)
    for deep in ("[" * 100_000, "a: " + "[" * 100_000):
        (place / "deep.json").write_text(deep)
        with pytest.raises(InputError, match=r"nested too deeply|recursion"):
            migrate(place / "deep.json", place)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"numb_models": "abc"}, "numb_models = 'abc'"),
        ({"fp_task_max": []}, "fp_task_max"),
        ({"mass_map": [None, "x"]}, "mass_map"),
        ({"model_devi_jobs": ["abc", 5]}, r"model_devi_jobs\[0\]: must be a mapping"),
        ({"model_devi_jobs": [{"sys_idx": [0], "temps": ["x"], "nsteps": 100}]}, "temps|press"),
        ({"model_devi_jobs": [{"sys_idx": ["a-b"], "temps": [300]}]}, "sys_idx"),
        ({"model_devi_jobs": [{"sys_idx": [0], "template": "in.lammps"}]}, "template: must be a mapping"),
        ({"default_training_param": {"learning_rate": [1]}}, "learning_rate"),
        ({"fp_skip_bad_box": "length_ratio"}, "fp_skip_bad_box"),
        ({"type_map": []}, "elements"),
    ],
)
def test_values_of_no_use_are_named(place: Path, change: dict[str, Any], named: str) -> None:
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=named):
        made(place, {**PARAM, **change})
    assert {path for path in place.rglob("*") if path.is_file()} - set(before) == {place / "param.json"}


def test_files_that_are_there_are_not_replaced(place: Path) -> None:
    (place / "job-3.lammps").write_text("mine")
    with pytest.raises(InputError, match=r"job-3.lammps: exists already"):
        made(place, PARAM)
    assert (place / "job-3.lammps").read_text() == "mine"


def test_keys_that_stand_twice(place: Path) -> None:
    (place / "param.json").write_text('{"fp_style": "vasp", "fp_style": "cp2k"}')
    with pytest.raises(InputError, match="'fp_style' is given twice"):
        migrate(place / "param.json", place)


def test_all_tags_of_vasp_come_over(place: Path) -> None:
    tags = {"ENCUT": 600, "KSPACING": 0.4, "METAGGA": "SCAN", "LDAUU": "4 0", "NSW": 0}
    found = made(place, {**{k: v for k, v in PARAM.items() if k != "fp_incar"}, "user_fp_params": tags})
    label = parse((place / "made.yaml").read_text(), root=place, files=False).labeler().model_dump()
    assert (label["input"], label["kspacing"]) == ({"ENCUT": 600, "METAGGA": "SCAN"}, 0.4)
    assert any("LDAUU" in note.key for note in found.notes.of("lost"))


def test_what_a_cp2k_input_says_is_spoken_of(place: Path) -> None:
    text = """@SET CUT 350
&GLOBAL
 PREFERRED_FFT_LIBRARY FFTW3
&END
&FORCE_EVAL
 &DFT
  BASIS_SET_FILE_NAME BASIS_MOLOPT
  BASIS_SET_FILE_NAME OTHER
  &MGRID
   CUTOFF ${CUT}
  &END
  &XC
   &XC_FUNCTIONAL
    &BECKE88
    &END
   &END
   &VDW_POTENTIAL
    PARAMETER_FILE_NAME ./dftd3.dat
   &END
  &END
 &END
 METHOD GPW
 STRESS_TENSOR NUMERICAL
 &SUBSYS
  &CELL
   PERIODIC XY
  &END
  &KIND Al
   BASIS_SET SZV
   POTENTIAL GTH
   MAGNETIZATION 1.5
   &DFT_PLUS_U
    L 2
   &END
  &END
 &END
&END
"""
    (place / "cp2k.inp").write_text(text)
    given = {key: value for key, value in PARAM.items() if key != "fp_incar"}
    found = made(place, {**given, "fp_style": "cp2k", "external_input_path": "cp2k.inp"})
    label = parse((place / "made.yaml").read_text(), root=place, files=False).labeler().model_dump()
    assert label["cutoff"] == 350
    assert label["magnetic_moments"] == {"Al": 1.5}
    assert [file.name for file in label["files"]] == ["dftd3.dat"]
    assert label["input"]["FORCE_EVAL"]["DFT"]["XC"]["VDW_POTENTIAL"] == {"PARAMETER_FILE_NAME": "dftd3.dat"}
    notes = "\n".join(map(str, found.notes.items))
    for said_so in (
        "KIND Al DFT_PLUS_U",
        "PREFERRED_FFT_LIBRARY",
        "OTHER",
        "KIND Cu BASIS_SET",
        "CELL.PERIODIC = XY",
        "METHOD = GPW",
        "STRESS_TENSOR = NUMERICAL",
    ):
        assert said_so in notes, said_so


def test_moments_of_cp2k_stand_in_lists_too() -> None:
    kinds = {"_": ["Cu", "Fe", "O"], "MAGNETIZATION": [0.5, 2.2, 0.0]}
    assert _moments(kinds, "external_input", ["Cu", "Fe"], Notes()) == {"Cu": 0.5, "Fe": 2.2}


def test_old_machines_and_the_true_command_of_a_custom_code(place: Path) -> None:
    machine = {"fp_command": "mpirun siesta", "fp_group_size": 5, "lmp_command": "mpirun lmp", "deepmd_path": "x"}
    made(place, {**PARAM, "fp_style": "siesta", "model_devi_jobs": PARAM["model_devi_jobs"][:1]}, machine)
    config = parse((place / "made.yaml").read_text(), root=place, files=False)
    assert config.labeler().model_dump()["command"] == ["mpirun", "siesta"]
    assert config.stages[0].explore[0].model_dump()["command"] == ["mpirun", "lmp"]
    assert config.pods.label.work_per_job == 5


def test_what_cannot_be_kept_of_a_job_is_named_and_the_rest_is_kept(place: Path) -> None:
    jobs = [{"sys_idx": [0, 9], "temps": [300], "ensemble": "nph", "nsteps": 5, "trj_freq": 10, "nbeads": 4, "press": [0]},
            {"sys_idx": [0], "temps": [300], "ensemble": "npt-t", "nsteps": 50, "trj_freq": 10, "nbeads": 4, "press": [0]}]  # fmt: skip
    found = made(place, {**PARAM, "numb_models": 1, "model_devi_jobs": jobs})
    config = parse((place / "made.yaml").read_text(), root=place)
    assert config.train.models == 2
    first, second = (stage.explore[0].model_dump() for stage in config.stages)
    assert (first["ensemble"], first["steps"]) == ("npt", 10)
    assert (second["ensemble"], second["beads"]) == ("npt-tri", None)
    notes = "\n".join(map(str, found.notes.items))
    for said_so in ("no ensemble 'nph'", "sys_idx: 9", "5 are less than trj_freq", "nbeads", "numb_models"):
        assert said_so in notes, said_so


def test_comments_and_trailing_commas(place: Path) -> None:
    text = json.dumps(PARAM, indent=1).replace('"numb_models": 4,', '// four\n"numb_models": 4, /* so */ // many')
    (place / "param.json").write_text(text[: text.rindex("}")] + ",}")
    assert migrate(place / "param.json", place).source == "dpgen"


def test_paths_of_yaml_are_no_comments(place: Path) -> None:
    raw = {**PARAM, "sys_configs": [["*/POSCAR"], ["0/*"], ["1/POSCAR"]], "init_data_prefix": "data//"}
    (place / "param.yaml").write_text(yaml.safe_dump(raw))
    text = migrate(place / "param.yaml", place).text
    assert "start/1/POSCAR" in text
    assert "data/one" in text


def test_missing_files_are_named_and_the_grammar_still_holds(tmp_path: Path) -> None:
    found = made(tmp_path, {**PARAM, "model_devi_jobs": PARAM["model_devi_jobs"][:1]})
    assert "INCAR" in found.missing
    assert "start/*/POSCAR" in found.missing
    assert "data/one" in found.missing
    runner = CliRunner()
    assert runner.invoke(app, ["check", "--without-files", str(tmp_path / "made.yaml")]).exit_code == 0
    assert runner.invoke(app, ["check", str(tmp_path / "made.yaml")]).exit_code != 0


def test_the_command(place: Path) -> None:
    (place / "param.json").write_text(json.dumps(PARAM))
    runner = CliRunner()
    answer = runner.invoke(app, ["migrate", str(place / "param.json"), "--output", str(place / "out.yaml")])
    assert answer.exit_code == 0, answer.output
    assert "Means the same:" in answer.output
    assert "nobody_knows_this = 7" in answer.output
    assert "next: lamflow check" in answer.output
    assert yaml.safe_load((place / "out.yaml").read_text())["elements"] == ["Al", "Cu"]
    again = runner.invoke(app, ["migrate", str(place / "param.json"), "--output", str(place / "out.yaml")])
    assert again.exit_code != 0
    assert "exists already" in str(again.exception or again.output)


def test_commands_and_templates() -> None:
    assert command("mpirun -n 8 abacus") == ["mpirun", "-n", "8", "abacus"]
    assert command("OMP_NUM_THREADS=1 mpirun -n 8 abacus > log") == [
        "env",
        "OMP_NUM_THREADS=1",
        "mpirun",
        "-n",
        "8",
        "abacus",
    ]
    assert command("g09 < input || :") == ["g09"]
    assert command("ulimit -s unlimited && g16")[:2] == ["bash", "-c"]
    assert lammps_command("lmp -i input.lammps -v restart 0") == []
    assert lammps_command("mpirun -n 4 lmp -in in.lammps") == ["mpirun", "-n", "4", "lmp"]
    text = lammps_template(TEMPLATE, ["V_TEMP", "V_NSTEPS"])
    assert "read_data {{ structure }}" in text
    assert "temp {{ V_TEMP }} {{ V_TEMP }} 0.1" in text
    assert "pair_coeff" not in text
    tree = cp2k_sections("&FORCE_EVAL\n &DFT\n  &KIND A ! x\n   B 1\n  &END KIND\n  &KIND C\n  &END\n &END DFT\n&END\n")
    assert tree == {"FORCE_EVAL": {"DFT": {"KIND": [{"_": "A", "B": "1"}, {"_": "C"}]}}}


def test_levels_of_systems_and_jobs_become_those_of_explore_groups(place: Path) -> None:
    jobs = [
        {"sys_idx": [0, 1], "temps": [300], "trj_freq": 10, "nsteps": 500, "ensemble": "nvt"},
        {
            "sys_idx": [0, 1],
            "temps": [300],
            "trj_freq": 10,
            "nsteps": 500,
            "ensemble": "nvt",
            "model_devi_f_trust_hi": 0.5,
        },
    ]
    raw = {
        **PARAM, "model_devi_jobs": jobs, "model_devi_f_trust_lo": {"0": 0.05, "1": 0.1}, "model_devi_f_trust_hi": [0.2, 0.3],
        "model_devi_v_trust_lo": [0.01, 1e10], "model_devi_v_trust_hi": [0.2, 1e10],
    }  # fmt: skip
    study = parse(made(place, raw).text, "made.yaml", place, files=False)
    found = [[study.select_of(group).levels for group in stage.explore] for stage in study.stages]
    assert found == [
        [{"force_max": (0.05, 0.2), "virial_max": (0.01, 0.2)}, {"force_max": (0.1, 0.3)}],
        [{"force_max": (0.05, 0.5), "virial_max": (0.01, 0.2)}, {"force_max": (0.1, 0.5)}],
    ]
    assert study.stages[0].explore[0].window is None, "what most have in common is said once"


@pytest.mark.parametrize(
    ("given", "expected", "note"),
    [
        ({"model_devi_f_trust_lo": {"0": 0.05}}, {"force_max": (0.05, 0.2)}, "it has none for system 1"),
        ({"model_devi_f_trust_lo": 0.3}, {"force_max": (0.3, 0.6)}, "0.2 eV/Å is not above the lower level"),
        ({"model_devi_v_trust_lo": 0.1}, {"force_max": (0.05, 0.2), "virial_max": (0.1, 1e4)}, "no frame fails by it"),
        ({"model_devi_e_trust_lo": 0.1, "model_devi_e_trust_hi": 0.2}, {"force_max": (0.05, 0.2), "energy": (0.1, 0.2)}, "an atom's energy"),
        ({"model_devi_v_trust_lo": 0.1, "model_devi_f_trust_lo": 0}, {"force_max": (1e-4, 0.2), "virial_max": (0.1, 1e4)}, "0 there"),
    ],
)  # fmt: skip
def test_levels_that_say_little_are_spoken_of(
    place: Path, given: dict[str, Any], expected: dict[str, Any], note: str
) -> None:
    jobs = [{"sys_idx": [0, 1], "temps": [300], "trj_freq": 10, "nsteps": 500, "ensemble": "nvt"}]
    found = made(place, {**PARAM, "model_devi_jobs": jobs, "model_devi_f_trust_lo": 0.05, **given})
    study = parse(found.text, "made.yaml", place, files=False)
    assert study.select_of(study.stages[0].explore[0]).levels == expected
    assert any(note in str(item) for item in found.notes.items)
