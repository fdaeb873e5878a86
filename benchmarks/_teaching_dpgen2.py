"""dpgen2's side of teaching.py: one frame labeled by its own class, as one of its pods does. Takes model and folder."""

import sys
from pathlib import Path

import dpdata
import numpy as np
from dpgen2.fp.deepmd import RunDeepmd, deepmd_input_path
from dpgen2.utils import BinaryFileInput

model, folder = Path(sys.argv[1]), Path(sys.argv[2])
rng = np.random.default_rng(1)
sites = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
sites = sites[sites.sum(1) % 2 == 0] * 1.9
system = dpdata.System(
    data={
        "atom_names": ["Al", "Cu"], "atom_numbs": [16, 16], "atom_types": np.repeat([0, 1], 16), "orig": np.zeros(3),
        "coords": (sites + rng.normal(scale=0.06, size=sites.shape))[None], "cells": 7.6 * np.eye(3)[None],
    }
)  # fmt: skip
system.to("deepmd/npy", deepmd_input_path)
RunDeepmd().run_task(BinaryFileInput(model), "data", "log")
assert (folder / "data").is_dir()
