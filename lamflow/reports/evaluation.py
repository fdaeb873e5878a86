"""evaluation.html and evaluation.json: how good a model is on data that it has not seen."""

from __future__ import annotations

from pathlib import Path

from lamflow.data.frames import Floats
from lamflow.data.results import Evaluation, SystemErrors
from lamflow.reports.figures import parity, png
from lamflow.reports.html import embedded, page

COLUMNS = (
    "task", "system", "data", "frames", "atoms", "force RMSE (eV/Å)", "force MAE (eV/Å)", "size of forces (eV/Å)",
    "energy RMSE (meV/atom)", "as it is (meV/atom)", "virial RMSE (meV/atom)",
)  # fmt: skip


def system_row(system: SystemErrors) -> list[str]:
    """The cells of one system, in the order of COLUMNS."""
    errors = system.errors
    virial = "" if errors.virial_rmse is None else f"{1000 * errors.virial_rmse:.2f}"
    return [
        system.task, system.name, system.role, str(errors.frames), str(system.natoms), f"{errors.force_rmse:.4f}",
        f"{errors.force_mae:.4f}", f"{errors.force_size:.3f}", f"{1000 * errors.energy_rmse:.2f}",
        f"{1000 * system.unshifted_energy_rmse:.2f}", virial,
    ]  # fmt: skip


def write_evaluation(found: Evaluation, energies: Floats, forces: Floats, folder: Path) -> Path:
    """Write evaluation.html and evaluation.json into `folder` and return the path of the first.

    energies  (F, 2)  predicted and reference energies, eV/atom
    forces    (K, 2)  predicted and reference force components, eV/Å
    """
    folder.mkdir(parents=True, exist_ok=True)
    found.save(folder / "evaluation.json")
    images = embedded({"parity": png(parity(energies, forces))})
    target = folder / "evaluation.html"
    target.write_text(
        page("evaluation.html.jinja", found=found, columns=COLUMNS, images=images,
             rows=[system_row(system) for system in found.systems], text_columns=("task", "system", "data"))
    )  # fmt: skip
    return target
