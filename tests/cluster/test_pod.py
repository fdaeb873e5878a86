"""A training pod that loses its node goes on, on another one, from what it kept in a real object store."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lamflow.cluster.store import Store
from lamflow.config import parse
from lamflow.config.pods import ObjectStore
from lamflow.data import Frame, LabeledFrame
from lamflow.data.dataset import Item, Origin, write_dataset
from lamflow.data.results import ModelResult
from lamflow.engines.emt import Emt
from lamflow.engines.registry import evaluator
from tests.conftest import STUDY
from tests.engines.test_deepmd import SMALL
from tests.stand_ins.s3 import S3Server

pytestmark = [pytest.mark.deepmd, pytest.mark.slow]
STEPS = 600


@pytest.fixture
def inputs(copper: list[Frame], s3: S3Server, bucket: str, tmp_path: Path) -> Path:
    """Input artifacts of a training pod."""
    training = {**SMALL, "models": 2, "steps": STEPS, "checkpoint_every": 50}
    config = parse(
        STUDY.replace("train: {engine: pair, models: 3, functions: 8}", f"train: {json.dumps(training)}")
        + f"cluster: {{s3: {{endpoint: '{s3.endpoint}', bucket: {bucket}}}}}\n"
    )
    folder = tmp_path / "inputs"
    (folder / "input").mkdir(parents=True)
    (folder / "input" / "config.json").write_text(config.model_dump_json())
    labels = evaluator(Emt()).evaluate(copper)
    items = [Item(LabeledFrame(f, labels[i]), Origin(iteration=0, source=f"{i}")) for i, f in enumerate(copper)]
    write_dataset(folder / "train" / "000", items[:10], ["Cu"], "deepmd/npy")
    write_dataset(folder / "heldout" / "000", items[10:], ["Cu"], "deepmd/npy")
    return folder


def start(node: Path, inputs: Path, every: float) -> subprocess.Popen[bytes]:
    """A pod on an empty node: nothing of an earlier one is there."""
    shutil.rmtree(node, ignore_errors=True)
    shutil.copytree(inputs, node / "inputs")
    script = (
        "from lamflow.cluster.job import main\n"
        f"main('lamflow.ops.train:train', step='train', root='{node}', timeout=600.0, gpus=0, "
        f"parameters={{'job': 0, 'jobs': 2, 'iteration': 1}}, checkpoints=('run/checkpoints/', {every}))"
    )
    return subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=node)


def kept(store: Store) -> list[int]:
    """Steps of the checkpoints in the object store."""
    return sorted(int(match[1]) for item in store.objects() if (match := re.search(r"ckpt-(\d+)\.pt$", item.key)))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["evicted", "node lost"])
def test_training_goes_on_from_the_last_checkpoint(
    inputs: Path, s3: S3Server, bucket: str, tmp_path: Path, how: signal.Signals
) -> None:
    store = Store(ObjectStore(endpoint=s3.endpoint, bucket=bucket), "run/checkpoints/train-0/")
    node = tmp_path / "node"
    every = 3600.0 if how == signal.SIGTERM else 0.5
    pod = start(node, inputs, every)
    deadline = time.monotonic() + 120
    while not (list(node.rglob("model.ckpt-*00.pt")) if how == signal.SIGTERM else kept(store)):
        assert time.monotonic() < deadline
        assert pod.poll() is None
        time.sleep(0.05)
    pod.send_signal(how)
    assert pod.wait() == (143 if how == signal.SIGTERM else -9)
    reached = kept(store)[-1]
    assert 0 < reached < STEPS
    again = start(node, inputs, every)
    assert again.wait() == 0
    result = ModelResult.read(node / "outputs" / "models" / "0" / "model.json")
    assert result.failed is None
    assert result.steps == STEPS
    curve = (node / "outputs" / "models" / "0" / "lcurve.out").read_text().splitlines()
    steps = [int(line.split()[0]) for line in curve if not line.startswith("#")]
    assert steps[-1] == STEPS
    log = (node / "outputs" / "models" / "0" / "train.log").read_text()
    assert f"model.ckpt-{reached}.pt" in log, "the second pod began with the checkpoint of the first"


LOADER = """
import os, sys, time
from pathlib import Path
import torch
from torch.utils.data import DataLoader, Dataset
from lamflow.cluster import scratch
from lamflow.config.pods import ObjectStore

root, folder = Path(sys.argv[1]), Path(sys.argv[1]) / "train-0" / "0"
folder.mkdir(parents=True)
for number in range(7):
    (folder / f"{number}.pt").write_bytes(os.urandom(10_000 * (number + 1)))
scratch.keep(ObjectStore(endpoint=sys.argv[2], bucket=sys.argv[3]), sys.argv[4], root, 600)

class Zeros(Dataset):
    def __len__(self):
        return 10**7
    def __getitem__(self, index):
        return torch.zeros(10)

print("go", flush=True)
for _ in DataLoader(Zeros(), batch_size=1, num_workers=2):
    time.sleep(0.002)
"""


def test_a_signal_to_the_whole_group_loses_no_file(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    """As Argo does it: workers of a loader die while the scratch folder is stored."""
    for attempt in range(3):
        key = f"case/{attempt}/"
        argv = [sys.executable, "-c", LOADER, str(tmp_path / str(attempt)), s3.endpoint, bucket, key]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as pod:
            assert pod.stdout is not None
            assert pod.stdout.readline() == b"go\n"
            time.sleep(1.0)
            os.killpg(pod.pid, signal.SIGTERM)
            assert pod.wait() == 143
        assert len(Store(ObjectStore(endpoint=s3.endpoint, bucket=bucket), key).objects()) == 7


LOCKED = """
import logging, sys, time
from concurrent.futures import thread
from pathlib import Path
from lamflow.cluster import scratch
from lamflow.config.pods import ObjectStore

root = Path(sys.argv[1])
root.mkdir()
(root / "model.pt").write_bytes(b"weights")
scratch.keep(ObjectStore(endpoint=sys.argv[2], bucket=sys.argv[3]), sys.argv[4], root, 600)
with logging._lock, thread._global_shutdown_lock:
    print("go", flush=True)
    time.sleep(60)
"""


def test_a_signal_while_the_training_forks_loses_no_file(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    """Python holds locks of its own then, which what stores the files would wait for."""
    argv = [sys.executable, "-c", LOCKED, str(tmp_path / "scratch"), s3.endpoint, bucket, "case/"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as pod:
        assert pod.stdout is not None
        assert pod.stdout.readline() == b"go\n"
        pod.send_signal(signal.SIGTERM)
        assert pod.wait() == 143
    assert [item.key for item in Store(ObjectStore(endpoint=s3.endpoint, bucket=bucket), "case/").objects()] == [
        "model.pt"
    ]
