"""What a real pre-trained DPA-4 is worth: labels for fine-tuning against from scratch, bounds of errors, students.

    python benchmarks/large_models.py [--part labels] [--seeds 3] [--systems alloy water]

The model is `dpa4-0704` of `lamflow models list` (1.1 million parameters, 84 elements), which is fetched from a package
index once. An alloy of 4 Al and 4 Cu is labeled by EMT, three molecules of water by GFN2-xTB. Seconds are of the
processor, one thread.

* labels: held-out force RMSE of the model as it is, fine-tuned on a few frames, and of a small DPA-1 from random
  weights on more and more frames; how many labels the latter needs for the errors of the former.
* bounds: frames that are rattled more and more. Rank correlation of the true force error of a fine-tuned model with its
  embedding bound, and with the deviation of the committee of all seeds; labels that a score takes, counted from its
  largest, until nine tenths of the worst quarter of the frames are labeled, beside choosing at random.
* students: small models that learn from labels of a fine-tuned DPA-4; their force RMSE against it and against the
  truth, and atom-steps a second of each and of the teacher in `batched` and in LAMMPS (the teacher only with
  `--teacher-in-lammps`: DPA-4 is compiled for it, which takes minutes).
* virials: students that learn the teacher's virials with its forces, and such that do not, after the same steps.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _bench import Cell, parse_arguments, parser, publish
from _large_models_students import STUDENTS, student_rows, virial_rows
from _large_models_work import ATTENTION, SYSTEMS, Setting, fine_tuned, rmse, small_model
from scipy.stats import spearmanr

from lamflow.data import Frame, Labels
from lamflow.data.frames import Floats
from lamflow.driver.pretrained import named_model, obtain
from lamflow.engines.deepmd.model import DeepmdModel
from lamflow.science.deviation import force_deviation
from lamflow.science.embedding import ErrorBounds

NAME = "dpa4-0704"
WORST, FOUND = 0.25, 0.9
"""Which part of the frames is to be found by a score, and how much of it."""
PARTS = ("labels", "students", "virials")
Row = dict[str, Cell]


def row(setting: Setting, model: str, frames: int, values: Sequence[float], seconds: float) -> Row:
    """Force RMSE over seeds, and seconds of one training."""
    return {
        "what": f"{setting.system.name}: {model}", "frames": frames, "seeds": len(values),
        "force RMSE (eV/Å)": round(float(np.mean(values)), 4), "spread": round(float(np.std(values)), 4),
        "seconds": round(seconds, 1),
    }  # fmt: skip


def label_rows(setting: Setting, model: Path, settings: argparse.Namespace) -> tuple[list[Row], list[DeepmdModel]]:
    """What labels are worth with the real model and without; and the models that were fine-tuned last."""
    system, seeds = setting.system, range(settings.seeds)
    unseen = system.frames(settings.unseen, 9)
    true, committee = system.labels(unseen), list[DeepmdModel]()
    size = float(np.sqrt(np.mean([labels.forces**2 for labels in true])))
    rows = [row(setting, "no forces at all", 0, [size], 0.0)]
    rows.append(row(setting, "DPA-4 as it is", 0, [rmse(DeepmdModel(model), unseen, true)], 0.0))
    tuned, scratch = dict[int, float](), dict[int, float]()
    for count in settings.tuned:
        begun = time.process_time()
        committee = [fine_tuned(setting, model, count, settings.steps, seed) for seed in seeds]
        found = [rmse(each, unseen, true) for each in committee]
        rows.append(row(setting, "DPA-4 fine-tuned", count, found, (time.process_time() - begun) / settings.seeds))
        tuned[count] = float(np.mean(found))
        print(rows[-1], file=sys.stderr, flush=True)
    for count in settings.scratch:
        found, begun = [], time.process_time()
        for seed in seeds:
            frames, name = system.frames(count, 100 + seed), f"scratch-{count}-{seed}"
            data = (frames, system.labels(frames))
            found.append(rmse(small_model(setting, name, data, settings.scratch_steps, seed, ATTENTION), unseen, true))
        rows.append(row(setting, "DPA-1 from scratch", count, found, (time.process_time() - begun) / settings.seeds))
        scratch[count] = float(np.mean(found))
        print(rows[-1], file=sys.stderr, flush=True)
    for count, error in tuned.items():
        needed = labels_for(error, scratch)
        said = f"{needed / count:.1f}" if needed else f"more than {max(scratch) / count:.1f}"
        what = f"{system.name}: labels from scratch for one of fine-tuning"
        rows.append({"what": what, "frames": count, "times fewer labels": said})
    return rows, committee


def labels_for(error: float, curve: dict[int, float]) -> float | None:
    """Labels that bring an error, by a learning curve's straight lines in logarithms; None if it never gets there."""
    counts, errors = list(curve), list(curve.values())
    if error >= errors[0]:
        return float(counts[0])
    for low, high in zip(range(len(counts)), range(1, len(counts)), strict=False):
        if errors[high] <= error < errors[low]:
            share = np.log(errors[low] / error) / np.log(errors[low] / errors[high])
            return float(counts[low] * (counts[high] / counts[low]) ** share)
    return None


