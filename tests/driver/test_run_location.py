"""What is read of a run on a cluster, against a real object store."""

from __future__ import annotations

from pathlib import Path

from lamflow.cluster.store import Store
from lamflow.config.pods import ObjectStore
from lamflow.data.graph import Graph, Step
from lamflow.data.layout import GRAPH
from lamflow.driver.run_location import pull_records
from lamflow.driver.rundir import RunDirectory
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
