"""What is read of a run on a cluster, against a real object store."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow.cluster import packs
from lamflow.cluster.store import Store
from lamflow.config import load
from lamflow.config.pods import ObjectStore
from lamflow.config.schema import DataStudy
from lamflow.data.graph import Graph, Step
from lamflow.data.layout import GRAPH
from lamflow.data.walk import files_below
from lamflow.driver.local_executor import LocalExecutor
from lamflow.driver.loop import run_state
from lamflow.driver.prepare import prepare
from lamflow.driver.run_location import pull_records
from lamflow.driver.rundir import RunDirectory
from tests.conftest import ROOT
from tests.stand_ins.s3 import S3Server


def graph(record: str) -> Graph:
    step = Step(name="train", op="", writes={}, records=[record])
    return Graph(kind="training", round=1, name="training", stage="train", steps=[step])


def test_a_graph_that_was_made_anew_brings_the_records_that_it_names(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    store = Store(ObjectStore(endpoint=s3.endpoint, bucket=bucket), "run/")
    there, here = RunDirectory(tmp_path / "there"), RunDirectory(tmp_path / "here")
    graph("iterations/001/models/0/model.json").save(here.round(1) / GRAPH)
    graph("iterations/001/models/*/model.json").save(there.round(1) / GRAPH)
    model = there.round(1) / "models" / "3" / "model.json"
    model.parent.mkdir(parents=True)
    model.write_text("{}")
    store.push(there.path, [model, there.round(1) / GRAPH])
    pull_records(here, store)
    assert (here.round(1) / "models" / "3" / "model.json").is_file()


@pytest.mark.parametrize("name", ["cleaning", "csp", "properties", "spin", "transport"])
def test_a_driver_on_a_cluster_sees_all_that_the_first_round_depends_on(
    s3: S3Server, bucket: str, tmp_path: Path, name: str
) -> None:
    """It has the records alone; what it does not see would not be done, and nobody would be told."""
    store = Store(ObjectStore(endpoint=s3.endpoint, bucket=bucket), "run/")
    there, here = RunDirectory(tmp_path / "there"), RunDirectory(tmp_path / "here")
    there.path.mkdir()
    prepare(load(ROOT / "workflows" / name / "tiny.yaml", DataStudy), there, 2)
    packs.push(store, there.path, files_below(there.path))
    here.path.mkdir()
    pull_records(here, store)
    executor = LocalExecutor(there)
    assert run_state(here, executor, []) == run_state(there, executor, [])
