"""A run whose objects are lost or damaged, in a real object store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lamflow.api import Run
from lamflow.cluster import packs
from lamflow.config import load
from lamflow.data.files import file_hash
from lamflow.driver.located import Located
from lamflow.driver.loop import run as run_here
from lamflow.driver.run_location import RunLocation
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import StateError
from tests.conftest import STUDY
from tests.stand_ins.kubernetes import Kubernetes
from tests.stand_ins.s3 import S3Server

pytestmark = pytest.mark.slow


def test_lost_and_cut_objects_are_made_again(kubernetes: Kubernetes, s3: S3Server, bucket: str, tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    cluster = f"cluster: {{s3: {{endpoint: '{s3.endpoint}', bucket: {bucket}}}}}\n"
    file.write_text(STUDY.replace("copies: 10", "copies: 5").replace("iterations: 2", "iterations: 1") + cluster)
    study = load(file)
    run_here(study, tmp_path / "run")
    location = RunLocation.of(study)
    store, original = location.store(), RunDirectory(tmp_path / "run")
    packs.push(store, original.path, original.store_files())
    (tmp_path / "mirror").mkdir()
    location.save(tmp_path / "mirror" / "remote.json")
    run = Run(Located(tmp_path / "mirror", location))
    run.refresh()
    packed = {"data/train/000.tar": "data/train/000", "data/index/000.tar": "data/index/000"}
    before = {item.key: item.etag for item in store.objects() if item.key in packed}
    assert len(before) == 2
    lost = ["run.json", "structures/crystal.npz", *packed]
    cut = ["iterations/000/graph.json", "iterations/000/result.json", "iterations/001/models/0/model.json"]
    for key in lost:
        store.delete(key)
    for key in cut:
        (tmp_path / "cut").write_bytes((original.path / key).read_bytes()[:100])
        store.put(key, tmp_path / "cut")
    with pytest.raises(StateError, match=r"lamflow repair"):
        Run.open(tmp_path / "mirror").status  # noqa: B018  asking raises
    made = run.repair()
    for key in (packed.get(key, key) for key in (*lost, *cut)):
        assert any(key.startswith(str(Path(line.split(": ")[0]).relative_to(run.path.resolve()))) for line in made), key
    store.pull(tmp_path / "after", lambda _: True)
    assert before == {item.key: item.etag for item in store.objects() if item.key in packed}, "the same bytes"
    for key in (*lost, *cut):
        if key not in packed and key not in ("run.json", "iterations/000/result.json"):  # times are lost
            assert file_hash(tmp_path / "after" / key) == file_hash(original.path / key), key
    assert run.status.rounds == 2
    assert run.repair() == []
    model = "iterations/001/models/0/pair.json"
    content = (original.path / model).read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) // 2] + os.urandom(len(content) - len(content) // 2))
    store.put(model, tmp_path / "cut")
    with pytest.raises(StateError, match=r"pair\.json: changed since the model was trained"):
        _ = run.model_folders
    with pytest.raises(StateError, match="throws everything from iteration 1 on away"):
        run.repair()
    run.repair(redo=True)
    assert not store.objects("iterations/001/models/")
    assert run.status.rounds == 1
