"""Learning curves of cleaning: models of growing parts of the data, the worst frames first, and of random ones.

    python benchmarks/cleaning_curve.py [--data FOLDER] [--steps 600] [--pretrained MODEL]

As the example of lam-data-cleaning: training begins with a few random frames, each next model has those that the one
before knew worst; beside it are random frames of the same number, a model of all frames and, with `--pretrained`, that
model before any training. Its own data are water of DFT, deepmd/npy folders, which `--data` names; without it they are
alloys labeled by EMT. All is one run of the kind `cleaning`.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from _bench import Cell, parse_arguments, parser, publish, timed
from cleaning import emt_case
from cleaning_training import SMALL_MODEL, written

from lamflow.config import parse
from lamflow.config.cleaning import CleaningStudy
from lamflow.data.cleaning import Cleaning
from lamflow.driver.loop import run
from lamflow.driver.rundir import RunDirectory


def main() -> None:
    """Run the study and print its points."""
    options = parser(__doc__)
    options.add_argument("--data", type=Path, help="labeled frames; alloys labeled by EMT without it")
    options.add_argument("--trajectories", type=int, default=30, help="of alloys")
    options.add_argument("--fractions", type=float, nargs="+", default=[0.02, 0.05, 0.12, 0.33])
    options.add_argument("--steps", type=int, default=600, help="of every model")
    options.add_argument("--pretrained", type=Path, help="checkpoint of DeePMD-kit that all models start from")
    settings = parse_arguments(options, trajectories=6, steps=10, fractions=[0.2])
    train: dict[str, Any] = {
        "engine": "deepmd", "steps": settings.steps, "checkpoint_every": settings.steps,
        "input": {"model": SMALL_MODEL, "training": {"disp_freq": max(1, settings.steps // 10)}},
    }  # fmt: skip
    if settings.pretrained is not None:
        train |= {
            "pretrained": {"file": str(settings.pretrained.absolute())}, "phases": [{"start_from": "finetune"}],
            "input": {"training": {"disp_freq": max(1, settings.steps // 10)}},
        }  # fmt: skip
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name), timed() as clock:
        root = Path(name)
        if settings.data is None:
            case = emt_case(settings.trajectories, 20)
            data = written(case.items, case.trajectory.tolist(), root / "alloys.extxyz")
        else:
            data = settings.data.absolute()
        study = {
            "workflow": "cleaning", "name": "curve", "split": {"heldout": 0.2, "whole": "structure"},
            "sources": [{"name": "data", "data": [str(data)], "method": "one"}],
            "checks": {"actions": {"force_sum": "flag"}},  # of that water they do not add up to zero
            "curve": {"train": train, "fractions": settings.fractions},
        }  # fmt: skip
        run(parse(yaml.safe_dump(study), root=root, kind=CleaningStudy), root / "run")
        last = RunDirectory(root / "run").iterations()[-1]
    assert isinstance(last, Cleaning)
    assert last.checked is not None
    points = sorted(last.checked.curve, key=lambda point: (point.line, point.frames))
    rows: list[dict[str, Cell]] = [
        {
            "frames": point.line, "number": point.frames, "force RMSE (eV/Å)": point.force_rmse,
            "energy RMSE (eV/atom)": point.energy_rmse, "seconds": point.seconds,
        }
        for point in points
    ]  # fmt: skip
    best = float(np.min([point.force_rmse for point in points]))
    publish(
        settings, "cleaning_curve", f"Learning curves ({clock.seconds:.0f} s)", rows,
        summary={
            "heldout": last.checked.heldout, "best force RMSE (eV/Å)": best, "notes": " ".join(last.checked.notes),
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
