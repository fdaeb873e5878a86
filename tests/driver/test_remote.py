"""Whole runs on a stand-in cluster: every pod a process, every artifact in a real object store."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lamflow.cluster import packs
from lamflow.config import load, parse
from lamflow.data.dataset import manifests
from lamflow.data.graph import Graph
from lamflow.data.run import Run
from lamflow.driver import cluster_runs
from lamflow.driver.argo_executor import ArgoExecutor
from lamflow.driver.listener import Listener
from lamflow.driver.loop import run as run_here
from lamflow.driver.run_location import RunLocation, mirror
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import ClusterError, StateError
from tests.conftest import STUDY
from tests.stand_ins.argo import Argo
from tests.stand_ins.kubernetes import WORKFLOWS, Fault, Kubernetes
from tests.stand_ins.s3 import S3Server

pytestmark = pytest.mark.slow


@dataclass
class Place:
    """A stand-in cluster, and a study that runs on it."""

    kubernetes: Kubernetes
    argo: Argo
    s3: S3Server
    bucket: str
    folder: Path

    def study(self, change: Callable[[str], str] = lambda text: text) -> Path:
        file = self.folder / "tiny.yaml"
        file.write_text(change(STUDY) + f"cluster: {{s3: {{endpoint: '{self.s3.endpoint}', bucket: {self.bucket}}}}}\n")
        return file

    def submit(self, change: Callable[[str], str] = lambda text: text) -> RunLocation:
        return cluster_runs.submit(load(self.study(change)), self.folder / "run")

    def end(self, listener: Listener | None = None) -> Run:
        """The record of the run when its driver has ended."""
        made = RunLocation.read(self.folder / "run" / "remote.json")
        return cluster_runs.follow(self.folder / "run", made, listener or Quiet(), pause=0.2)

    def keys(self, prefix: str) -> dict[str, str]:
        """Objects below a prefix, and when they were written."""
        found = self.s3.client.list_objects(self.bucket, prefix=f"lamflow/tiny/{prefix}", recursive=True)
        return {str(item.object_name): str(item.last_modified) for item in found}

    def frames(self) -> list[tuple[str, str]]:
        """Hash and origin of every frame that is trained on."""
        directory = RunDirectory(self.folder / "run")
        mirror(directory, RunLocation.read(directory.path / "remote.json").store(), "data/train/", whole=True)
        return frames_of(directory.path)


def until(true: Callable[[], bool], seconds: float = 300.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Quiet(Listener):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def says(self, text: str) -> None:
        self.said.append(text)


class Looking(Quiet):
    """Remembers how an iteration's Workflow stood when its steps were told of."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        super().__init__()
        self.kubernetes, self.stood, self.steps = kubernetes, list[str](), list[list[str]]()

    def progress(self, done: dict[str, float]) -> None:
        if "tiny-001" in self.kubernetes.workflows and "tiny-002" not in self.kubernetes.workflows and done:
            self.stood.append(self.kubernetes.workflows["tiny-001"]["status"].get("phase", ""))
            self.steps.append(sorted(done))


def frames_of(path: Path) -> list[tuple[str, str]]:
    return sorted(
        (record.hash, record.origin.model_dump_json())
        for manifest in manifests(path / "data" / "train")
        for record in manifest.frames
    )


@pytest.fixture
def place(kubernetes: Kubernetes, s3: S3Server, bucket: str, tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "pods").mkdir()
    argo = Argo(kubernetes, s3, bucket, tmp_path / "pods", Path(os.environ["KUBECONFIG"]))
    yield Place(kubernetes, argo, s3, bucket, tmp_path)
    for process in list(argo.running.values()):
        process.kill()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """The frames that the same study ends with on one machine."""
    folder = tmp_path_factory.mktemp("here")
    run_here(parse(STUDY), folder / "run")
    return frames_of(folder / "run")


