"""What it brings to go on with a part of an iteration's labels: a cluster on paper, with times that were measured.

    python benchmarks/no_barrier.py                       simulates with the times in _no_barrier_times.json
    python benchmarks/no_barrier.py --record 30           computes so many labels with Quantum ESPRESSO first

Events are the ends of labels: a label takes the first free slot, in the order in which frames were chosen. An
iteration trains, explores, and labels; it goes on when `select.enough` of its labels have ended, and those that are
late keep their slots and join the data at the end of the next one. The last iteration that labels waits for all. Times
of labels are drawn from the recorded processor seconds of pw.x, divided by their median and times `--label`; trainings,
those of the quickstart, are scaled to `--train` likewise. What is not simulated, for lamflow does not do it: trainings
that begin while labels of the same iteration run. Waiting in the queue of a batch system is not simulated either.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from _bench import Cell, machine, parse_arguments, parser, publish, spent_by, versions

TIMES = Path(__file__).parent / "_no_barrier_times.json"
PSEUDO = Path("/usr/share/espresso/pseudo/Si.pbe-rrkj.UPF")
Floats = np.ndarray


def simulate(settings: argparse.Namespace, enough: float, labels: Floats, trainings: Floats, seed: int) -> list[float]:
    """Wall hours, the fraction of the slots' time that computes labels, and late labels of an iteration, of one run.

    labels, trainings  hours, to draw from
    """
    rng = np.random.default_rng(seed)
    now, computed, late = 0.0, 0.0, 0
    free = [0.0] * settings.slots
    heapq.heapify(free)
    last = np.zeros(0)
    for iteration in range(settings.iterations):
        begin = now + float(rng.choice(trainings)) + settings.explore
        hours = rng.choice(labels, settings.labels)
        ends = []
        for each in hours:
            start = max(begin, heapq.heappop(free))
            heapq.heappush(free, start + each)
            ends.append(start + each)
        computed += float(hours.sum())
        wanted = math.ceil((enough if iteration < settings.iterations - 1 else 1.0) * settings.labels - 1e-9)
        now = float(max(np.sort(ends)[wanted - 1], last.max(initial=0.0)))
        last = np.array(ends)
        late += int((last > now).sum())
    now += float(rng.choice(trainings))
    return [now, computed / (now * settings.slots), late / settings.iterations]


def record(count: int) -> None:
    """Processor seconds of labels of silicon (strained, rattled, vacancies, slabs, two sizes), into TIMES."""
    from ase.build import bulk

    from lamflow.data import Frame, Labels
    from lamflow.engines.qe import QuantumEspresso
    from lamflow.engines.registry import labeler

    if shutil.which("pw.x") is None:
        sys.exit("pw.x is missing: apt-get install quantum-espresso quantum-espresso-data")
    rng, known = np.random.default_rng(1), json.loads(TIMES.read_text(encoding="utf-8"))
    engine = labeler(
        QuantumEspresso.model_validate(
            {
                "engine": "qe",
                "pseudopotentials": {"Si": PSEUDO},
                "ecutwfc": 12,
                "kspacing": 0.9,
                "input": {"system": {"occupations": "smearing", "smearing": "mv", "degauss": 0.01}},
            }
        )
    )
    about = {
        "machine": machine(),
        "versions": versions(),
        "what": "pw.x, 7 to 16 atoms of silicon, some as slabs, 12 Ry",
    }
    seconds = []
    for number in range(count):
        atoms = bulk("Si", "diamond", a=5.43, cubic=True)
        atoms.set_cell(atoms.cell.array * (1 + rng.uniform(-0.05, 0.05)), scale_atoms=True)
        atoms.rattle(rng.uniform(0.03, 0.3), seed=number)
        if number % 4 == 0:
            del atoms[0]
        if number % 4 == 1:
            atoms *= (1, 1, 2)
        if number % 5 == 2:
            atoms.center(vacuum=4.0, axis=2)
        with tempfile.TemporaryDirectory() as folder, spent_by() as seen:
            [answer] = engine.label([Frame.from_ase(atoms)], Path(folder))
        if isinstance(answer, Labels):
            seconds.append(round(seen.cpu, 3))
            print(f"label {number + 1} of {count}: {seen.cpu:.2f} s", flush=True)
            known["labels"] = {**about, "seconds": seconds}
            TIMES.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """See the module."""
    options = parser(__doc__)
    options.add_argument("--record", type=int, default=0, help="labels to compute with Quantum ESPRESSO first")
    options.add_argument("--iterations", type=int, default=10, help="of a run")
    options.add_argument("--labels", type=int, default=40, help="of an iteration")
    options.add_argument("--slots", type=int, default=20, help="labels that are computed at the same time")
    options.add_argument("--label", type=float, default=1.0, help="median hours of a label")
    options.add_argument("--train", type=float, default=2.0, help="median hours of a training")
    options.add_argument("--explore", type=float, default=0.5, help="hours of an exploration")
    options.add_argument("--seeds", type=int, default=200, help="runs that are simulated")
    settings = parse_arguments(options, seeds=5, iterations=3)
    if settings.record:
        record(settings.record)
    known = json.loads(TIMES.read_text(encoding="utf-8"))
    labels, trainings = (np.array(known[kind]["seconds"]) for kind in ("labels", "trainings"))
    labels, trainings = settings.label * labels / np.median(labels), settings.train * trainings / np.median(trainings)
    rows: list[dict[str, Cell]] = []
    barrier = None
    for enough in (1.0, 0.95, 0.9, 0.8, 0.7):
        runs = np.array([simulate(settings, enough, labels, trainings, seed) for seed in range(settings.seeds)])
        barrier = runs[:, 0] if barrier is None else barrier
        low, high = np.percentile(runs[:, 0] / barrier, [2.5, 97.5])
        rows.append(
            {
                "enough": enough, "wall (h)": float(np.median(runs[:, 0])),
                "beside the barrier": float(np.median(runs[:, 0] / barrier)), "from": float(low), "to": float(high),
                "slots that label": float(np.median(runs[:, 1])), "late a round": float(runs[:, 2].mean()),
            }
        )  # fmt: skip
    spread = {
        "labels": len(labels), "longest label / median": float(labels.max() / np.median(labels)),
        "trainings": len(trainings), "longest training / median": float(trainings.max() / np.median(trainings)),
    }  # fmt: skip
    publish(settings, "no_barrier", "Going on with a part of the labels", rows, recorded=[spread])


if __name__ == "__main__":
    main()
