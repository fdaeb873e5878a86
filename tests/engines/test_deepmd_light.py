"""What is left out of DeePMD-kit changes nothing of what it does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lamflow.data import Frame, LabeledFrame
from lamflow.data.dataset import Item, Origin, systems, write_dataset
from lamflow.engines.emt import Emt
from lamflow.engines.registry import evaluator

pytestmark = pytest.mark.deepmd

PROGRAM = """\
import os, sys
import numpy as np
from lamflow.engines.deepmd import light

light.prepare()
import deepmd.infer, deepmd.pt.entrypoints.main
from deepmd.pt.utils import env
from deepmd.utils import econf_embd
from deepmd.utils.data import DeepmdData

assert env.NUM_WORKERS == int(sys.argv[2]), env.NUM_WORKERS
assert econf_embd.element("Cu").atomic_number == 29
assert "mendeleev.models" not in sys.modules, "imported for a number"
assert econf_embd.element("Cu").name == "Copper"
assert "mendeleev.models" in sys.modules
assert econf_embd.sort_element_type(["Cu", "Xx", "Al"]) == ["Al", "Cu", "Xx"]
assert econf_embd.element("Cu") is econf_embd.element("Cu"), "asked once"

light.prepare_training()
light.prepare_training()
read = []
plain = DeepmdData.get_single_frame.__wrapped__
data = DeepmdData(sys.argv[1], type_map=["Cu"])
before = DeepmdData._load_single_data
DeepmdData._load_single_data = lambda self, *a: read.append(a) or before(self, *a)
first = data.get_item_torch(1)
count = len(read)
again = data.get_item_torch(1)
assert count and len(read) == count, "read once"
assert again is not first
direct = plain(data, 1, 1)
assert all(np.array_equal(again[key], direct[key]) for key in direct)
data.add("energy", 1, atomic=False, must=True, high_prec=True)
more = data.get_item_torch(1)
assert "energy" in more, "what is asked for later is read"
light.MEMORY = 0
data.get_item_torch(2)
count = len(read)
data.get_item_torch(2)
assert len(read) > count, "what does not fit into memory is read again"
"""
COMPILER = """\
import sys
import torch
from lamflow.engines.deepmd import light

told = []

def compile(function, **options):
    told.append((function.__name__, options))
    return lambda *values: values

torch.compile = compile
light.prepare()
import deepmd.pt.model.model
from deepmd.pt.utils import nv_nlist

assert torch.compile is compile, "for all that follows as it was"
assert not told and "torch._inductor.compile_fx" not in sys.modules, "imported for nothing"
assert nv_nlist._truncate_to_sel_compiled(1) == nv_nlist._truncate_to_sel_compiled(1) == (1,)
assert told == [("_truncate_to_sel", {"dynamic": True})], "compiled once, when it is called"
"""


@pytest.mark.parametrize(
    "asked", [None, pytest.param("2", marks=pytest.mark.slow)], ids=["nobody asked", "as the environment says"]
)
def test_no_workers_no_database_and_frames_read_once(
    copper: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None
) -> None:
    pytest.importorskip("deepmd", reason='DeePMD-kit is missing: pip install "lamflow[deepmd]"')
    monkeypatch.delenv("NUM_WORKERS", raising=False)
    if asked is not None:
        monkeypatch.setenv("NUM_WORKERS", asked)
    labels = evaluator(Emt()).evaluate(copper)
    items = [
        Item(LabeledFrame(frame, label), Origin(iteration=0, source="x"))
        for frame, label in zip(copper, labels, strict=True)
    ]
    write_dataset(tmp_path / "data", items, ["Cu"], "deepmd/npy")
    [system] = systems(tmp_path / "data")
    argv = [sys.executable, "-c", PROGRAM, str(system), asked or "0"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_compiler_of_torch_waits_where_there_is_no_gpu(tmp_path: Path) -> None:
    pytest.importorskip("deepmd", reason='DeePMD-kit is missing: pip install "lamflow[deepmd]"')
    argv = [sys.executable, "-c", COMPILER]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(argv, cwd=tmp_path, env=hidden, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