def test_a_run_ends_as_it_would_on_one_machine(place: Place, undisturbed: list[tuple[str, str]]) -> None:
    place.submit()
    written: dict[str, str] = {}

    def remember() -> None:
        deadline = time.monotonic() + 240
        while not written and time.monotonic() < deadline:
            written.update(place.keys("data/train/000"))
            time.sleep(0.2)

    thread = threading.Thread(target=remember)
    thread.start()
    looking = Looking(place.kubernetes)
    record = place.end(looking)
    thread.join()
    assert looking.stood.count("Running") > 3, "what an iteration does is told while it does it"
    assert ["train"] in looking.steps
    assert record.state == "ended"
    assert place.frames() == undisturbed
    assert place.keys("data/train/000") == written, "what did not change was not uploaded again"
    assert {"lamflow/tiny/report/index.html", "lamflow/tiny/report/learning.png"} <= set(place.keys("report"))
    index = place.folder / "index.html"
    place.s3.client.fget_object(place.bucket, "lamflow/tiny/report/index.html", str(index))
    assert "<script" not in index.read_text()
    assert "data:" not in index.read_text(), "the policy of Argo's UI lets no such image through"
    driver = next(node for node in place.kubernetes.workflows["tiny"]["status"]["nodes"].values())
    said = {p["name"]: p["value"] for p in driver["outputs"]["parameters"]}
    assert said["state"] == "ended"
    assert said["labels"] == "16"
    assert float(said["force_rmse"]) > 0
    annotation = place.kubernetes.workflows["tiny"]["metadata"]["annotations"]["workflows.argoproj.io/description"]
    assert annotation.startswith("Iteration 2 (warm) has finished; held-out force RMSE 0.0")
    assert not place.keys("iterations/001/checkpoints")
    no_secret_is_anywhere(place)


def test_data_sets_that_become_one_object_are_the_same_data(
    place: Place, undisturbed: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "MANY", 2)
    study = load(place.study())
    location = RunLocation.of(study)
    executor = ArgoExecutor(RunDirectory(place.folder / "run"), location)
    run_here(study, place.folder / "run", Quiet(), executor)
    assert [key.rsplit("/", 1)[1] for key in place.keys("data/train/")] == ["000-001.tar"]
    assert place.frames() == undisturbed


def no_secret_is_anywhere(place: Place) -> None:
    """Neither the secret key nor the token is in a manifest, a log, a stored object, or a file of the run."""
    texts = [
        json.dumps(place.kubernetes.workflows),
        json.dumps(place.kubernetes.bodies),
        *place.kubernetes.logs.values(),
    ]
    for item in place.s3.client.list_objects(place.bucket, recursive=True):
        answer = place.s3.client.get_object(place.bucket, str(item.object_name))
        texts.append(answer.read().decode(errors="replace"))
    texts += [file.read_text(errors="replace") for file in (place.folder / "run").rglob("*") if file.is_file()]
    assert len(texts) > 50
    assert not any("planted" in text for text in texts)


def test_a_driver_and_pods_that_lose_their_nodes_cost_nothing(place: Place, undisturbed: list[tuple[str, str]]) -> None:
    killed = {"driver": 0, "explore": 0, "train": 0}

    def lose() -> None:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and not all(killed.values()):
            for step, times in killed.items():
                if not times and (step != "driver" or killed["train"]) and place.argo.kill(step):
                    killed[step] += 1
            time.sleep(0.05)

    thread = threading.Thread(target=lose)
    place.submit()
    thread.start()
    record = place.end()
    thread.join()
    assert record.state == "ended"
    assert all(killed.values())
    assert sum(line.endswith(": 137") for line in place.argo.pods) >= 3
    assert place.frames() == undisturbed


def test_an_outage_of_the_api_is_waited_for(place: Place) -> None:
    place.submit(lambda text: text.replace("iterations: 2", "iterations: 1"))
    for line, status in (
        (f"GET {WORKFLOWS}", 503),
        ("WATCH", 0),
        (f"POST {WORKFLOWS}", 500),
        (f"PATCH {WORKFLOWS}", 429),
    ):
        place.kubernetes.faults.append(Fault(line, status, "not now", times=2))
    assert place.end().state == "ended"
    assert any("trying again" in log for log in place.kubernetes.logs.values())


