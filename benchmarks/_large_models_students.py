"""Students of a fine-tuned large model: their errors against it and against the truth, their speed beside its own."""

from __future__ import annotations

import argparse
import contextlib
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _bench import Cell, Clock
from _large_models_work import ATTENTION, Setting, fine_tuned, rmse, small_model

from lamflow.data import Frame
from lamflow.engines.batched import BatchedExploration, BatchedExplorer
from lamflow.engines.deepmd.model import DeepmdModel
from lamflow.engines.lammps.explorer import LammpsExplorer
from lamflow.engines.lammps.settings import LammpsExploration
from lamflow.engines.protocol import Simulation
from lamflow.policy.structures import enlarged
from lamflow.science.metrics import errors

PAIRED = {
    "type": "se_e2_a", "sel": [40, 40], "rcut": 4.8, "rcut_smth": 0.5, "neuron": [8, 16], "axis_neuron": 4,
    "precision": "float32",
}  # fmt: skip
GATED = {**ATTENTION, "type": "se_atten_v2"}
del GATED["tebd_input_mode"]  # it has none but strip
MESSAGES = {
    "type": "dpa3", "precision": "float32",
    "repflow": {
        "n_dim": 16, "e_dim": 8, "a_dim": 8, "nlayers": 2, "e_rcut": 4.8, "e_rcut_smth": 4.0, "e_sel": 70,
        "a_rcut": 3.5, "a_rcut_smth": 3.0, "a_sel": 24, "axis_neuron": 4,
    },
}  # fmt: skip
STUDENTS: dict[str, tuple[dict[str, Any], bool]] = {
    "se_e2_a": (PAIRED, True), "se_atten": (ATTENTION, True), "se_atten_v2": (GATED, True), "dpa3": (MESSAGES, False),
}  # fmt: skip
"""Descriptor of each, and whether it can be compressed."""
VIRIALS: dict[str, dict[str, float]] = {
    "without virials": {"start_pref_v": 0.0, "limit_pref_v": 0.0},
    "with virials": {"start_pref_v": 0.01, "limit_pref_v": 0.1},
    "with virials, 30 times": {"start_pref_v": 0.3, "limit_pref_v": 3.0},
}
"""Weights in the loss; the second are lamflow's own."""
FORCES = {"start_pref_e": 0.02, "limit_pref_e": 1.0, "start_pref_f": 1000.0, "limit_pref_f": 10.0}
ATOMS, CELLS = 32, 8
Row = dict[str, Cell]


