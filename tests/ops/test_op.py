from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from lamflow.config import parse
from lamflow.data.graph import Graph, Key
from lamflow.errors import EngineError, NodeError
from lamflow.flow.workflow import StoreLocation, workflow
from lamflow.ops import job
from lamflow.ops.operation import Context, op
from lamflow.superops.steps import add
from tests.conftest import STUDY


class Out(NamedTuple):
    """What the operations of these tests give."""

    files: Path
    count: int  # type: ignore[assignment]  # a tuple has a method of this name
    word: str
    fraction: float


@op
def good(context: Context, *, first: Path, second: Path | None, number: int) -> Out:
    folder = context.out / "files"
    folder.mkdir()
    (folder / "said").write_text(f"{first.read_text(encoding='utf-8')} {second} {number} {context.job}/{context.jobs}")
    context.progress(0.5)
    return Out(folder, number + 1, "it's {{fine}}", 0.25)


@op
def broken(context: Context) -> Out:
    raise EngineError("it will fail again")


@op
def unlucky(context: Context) -> Out:
    tries = context.scratch / "tries"
    count = int(tries.read_text()) + 1 if tries.is_file() else 1
    tries.write_text(str(count))
    if count < 2:
        raise NodeError("the machine failed")
    (context.out / "files").mkdir()
    return Out(context.out / "files", count, "", 0.0)


@op
def greedy(context: Context) -> Out:
    """As numpy does where a batch system limits address space."""
    raise MemoryError("Unable to allocate 72.8 TiB")


@op
def slow(context: Context) -> Out:
    """Takes what it can for the failure of one task, as a real step does."""
    import time

    for _ in range(3):
        with contextlib.suppress(Exception):
            time.sleep(10)
    return Out(context.out, 0, "", 0.0)


@op
def mistaken(context: Context) -> Out:
    raise KeyError("nobody foresaw this")


def call(name: str, root: Path, timeout: float = 60, **parameters: int) -> subprocess.CompletedProcess[str]:
    code = (
        "from lamflow.ops.job import main\n"
        f"main('tests.ops.test_op:{name}', step={name!r}, root={str(root)!r}, timeout={timeout}, gpus=0, "
        f"parameters={ {'job': 0, 'jobs': 2, **parameters}!r})"
    )
    environment = {
        **os.environ, "LAMFLOW_ERRORS": str(root / "errors"), "LAMFLOW_PROGRESS": str(root),        "LAMFLOW_SCRATCH": str(root / "scratch"),
    }  # fmt: skip
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_signs_come_from_the_types() -> None:
    assert good.inputs == {"first": (Path, False), "second": (Path, True), "number": (int, False)}
    assert good.outputs == {"files": Path, "count": int, "word": str, "fraction": float}


def test_it_is_a_dflow_op_template_without_secrets_or_pickles() -> None:
    study = parse(STUDY.split("pods:")[0] + "pods: {small: {threads: 2, timeout: 7}}")
    step = add("good", good, writes={"files": "a/b"}, first=Key(key="x"), second=None, number=1)
    graph = Graph(kind="learning", round=1, name="iteration-1", stage="warm", steps=[step])
    [built] = workflow(study, graph, StoreLocation(folder=Path("/"))).entrypoint.steps
    template = built.template
    assert set(template.inputs.artifacts) == {"first", "second"}
    assert template.inputs.artifacts["second"].optional
    assert {"job", "jobs", "number"} <= set(template.inputs.parameters)
    assert set(template.outputs.parameters) == {"count", "word", "fraction"}
    assert template.outputs.artifacts["files"].save[0].key == "a/b"
    for word in ("pickle", "secret", "token", "password"):
        assert word not in template.script


def test_a_job_whose_round_is_gone_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(job.ROUND, str(2**22 + 1))
    assert call("slow", tmp_path).returncode == job.EXIT_TERMINATED
    assert list(tmp_path.iterdir()) == []


def test_a_pod_reads_works_and_writes(tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "first").write_text("hello")
    found = call("good", tmp_path, number=3)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "outputs" / "files" / "said").read_text() == "hello None 3 0/2"
    assert json.loads((tmp_path / "outputs" / "count").read_text()) == 4
    assert (tmp_path / "outputs" / "word").read_text() == "it's {{fine}}"
    assert (tmp_path / "good-0").read_text() == "50/100"
    begins, done = found.stdout.splitlines()
    assert "good-0  job 1 of 2 begins; inputs: first 1 file, 0.00 MB" in begins
    assert "good-0  done in " in done
    assert done.endswith("files 1 file, 0.00 MB, count 4, word it's {{fine}}, fraction 0.25")


@pytest.mark.parametrize(
    ("name", "status", "kind", "words"),
    [
        ("broken", 2, "EngineError", "it will fail again"),
        ("mistaken", 2, "EngineError", "an error that lamflow did not foresee"),
        ("unlucky", 1, "NodeError", "the machine failed"),
        ("greedy", 1, "KilledError", "greedy-0: it was given no more memory: Unable to allocate 72.8 TiB"),
    ],
)
def test_what_went_wrong_is_left_for_the_driver(name: str, status: int, kind: str, words: str, tmp_path: Path) -> None:
    assert call(name, tmp_path).returncode == status
    left = json.loads((tmp_path / "errors" / f"{name}-0.json").read_text())
    assert left["kind"] == kind
    assert words in left["message"]


def test_a_second_try_begins_with_empty_folders_and_the_same_scratch(tmp_path: Path) -> None:
    assert call("unlucky", tmp_path).returncode == 1
    (tmp_path / "outputs" / "files").mkdir()
    assert call("unlucky", tmp_path).returncode == 0
    assert (tmp_path / "scratch" / "unlucky-0" / "tries").read_text() == "2"


def test_a_last_word_is_cut_in_bytes_with_its_kind_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    word = tmp_path / "termination-log"
    word.touch()
    monkeypatch.setattr(job, "TERMINATION", word)
    job.report_failure(EngineError("Å" * 5000), "train-0")
    said = word.read_bytes()
    assert 3990 < len(said) <= job.TERMINATION_BYTES
    assert said.decode().startswith("EngineError: ÅÅÅ")


def test_a_pod_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    found = call("slow", tmp_path, timeout=0.5)
    assert found.returncode == 2
    assert "slow-0 took longer than its timeout of 0.5 s" in found.stderr