def test_what_succeeded_is_not_done_again(place: Place, undisturbed: list[tuple[str, str]]) -> None:
    place.argo.failing = ["tiny-001-label-1"]
    place.submit(lambda text: text.replace("label: {parallel: 1}", "label: {parallel: 3, retries: 0}"))
    assert place.end().state == "ended"
    shape = RunDirectory(place.folder / "run").round(1) / "graph.json"
    assert any(
        "label 1" in log and "trying again what has not succeeded" in log for log in place.kubernetes.logs.values()
    )
    again = [pod for pod in place.argo.pods if "tiny-001-2" in pod]
    assert again == ["tiny-001-2-label-1: 0", "tiny-001-2-merge-0: 0"]
    assert Graph.read(shape).completed == {"train": [0], "explore": [0, 1], "select": [0], "label": [0, 2]}
    assert [frame[0] for frame in place.frames()] == [frame[0] for frame in undisturbed]


def test_a_pod_may_be_lost_more_often_than_it_may_fail(place: Place, undisturbed: list[tuple[str, str]]) -> None:
    place.argo.doomed = ["tiny-001-train-0"] * 4
    place.submit(lambda text: text.replace("train: {parallel: 1}", "train: {parallel: 1, retries: 0, losses: 4}"))
    assert place.end().state == "ended"
    assert [pod for pod in place.argo.pods if "001-train" in pod] == [
        *(f"tiny-001-train-0: {code}" for code in (137, 137, 137, 137, 0))
    ]
    assert place.frames() == undisturbed


def test_losses_without_any_progress_end_the_run(place: Place) -> None:
    place.argo.doomed = ["tiny-001-train-0"] * 50
    place.submit(lambda text: text.replace("train: {parallel: 1}", "train: {parallel: 1, losses: 2}"))
    record = place.end()
    assert record.state == "failed"
    assert "tiny-001, train 0 was lost 3 times without a newer checkpoint" in record.message
    assert place.kubernetes.workflows["tiny-001"]["spec"]["shutdown"] == "Terminate"


def test_a_pod_that_takes_too_much_memory_twice_is_said(place: Place) -> None:
    place.argo.greedy = ["tiny-001-explore"]
    place.submit(lambda text: text.replace("label: {parallel: 1}", "label: {parallel: 1}, explore: {memory: 3Gi}"))
    record = place.end()
    assert record.state == "failed"
    assert "killed for memory twice: it asked for 3Gi and used all of it" in record.message
    assert "memory_max" in record.message


def test_stop_and_resume(place: Place, undisturbed: list[tuple[str, str]]) -> None:
    made = place.submit()
    until(lambda: any("001-train" in pod for pod in place.argo.pods))
    with pytest.raises(StateError, match="is driving this run"):
        cluster_runs.resume(place.folder / "run", made)
    with pytest.raises(StateError, match="is driving this run"):
        place.submit()
    said: list[str] = []
    cluster_runs.stop(place.folder / "run", made, said.append)
    assert "waits for Workflow tiny" in said[0]
    assert place.end().state == "stopped"
    with pytest.raises(StateError, match="nothing drives"):
        cluster_runs.stop(place.folder / "run", made)
    cluster_runs.resume(place.folder / "run", made)
    assert place.end().state == "ended"
    assert place.frames() == undisturbed


def test_a_run_goes_on_from_a_copy_of_its_bucket(place: Place, undisturbed: list[tuple[str, str]]) -> None:
    """A copy to files and back loses what the store knows of objects beside their content; another cluster has no Workflows."""
    made = place.submit()
    until(lambda: any("002-train" in pod for pod in place.argo.pods))
    cluster_runs.stop(place.folder / "run", made, lambda _: None)
    assert place.end().state == "stopped"
    names = list(place.keys(""))
    copy = {name: place.s3.client.get_object(place.bucket, name).read() for name in names}
    for name in names:
        place.s3.client.remove_object(place.bucket, name)
    assert not place.keys("")
    place.kubernetes.workflows.clear()
    for name, content in copy.items():
        place.s3.client.put_object(place.bucket, name, io.BytesIO(content), len(content))
    shutil.rmtree(place.folder / "run")
    cluster_runs.resume(place.folder / "run", made)
    assert place.end().state == "ended"
    assert place.frames() == undisturbed


