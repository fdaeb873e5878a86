"""Labels that are kept in a real object store, by a pod as a cluster starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lamflow.cluster.store import Store
from lamflow.config import parse
from lamflow.config.pods import ObjectStore
from lamflow.data import Frame
from lamflow.data.batch import Batch
from lamflow.data.cache import CACHE
from lamflow.data.dataset import Origin
from lamflow.data.results import Labeled
from tests.conftest import STUDY
from tests.ops.test_label import Shop
from tests.stand_ins.s3 import S3Server

pytestmark = pytest.mark.slow


def pod(root: Path, shop: Shop, frames: list[Frame], cluster: str, name: str) -> Labeled:
    """One label pod on an empty node."""
    label = f"{{engine: custom, command: [{sys.executable}, label.py], files: [{shop.folder}/label.py]}}"
    text = STUDY.replace("label: {engine: emt}", f"label: {label}").replace("name: tiny", f"name: {name}")
    node = root / name
    (node / "inputs" / "input").mkdir(parents=True)
    (node / "inputs" / "input" / "config.json").write_text(parse(text + cluster).model_dump_json())
    Batch(frames, [Origin(iteration=1, source="x")] * len(frames)).save(node / "inputs" / "batch")
    script = (
        "from lamflow.cluster.job import main\n"
        f"main('lamflow.ops.label:label', step='label', root='{node}', timeout=600.0, gpus=0, "
        f"parameters={{'job': 0, 'jobs': 1}}, labels='lamflow/{CACHE}/')"
    )
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=node, check=True)
    return Labeled.read(node / "outputs" / "labeled" / "0" / "labeled.json")


def test_runs_that_share_a_store_share_their_labels(
    copper: list[Frame], s3: S3Server, bucket: str, tmp_path: Path
) -> None:
    shop = Shop(tmp_path)
    cluster = f"cluster: {{s3: {{endpoint: '{s3.endpoint}', bucket: {bucket}}}}}\n"
    first = pod(tmp_path, shop, copper[:2], cluster, "one")
    assert [outcome.cached for outcome in first.outcomes] == [False, False]
    stored = Store(ObjectStore(endpoint=s3.endpoint, bucket=bucket), f"lamflow/{CACHE}/").objects()
    assert len(stored) == 2
    second = pod(tmp_path, shop, copper[:3], cluster, "two")
    assert [outcome.cached for outcome in second.outcomes] == [True, True, False]
    assert shop.paid == 3


def test_a_store_that_does_not_answer_costs_labels_and_no_run(copper: list[Frame], bucket: str, tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    cluster = f"cluster: {{s3: {{endpoint: 'http://127.0.0.1:9', bucket: {bucket}}}}}\n"
    answer = pod(tmp_path, shop, copper[:1], cluster, "alone")
    assert answer.outcomes[0].failed is None
    assert shop.paid == 1
