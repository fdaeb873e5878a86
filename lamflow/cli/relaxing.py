"""`lamflow relax`: what a submit script of CALYPSO's calls."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from lamflow.driver.relax import RECORD, RelaxedFolder, Request, folder_engine, relax_folder
from lamflow.errors import EngineError


def relax(run: Path, folder: Path, engine: str | None, request: Request) -> None:
    """Relax what lies in `folder` and say what became of each structure. Raises EngineError when every one failed."""
    record = relax_folder(run, folder, folder_engine(engine), request)
    _show(record)
    print(f"{folder / RECORD} has these numbers; models of iteration {record.iteration} of {run}")
    waiting = sum(one.uncertain for one in record.structures)
    if waiting and request.queue:
        print(f"{waiting} frames that the models do not know wait to be labeled by the run's next iteration")
    failures = [f"{one.name or 'POSCAR'}: {one.failed}" for one in record.structures if one.failed]
    if failures and len(failures) == len(record.structures):
        raise EngineError("\n  ".join(["no structure was relaxed:", *failures]))


def _show(record: RelaxedFolder) -> None:
    table = Table("structure", "atoms", "steps", "enthalpy (eV/atom)", "deviation", "uncertain", "", box=None)
    for one in record.structures:
        table.add_row(
            one.name or "POSCAR", str(one.natoms), str(one.steps),
            "" if one.enthalpy is None else f"{one.enthalpy / one.natoms:.4f}",
            "" if one.deviation is None else f"{one.deviation:.3f}", str(one.uncertain),
            one.failed or ("" if one.converged else "not converged"),
        )  # fmt: skip
    Console().print(table)
