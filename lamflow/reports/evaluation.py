"""evaluation.html and evaluation.json: how good a model is on data that it has not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lamflow.data.arrays import read_arrays
from lamflow.data.evaluation import Evaluation, SystemErrors
from lamflow.data.layout import EVALUATION, JUDGEMENT, PARITY, RECORD, REPORT_PAGE, iteration_key
from lamflow.reports.figures import parity, png
from lamflow.reports.html import embedded as embedded_images
from lamflow.reports.html import page

COLUMNS = (
    "head", "system", "data", "frames", "atoms", "force RMSE (eV/Å)", "force MAE (eV/Å)", "size of forces (eV/Å)",
    "energy RMSE (meV/atom)", "as it is (meV/atom)", "virial RMSE (meV/atom)", "magnetic force RMSE (eV/μB)",
)  # fmt: skip


def system_row(system: SystemErrors) -> list[str]:
    """The cells of one system, in the order of COLUMNS."""
    errors = system.errors
    magnetic = "" if errors.magnetic_force_rmse is None else f"{errors.magnetic_force_rmse:.4f}"
    virial = "" if errors.virial_rmse is None else f"{1000 * errors.virial_rmse:.2f}"
    return [
        system.head, system.name, system.role, str(errors.frames), str(system.natoms), f"{errors.force_rmse:.4f}",
        f"{errors.force_mae:.4f}", f"{errors.force_size:.3f}", f"{1000 * errors.energy_rmse:.2f}",
        f"{1000 * system.unshifted_energy_rmse:.2f}", virial, magnetic,
    ]  # fmt: skip


def write_evaluation(run: Path, folder: Path, *, embedded: bool = True) -> Path | None:
    """Write the page of the evaluation in folder `run`, and evaluation.json, into `folder`; returns the page's path.

    The figure lies in the page evaluation.html, or beside index.html where it is not `embedded`. None, and nothing is
    written, while there is no judgement.
    """
    record = run / iteration_key(1) / RECORD
    evaluation = Evaluation.read(record) if record.is_file() else None
    if evaluation is None or evaluation.judgement is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JUDGEMENT).write_text(evaluation.judgement.model_dump_json(indent=1), encoding="utf-8")
    arrays = read_arrays(run / iteration_key(1) / EVALUATION / PARITY)
    figure = png(parity(arrays["energies"], arrays["forces"], arrays.get("magnetic", np.zeros((0, 2)))))
    if embedded:
        images, target = embedded_images({"parity": figure}), folder / "evaluation.html"
    else:
        (folder / "parity.png").write_bytes(figure)
        images, target = {"parity": "parity.png"}, folder / REPORT_PAGE
    target.write_text(
        page("evaluation.html.jinja", found=evaluation, columns=COLUMNS, images=images,
             rows=[system_row(system) for system in evaluation.judgement.systems],
             text_columns=("head", "system", "data")),
        encoding="utf-8",
    )  # fmt: skip
    return target
