from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lamflow.engines import process
from lamflow.errors import EngineError, NodeError


def shell(script: str, tmp_path: Path, **options: float) -> None:
    process.run(["sh", "-c", script], cwd=tmp_path, log=tmp_path / "log", **options)  # type: ignore[arg-type]


def test_output_and_errors_go_into_the_log(tmp_path: Path) -> None:
    shell("echo out; echo err >&2", tmp_path)
    assert sorted((tmp_path / "log").read_text().split()) == ["err", "out"]


def test_a_failure_shows_status_place_and_the_end_of_the_log(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"sh exited with 3 in .*\n") as caught:
        shell("for i in $(seq 100); do echo line $i; done; exit 3", tmp_path)
    assert "line 100" in str(caught.value)
    assert "line 80\n" not in str(caught.value)


def test_killed_from_outside_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="was killed"):
        shell("kill -9 $$", tmp_path)


def test_a_full_disk_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="No space left on device"):
        shell("cat /proc/self/status > /dev/full", tmp_path)


def test_a_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"did not finish within 0\.5 s"):
        shell("sleep 987 & echo $! > child; wait", tmp_path, timeout=0.5)
    child = int((tmp_path / "child").read_text())
    for _ in range(600):  # a machine that has more to do takes its time
        if not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    pytest.fail("the child is still there")


def test_no_such_program(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no-such-program: no such program on PATH"):
        process.run(["no-such-program"], cwd=tmp_path, log=tmp_path / "log")


def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom lamflow.engines import process\n"
        f"process.run(['sh', '-c', 'echo $$ > pid; exec sleep 987'], cwd=Path({str(tmp_path)!r}), "
        f"log=Path({str(tmp_path / 'log')!r}))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    child = int((tmp_path / "pid").read_text())
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_redirected_takes_what_compiled_code_prints(tmp_path: Path) -> None:
    with process.redirected(tmp_path / "log"):
        os.write(1, b"from below\n")
        print("from python", file=sys.__stdout__)
    assert (tmp_path / "log").read_text() == "from below\nfrom python\n"