def bounds_rows(setting: Setting, committee: Sequence[DeepmdModel], count: int, explored: int) -> list[Row]:
    """How well a single model's bounds and a committee's deviations rank the true errors of the same frames."""
    system = setting.system
    known, held = system.frames(count, 100), system.frames(count, 55)
    seen = system.frames(explored, 66, (0.02, 0.4))
    first, true = committee[0], system.labels(seen)

    def per_atom(model: DeepmdModel, frames: Sequence[Frame], labels: Sequence[Labels]) -> list[Floats]:
        found = model.evaluate(frames)
        return [np.linalg.norm(a.forces - b.forces, axis=1) for a, b in zip(found, labels, strict=True)]

    atoms = per_atom(first, seen, true)
    error = np.array([each.max() for each in atoms])
    rows: list[Row] = []

    def scored(name: str, score: Floats, trainings: int, covered: float | None = None) -> None:
        rows.append({
            "what": f"{system.name}: {name}", "frames": len(seen), "seeds": trainings,
            "rank correlation": round(float(spearmanr(score, error).statistic), 3),
            "labels": needed_labels(score, error), "labels at best": needed_labels(error, error),
            "labels at random": round(FOUND * len(seen), 1), "covered (of 0.9)": covered,
        })  # fmt: skip

    for features in ("descriptor", "last_layer"):
        numbers = np.concatenate([frame.numbers for frame in known])
        fitted = ErrorBounds.fitted(numbers, np.concatenate(first.embed(known, features)))
        others = np.concatenate([frame.numbers for frame in held])
        distances = fitted.distances(others, np.concatenate(first.embed(held, features)))
        fitted = fitted.calibrated(distances, np.concatenate(per_atom(first, held, system.labels(held))), 0.9)
        bound = np.array([fitted.bounds(f.numbers, x) for f, x in zip(seen, first.embed(seen, features), strict=True)])
        covered = round(float(np.mean(np.concatenate(atoms) <= bound.ravel())), 3)
        scored(f"bound, {features}", bound.max(axis=1), 1, covered)
    forces = np.array([[labels.forces for labels in model.evaluate(seen)] for model in committee])
    scored("committee", force_deviation(forces).max(axis=1), len(committee))
    return rows


def needed_labels(score: Floats, error: Floats) -> int:
    """Labels, from the largest score on, until nine tenths of the quarter with the largest errors are among them."""
    worst = set(np.argsort(-error)[: max(1, round(WORST * len(error)))].tolist())
    found = np.cumsum([index in worst for index in np.argsort(-score, kind="stable").tolist()])
    return int(np.searchsorted(found, np.ceil(FOUND * len(worst)))) + 1


def main() -> None:
    """Measure, print, write."""
    options = parser(__doc__)
    options.add_argument("--part", choices=list(PARTS), help="all without it; labels has the bounds")
    options.add_argument("--teacher-in-lammps", action="store_true", help="its speed there, too")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    options.add_argument("--tuned", type=int, nargs="+", default=[8], help="Frames of fine-tuning.")
    options.add_argument("--scratch", type=int, nargs="+", default=[16, 64], help="Frames from scratch.")
    options.add_argument("--steps", type=int, default=40, help="Of fine-tuning.")
    options.add_argument("--scratch-steps", type=int, default=500, help="Of small models, students among them.")
    options.add_argument("--unseen", type=int, default=16, help="Frames that all models are judged on.")
    options.add_argument("--explored", type=int, default=32, help="Frames that scores rank.")
    options.add_argument("--taught", type=int, default=96, help="Frames that students learn from.")
    options.add_argument("--students", nargs="+", default=list(STUDENTS), choices=list(STUDENTS))
    small = {"seeds": 2, "systems": ["alloy"], "tuned": [2], "scratch": [4], "steps": 1, "scratch_steps": 5,
             "unseen": 2, "explored": 4, "taught": 4, "students": ["se_e2_a", "dpa3"]}  # fmt: skip
    settings = parse_arguments(options, **small)
    model, rows = obtain(*named_model(NAME)), list[Row]()
    bounds = list[Row]()
    parts = PARTS if settings.part is None else (settings.part,)
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):  # DeePMD-kit leaves files where it is
        for key in settings.systems if "labels" in parts else []:
            setting = Setting(SYSTEMS[key], Path(name) / key)
            found, committee = label_rows(setting, model, settings)
            rows += found
            bounds += bounds_rows(setting, committee, max(settings.tuned), settings.explored)
            print(*bounds, sep="\n", file=sys.stderr, flush=True)
        rows += bounds
        for part, measured in {"students": student_rows, "virials": virial_rows}.items():
            if part in parts:
                rows += measured(Setting(SYSTEMS["alloy"], Path(name) / part), model, settings)
    name = "large_models" if settings.part is None else f"large_models-{settings.part}"
    publish(settings, name, "What a real pre-trained DPA-4 is worth", filled(rows))


def filled(rows: list[Row]) -> list[Row]:
    """The rows with the same columns."""
    columns = list(dict.fromkeys(key for each in rows for key in each))
    return [{key: each.get(key) for key in columns} for each in rows]


if __name__ == "__main__":
    main()