def student_rows(setting: Setting, model: Path, settings: argparse.Namespace) -> list[Row]:
    """The teacher, what its labels cost, and its students."""
    system, count = setting.system, settings.taught
    teacher = fine_tuned(setting, model, max(settings.tuned), settings.steps, 0, for_lammps=settings.teacher_in_lammps)
    frames, unseen = system.frames(count, 7), system.frames(settings.unseen, 8)
    begun = time.process_time()
    labels = teacher.evaluate(frames)
    spent = time.process_time() - begun
    said, true = teacher.evaluate(unseen), system.labels(unseen)
    engines = ["batched", "lammps"] if settings.teacher_in_lammps else ["batched"]
    own = {engine: speed(setting, teacher, engine, 2, 3 if not settings.small else 1) for engine in engines}
    rows: list[Row] = [{
        "what": f"{system.name}: teacher, labels of {count} frames", "frames": max(settings.tuned), "seeds": 1,
        "force RMSE (eV/Å)": round(rmse(teacher, unseen, true), 4), "seconds": round(spent, 1),
        "batched, atom-steps/s": round(own["batched"]),
        "LAMMPS, atom-steps/s": round(own["lammps"]) if "lammps" in own else None, "times faster": 1.0,
    }]  # fmt: skip
    for name in settings.students:
        descriptor, compressed = STUDENTS[name]
        begun = time.process_time()
        student = small_model(
            setting, f"student-{name}", (frames, labels), settings.scratch_steps, 1, descriptor, compress=compressed
        )
        spent = time.process_time() - begun
        steps = 4 if settings.small else 100
        speeds = {engine: speed(setting, student, engine, CELLS, steps) for engine in ("batched", "lammps")}
        rows.append({
            "what": f"{system.name}: student {name}{', compressed' if compressed else ''}", "frames": count, "seeds": 1,
            "force RMSE (eV/Å)": round(rmse(student, unseen, true), 4), "seconds": round(spent, 1),
            "against the teacher (eV/Å)": round(rmse(student, unseen, said), 4),
            "batched, atom-steps/s": round(speeds["batched"]), "LAMMPS, atom-steps/s": round(speeds["lammps"]),
            "times faster": round(max(speeds.values()) / max(own.values()), 1),
        })  # fmt: skip
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def virial_rows(setting: Setting, model: Path, settings: argparse.Namespace) -> list[Row]:
    """Students that learn a teacher's virials too, and such that do not, after the same steps."""
    system, rows = setting.system, list[Row]()
    teacher = fine_tuned(setting, model, max(settings.tuned), settings.steps, 0)
    frames, unseen = system.frames(settings.taught, 7), system.frames(settings.unseen, 8)
    labels, said, true = teacher.evaluate(frames), teacher.evaluate(unseen), system.labels(unseen)
    for kind, weights in VIRIALS.items():
        begun, found = time.process_time(), list[list[float]]()
        for seed in range(settings.seeds):
            student = small_model(
                setting, f"{kind}-{seed}", (frames, labels), settings.scratch_steps, seed, ATTENTION,
                loss=FORCES | weights,
            )  # fmt: skip
            against = [errors(student.evaluate(unseen), each) for each in (said, true)]
            found.append([value for each in against for value in (each.force_rmse, each.virial_rmse or np.nan)])
        spent, mean, spread = time.process_time() - begun, np.mean(found, axis=0), np.std(found, axis=0)
        rows.append({
            "what": f"{system.name}: student {kind}", "frames": settings.taught, "seeds": settings.seeds,
            "seconds": round(spent / settings.seeds, 1), "force RMSE (eV/Å)": round(float(mean[2]), 4),
            "spread": round(float(spread[2]), 4), "against the teacher (eV/Å)": round(float(mean[0]), 4),
            "virial RMSE (eV/atom)": round(float(mean[3]), 4), "spread of virials": round(float(spread[3]), 4),
            "virials against the teacher": round(float(mean[1]), 4),
        })  # fmt: skip
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def speed(setting: Setting, model: DeepmdModel, engine: str, count: int, steps: int) -> float:
    """Atom-steps a second of one thread, by what more steps cost: loading and compiling are left out.

    count   cells of 32 atoms that are explored together
    """
    [small] = setting.system.frames(1, 3, (0.02, 0.02))
    starts = [enlarged(small, ATOMS)] * count
    seconds = []
    for length in (steps, steps, 2 * steps, 3 * steps):
        with _spent() as clock:
            _explore(setting, model, engine, starts, length)
        seconds.append(clock.seconds)
    slope = float(np.polyfit([1, 2, 3], seconds[1:], 1)[0]) / steps
    return count * starts[0].natoms / slope


def _explore(setting: Setting, model: DeepmdModel, engine: str, starts: list[Frame], steps: int) -> None:
    common = {"engine": engine, "structures": ["x"], "temperatures": [300.0], "steps": steps, "every": steps,
              "timestep": 0.002, "ensemble": "nvt"}  # fmt: skip
    explorer = (
        BatchedExplorer(BatchedExploration.model_validate(common))
        if engine == "batched"
        else LammpsExplorer(LammpsExploration.model_validate(common))
    )
    work = setting.folder / f"{engine}-{time.monotonic_ns()}"
    tasks = [Simulation(start, {"temperature": 300.0}, n, work / str(n)) for n, start in enumerate(starts)]
    for run in explorer.explore_all(tasks, [model]):
        if run.failure:
            raise SystemExit(f"{engine}: {run.failure}")


@contextlib.contextmanager
def _spent() -> Iterator[Clock]:
    """Processor seconds of this process and of the children that it waits for."""

    def now() -> float:
        used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(each.ru_utime + each.ru_stime for each in used)

    clock, begun = Clock(), now()
    yield clock
    clock.seconds = now() - begun