def test_a_run_is_read_by_its_address_from_anywhere(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = place.submit(lambda text: text.replace("iterations: 2", "iterations: 1"))
    place.end()
    monkeypatch.setenv("AWS_ENDPOINT_URL", place.s3.endpoint)

    def lamflow(*words: str) -> str:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "lamflow", *words], cwd=elsewhere, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "ended" in lamflow("status", made.url)
    assert "report.html" in lamflow("report", made.url)
    assert "3 models" in lamflow("fetch", made.url, "models")
    assert "frames in deepmd/npy" in lamflow("fetch", "runs/tiny", "data")
    assert "the budget of 1 iterations" in lamflow("watch", "runs/tiny")
    assert "iteration 1" in lamflow("logs", "runs/tiny")
    assert lamflow("logs", "runs/tiny", "--iteration", "1") != ""
    assert "the budget of 1 iterations" in lamflow("resume", "runs/tiny", "--drive-here")


def test_a_larger_budget_goes_on_and_a_redone_iteration_begins_again(place: Place) -> None:
    place.submit(lambda text: text.replace("iterations: 2", "iterations: 1"))
    assert place.end().state == "ended"
    place.submit()
    assert place.end().state == "ended"
    iterations = RunDirectory(place.folder / "run").iterations()
    assert [iteration.number for iteration in iterations] == [0, 1, 2]
    place.argo.ignored.add("tiny-003")  # nobody carries it out
    made = place.submit(lambda text: text.replace("iterations: 2", "iterations: 3"))
    until(lambda: "tiny-003" in place.kubernetes.workflows)
    cluster_runs.stop(place.folder / "run", made)
    assert place.kubernetes.workflows["tiny"]["status"]["phase"] == "Failed"
    place.argo.ignored.clear()

    def hotter(text: str) -> str:
        return text.replace("iterations: 2", "iterations: 3").replace("[300, 900]", "[600]")

    with pytest.raises(StateError, match="stages changed in the middle of iteration 3"):
        place.submit(hotter)
    cluster_runs.submit(load(place.study(hotter)), place.folder / "run", redo=True)
    assert place.end().state == "ended"
    assert {
        task.condition["temperature"] for task in RunDirectory(place.folder / "run").iterations()[3].simulations
    } == {600.0}


def test_why_a_pod_failed_is_said_as_on_one_machine(place: Place) -> None:
    place.submit(lambda text: text.replace("temperatures: [300, 900]", "temperatures: [9.0e+5]"))
    record = place.end()
    assert record.state == "failed"
    assert "Workflow tiny-001, select 0: no frame passed the filters" in record.message
    annotation = place.kubernetes.workflows["tiny"]["metadata"]["annotations"]["workflows.argoproj.io/description"]
    assert annotation.startswith("Failed: Workflow tiny-001, select 0: no frame passed the filters")


def test_a_pod_that_never_finds_a_node_stops_the_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.argo.ignored.add("tiny-000")  # nobody carries it out
    executor_says = Quiet()
    config = load(place.study())
    config = config.model_copy(update={"cluster": config.cluster.model_copy(update={"pending": 0.5})})
    node = {
        "id": "a", "type": "Pod", "templateName": "label", "phase": "Pending", "startedAt": "2026-01-01T00:00:00Z",
        "message": "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
    }  # fmt: skip

    def wait() -> None:
        while "tiny-000" not in place.kubernetes.workflows:
            time.sleep(0.05)
        place.kubernetes.update(
            "tiny-000", lambda found: found.update(status={"phase": "Running", "nodes": {"a": node}})
        )

    threading.Thread(target=wait).start()
    directory = RunDirectory(place.folder / "run")
    with pytest.raises(ClusterError, match=r"pods\.label\.gpus"):
        run_here(config, directory.path, executor_says, ArgoExecutor(directory, RunLocation.of(config)))
    assert place.kubernetes.workflows["tiny-000"]["spec"]["shutdown"] == "Terminate"
    assert "Insufficient nvidia.com/gpu" in executor_says.said[0]


