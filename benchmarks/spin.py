"""Whether a loop that learns magnetic moments ends with models that know the magnet: errors, exchange, Curie point.

    python benchmarks/spin.py [--study workflows/spin/deepspin.yaml] [--run FOLDER] [--temperatures 900 1000 1100 1200]

The loop of the study is run, or that of FOLDER is read. Its held-out magnetic forces are set against their spread. Then
a study of properties asks the last model and the spin-lattice that has labeled for the same Curie point, by Binder's
cumulants of cells of two sizes (--sizes) with the same random numbers, and for antiferromagnet and exchange constants.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from _bench import Cell, parse_arguments, parser, publish, spent_by

import lamflow
from lamflow.data.properties import PropertiesRound, PropertyResult
from lamflow.data.results import Errors, Iteration

WORKFLOWS = Path(__file__).parent.parent / "workflows" / "spin"
LATTICE = 2.86
"""Å"""


def asked(run: Path, settings: Namespace, engine: str) -> dict[str, Any]:
    """The study of properties of the last model of a run beside the spin-lattice."""
    iron = {"formula": "Fe", "lattice": "bcc", "a": LATTICE, "cubic": True}
    curie = {
        "property": "curie", "temperatures": settings.temperatures, "sizes": settings.sizes, "steps": settings.steps,
        "equilibration": settings.equilibration, "mobility": 200, "repeats": settings.repeats,
    }  # fmt: skip
    return {
        "workflow": "properties", "name": "magnets", "seed": 1, "elements": ["Fe"],
        "structures": [{"name": "iron", "crystal": iron, "spins": {"moments": {"Fe": 2.2}}}],
        "potentials": [
            {"name": "labels", "evaluate": {"engine": "spin-lattice"}},
            {"name": "model", "evaluate": {"engine": engine, "model": {"run": str(run)}}},
        ],
        "relax": {"cell": False},
        "properties": [{"property": "magnetic-order"}, {"property": "exchange", "cutoff": 3.2}, curie],
        "reference": {"potential": "labels"},
    }  # fmt: skip


def errors_of(iteration: Iteration) -> dict[str, Cell]:
    """A row of an iteration: held-out errors in the mean over its models, and the best one's."""
    errors = [model.errors for model in iteration.models if model.errors is not None]
    magnetic, spread = (_mean(errors, name) for name in ("magnetic_force_rmse", "magnetic_force_size"))
    return {
        "iteration": iteration.number, "trained on": iteration.models[0].training_frames,
        "magnetic force RMSE (eV/μB)": magnetic, "of its spread": magnetic / spread,
        "best model": min(own.magnetic_force_rmse or 0.0 for own in errors) / spread,
        "force RMSE (eV/Å)": _mean(errors, "force_rmse"),
        "energy RMSE (meV/atom)": 1000 * _mean(errors, "energy_rmse"),
        "explored beyond trained moments": sum(result.beyond for result in iteration.simulations),
        "wall (s)": iteration.seconds,
    }  # fmt: skip


def _mean(errors: Sequence[Errors], name: str) -> float:
    values = [float(getattr(own, name)) for own in errors]
    return sum(values) / len(values)


def properties_of(results: Sequence[PropertyResult]) -> list[dict[str, Cell]]:
    """A row for each number that both potentials have come to."""
    found = {
        (own.potential, own.property, value.name, value.where): value for own in results for value in own.values
    }  # fmt: skip
    rows: list[dict[str, Cell]] = []
    for (potential, kind, name, where), truth in found.items():
        told = found.get(("model", kind, name, where))
        if potential != "labels":
            continue
        rows.append({
            "property": kind, "value": f"{name} {where}".strip(), "unit": truth.unit, "labels": truth.value,
            "± of labels": truth.uncertainty, "model": told.value if told else None,
            "± of model": told.uncertainty if told else None,
            "difference": (told.value - truth.value) / abs(truth.value) if told and truth.value else None,
        })  # fmt: skip
    rows += [
        {"property": own.property, "value": f"{own.potential} failed: {own.failed}"} for own in results if own.failed
    ]
    return sorted(rows, key=lambda row: row["value"] != "T_C")


def run(study: Path, folder: Path) -> None:
    """Carry a study out in a folder."""
    subprocess.run([sys.executable, "-m", "lamflow", "run", str(study), "--dir", str(folder)], check=True)


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--study", type=Path, default=WORKFLOWS / "deepspin.yaml")
    options.add_argument("--run", type=Path, help="a loop that has ended")
    options.add_argument("--temperatures", type=float, nargs="*", default=[900.0, 1000.0, 1100.0, 1200.0])
    options.add_argument("--sizes", type=int, nargs=2, default=[2, 4], help="of the cells, in unit cells")
    options.add_argument("--iterations", type=int, help="of the loop at most, instead of those of its budget")
    for name, value in (("steps", 1500), ("equilibration", 400), ("repeats", 3)):
        options.add_argument(f"--{name}", type=int, default=value)
    small = {"study": WORKFLOWS / "tiny.yaml", "iterations": 1, "steps": 100, "equilibration": 20, "repeats": 2}
    settings = parse_arguments(options, **small)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["LAMFLOW_CACHE"] = str(folder / "cache")  # labels of earlier runs would be found
        spec = yaml.safe_load(settings.study.read_text(encoding="utf-8"))
        if settings.iterations:
            spec["budget"]["iterations"] = settings.iterations
        study, properties = folder / "study.yaml", folder / "properties.yaml"
        study.write_text(yaml.safe_dump(spec), encoding="utf-8")
        loop = settings.run.absolute() if settings.run else folder / "loop"
        with spent_by() as learning:
            if settings.run is None:
                run(study, loop)
        properties.write_text(yaml.safe_dump(asked(loop, settings, spec["train"]["engine"])), encoding="utf-8")
        with spent_by() as asking:
            run(properties, folder / "properties")
        iterations = [errors_of(record) for record in lamflow.Run.open(loop).records if record.models]
        record = lamflow.Run.open(folder / "properties").records[-1]
        assert isinstance(record, PropertiesRound)
        assert record.properties is not None
        found = properties_of(record.properties.results)
    costs: list[dict[str, Cell]] = [
        {"part": name, "wall (s)": seen.wall, "CPU (s)": seen.cpu, "load before": seen.load}
        for name, seen in (("loop", learning), ("properties", asking))
    ]
    publish(settings, "spin", "A loop of magnetic models", iterations, properties=found, costs=costs)


if __name__ == "__main__":
    main()
