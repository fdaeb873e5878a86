"""A command ends right wherever it runs: any locale, a reader that left, a lost terminal, names of others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from lamflow.config import load
from lamflow.driver.loop import run
from lamflow.driver.rundir import RunDirectory
from tests.conftest import STUDY

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ENDLESS = STUDY.replace("steps: 40", "steps: 100000000").replace("every: 4", "every: 1000000")


def lamflow(*words: object, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "lamflow", *map(str, words)]
    environment = {**os.environ, **(env or {})}
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False, env=environment)


def test_a_locale_without_the_letters_of_messages(study: Path) -> None:
    study.write_text("# für Å\n" + study.read_text(encoding="utf-8"), encoding="utf-8")
    good = lamflow("check", study, cwd=study.parent, env=ASCII)
    assert (good.returncode, good.stderr) == (0, "")
    study.write_text(study.read_text(encoding="utf-8").replace("rattle: 0.05", "rattle: -0.05"), encoding="utf-8")
    bad = lamflow("check", study, cwd=study.parent, env=ASCII)
    assert bad.returncode == 2
    assert "structures.0.rattle: -0.05 ?: input should be greater" in bad.stderr


def test_what_is_written_in_such_a_locale_is_utf_8(tmp_path: Path) -> None:
    assert lamflow("init", "mine", cwd=tmp_path, env=ASCII).returncode == 0
    for file in (tmp_path / "mine").iterdir():
        file.read_text(encoding="utf-8")
    assert lamflow("check", "mine/lamflow.yaml", cwd=tmp_path, env=ASCII).returncode == 0


@pytest.mark.parametrize("words", [["check", "tiny.yaml"], ["render", "tiny.yaml"], ["schema"], ["plan", "tiny.yaml"]])
def test_a_reader_that_left(words: list[str], study: Path) -> None:
    read, written = os.pipe()
    os.close(read)
    argv = [sys.executable, "-m", "lamflow", *words]
    done = subprocess.run(argv, cwd=study.parent, stdout=written, stderr=subprocess.PIPE, text=True, check=False)
    os.close(written)
    assert (done.stderr, done.returncode in (1, 2)) == ("", True)


def test_one_line_of_many(study: Path) -> None:
    command = f"{sys.executable} -m lamflow render tiny.yaml | head -1"
    done = subprocess.run(command, shell=True, cwd=study.parent, capture_output=True, text=True, check=False)  # noqa: S602  the pipe is the shell's
    assert (done.stdout, done.stderr) == ("apiVersion: argoproj.io/v1alpha1\n", "")


@pytest.fixture
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that explores, started with the words before it that the test names."""
    (tmp_path / "tiny.yaml").write_text(ENDLESS, encoding="utf-8")
    argv = [*request.param, sys.executable, "-m", "lamflow", "run", "tiny.yaml", "--dir", "run"]
    process = subprocess.Popen(
        argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509  the tests may run under nohup
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "train done" in line:
            break
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("running", [[]], indirect=True)
def test_a_lost_terminal_stops_a_run_that_says_so(running: subprocess.Popen[str], tmp_path: Path) -> None:
    running.send_signal(signal.SIGHUP)
    assert running.wait(120) == 130
    assert RunDirectory(tmp_path / "run").run().state == "stopped"


@pytest.mark.slow
@pytest.mark.parametrize("running", [["nohup"]], indirect=True)
def test_a_run_under_nohup_outlives_its_terminal(running: subprocess.Popen[str], tmp_path: Path) -> None:
    running.send_signal(signal.SIGHUP)
    time.sleep(2)
    assert running.poll() is None
    running.terminate()
    assert running.wait(120) == 130
    assert RunDirectory(tmp_path / "run").run().state == "stopped"


def test_names_of_others_do_not_drive_the_terminal(tmp_path: Path) -> None:
    """Of files, and of what lies in them; those are shown with what they are made of."""
    for name, positions in (("a\x1b[31mb.extxyz", [0, 0, 0]), ("held.extxyz", [0.1, 0, 0])):
        atoms = Atoms("Cu2", [positions, [1.8, 1.8, 0]], cell=[3.6] * 3, pbc=True)
        atoms.calc = SinglePointCalculator(atoms, energy=0.1, forces=np.full((2, 3), 0.1 + positions[0]))
        write(tmp_path / name, atoms, format="extxyz")
    (tmp_path / "study.yaml").write_text(
        'workflow: training\nname: x\nelements: [Cu]\nstart: {data: ["a*.extxyz"]}\nheldout: {data: [held.extxyz]}\n'
        "train: {engine: pair, models: 1, functions: 8}\n",
        encoding="utf-8",
    )
    good = lamflow("check", "study.yaml", cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    assert "a\\x1b[31mb.extxyz: 1 frames" in good.stdout
    (tmp_path / "a\x1b[31mb.extxyz").write_text("2\nx\n\x1b[2JCu 0 0 0\nCu 1 1 1\n", encoding="utf-8")
    bad = lamflow("check", "study.yaml", cwd=tmp_path)
    assert bad.returncode == 2
    assert "\x1b" not in good.stdout + good.stderr + bad.stdout + bad.stderr


@pytest.mark.slow
def test_nothing_outside_of_a_run_is_fetched(tmp_path: Path, study: Path) -> None:
    study.write_text(STUDY.replace("iterations: 2", "iterations: 1"), encoding="utf-8")
    run(load(study), tmp_path / "run")
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    link = next((tmp_path / "run").glob("**/models/[0-9]*")) / "more"
    link.symlink_to(tmp_path / "secret")
    done = lamflow("fetch", "run", "models", "--to", "copies", cwd=tmp_path)
    assert done.returncode == 2
    assert "more: a link to" in done.stderr
    assert not (tmp_path / "copies").exists()
    link.unlink()
    assert lamflow("fetch", "run", "models", "--to", "copies", cwd=tmp_path).returncode == 0
    outside = tmp_path / "outside"
    inside = next((tmp_path / "run" / "data" / "train").iterdir())
    inside.rename(outside)
    inside.symlink_to(outside)
    done = lamflow("fetch", "run", "data", "--to", "frames", cwd=tmp_path)
    assert (done.returncode, "a link to" in done.stderr) == (2, True)