@pytest.mark.parametrize(
    ("status", "message", "says"),
    [
        (401, "Unauthorized", "log in again"),
        (403, "workflows is forbidden", "lamflow-user"),
        (404, 'namespaces "lamflow" not found', "kubectl create namespace lamflow"),
        (403, "exceeded quota: small", "ResourceQuota"),
    ],
)
@pytest.mark.parametrize("rehearsal", [True, False], ids=["rehearsal", "creation"])
def test_a_refused_submission_leaves_nothing_behind(
    place: Place, status: int, message: str, says: str, rehearsal: bool
) -> None:
    if not rehearsal:
        place.kubernetes.faults.append(Fault(f"POST {WORKFLOWS}x", 500))
        original = place.kubernetes.fault
        posts = iter([None, Fault("POST", status, message)])
        place.kubernetes.fault = lambda line: next(posts) if line.startswith("POST") else original(line)  # type: ignore[method-assign]
    else:
        place.kubernetes.faults.append(Fault(f"POST {WORKFLOWS}", status, message))
    with pytest.raises(ClusterError, match=says):
        place.submit()
    assert not place.keys("")
    assert not (place.folder / "run").exists()
    assert not place.kubernetes.workflows


def test_a_missing_bucket_is_said_before_anything_is_made(place: Place) -> None:
    place.bucket = "not-there"
    with pytest.raises(ClusterError, match="no bucket not-there"):
        place.submit()
    assert not (place.folder / "run").exists()


def test_a_folder_with_other_things_is_left_alone(place: Place) -> None:
    folder = place.folder / "run"
    (folder / "structures").mkdir(parents=True)
    (folder / "structures" / "POSCAR").write_text("mine")
    with pytest.raises(StateError, match="holds structures; give another folder"):
        place.submit()
    assert (folder / "structures" / "POSCAR").read_text() == "mine"
    (folder / "structures" / "POSCAR").rename(folder / "thesis.tex")
    (folder / "structures").rmdir()
    posts = iter([None, Fault("POST", 403, "exceeded quota")])
    original = place.kubernetes.fault
    place.kubernetes.fault = lambda line: next(posts) if line.startswith("POST") else original(line)  # type: ignore[method-assign]
    with pytest.raises(ClusterError, match="ResourceQuota"):
        place.submit()
    assert [file.name for file in folder.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("number", [1, 2])
def test_an_iteration_whose_workflow_has_vanished(
    place: Place, undisturbed: list[tuple[str, str]], number: int
) -> None:
    """As if the driver had been away until Argo forgot the iteration; of the second a half is left."""
    made = place.submit()
    place.end()
    pods = list(place.argo.pods)
    store = made.store()
    store.delete(f"iterations/{number:03d}/result.json")
    if number == 1:
        store.delete("iterations/002/")
    else:
        store.delete("iterations/002/selected/")
    for gone in range(number, 3):
        place.kubernetes.put(place.kubernetes.workflows[f"tiny-{gone:03d}"], "DELETED")
    away = place.folder / "away.json"
    RunDirectory(place.folder / "run").run().model_copy(update={"state": "running"}).save(away)
    store.put("run.json", away)
    cluster_runs.resume(place.folder / "run", made)
    assert place.end().state == "ended"
    again = [pod for pod in place.argo.pods[len(pods) :] if "driver" not in pod]
    assert not [pod for pod in again if "tiny-001" in pod], "its results were all there"
    if number == 2:
        assert all("tiny-002-2" in pod for pod in again), "nothing of the half that was left is trusted"
    assert place.frames() == undisturbed


def test_a_run_of_this_machine_is_not_overwritten(place: Place) -> None:
    run_here(load(place.study(lambda text: text.replace("iterations: 2", "iterations: 1"))), place.folder / "run")
    with pytest.raises(StateError, match="holds a run of this machine"):
        place.submit()
    assert RunDirectory(place.folder / "run").run().state == "ended"


def test_a_terminated_driver_says_that_another_pod_goes_on(place: Place) -> None:
    place.submit()
    until(lambda: "tiny-001" in place.kubernetes.workflows)
    name, process = next(item for item in place.argo.running.items() if "-driver-" in item[0])
    os.killpg(process.pid, signal.SIGTERM)
    assert place.end().state == "ended"
    assert f"{name.rsplit('-', 1)[0]}: 143" in place.argo.pods, place.kubernetes.logs[name]
