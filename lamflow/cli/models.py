"""Commands about models."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lamflow.cli.documents import print_document
from lamflow.cli.drive import interruptible
from lamflow.cli.terminal import terminal
from lamflow.data.evaluation import Evaluation, SystemErrors
from lamflow.errors import EngineError, InputError, printable


def evaluate(file: Path, model: Path | None, head: str | None, to: Path | None, as_json: bool) -> None:
    """A table of errors by system, and a page with parity plots; or the judgement as a document.

    Raises EngineError when an error is not a finite number: then nothing is known of the model.
    """
    from lamflow.api import Study
    from lamflow.driver.inspection import examine

    study = Study.load(file).as_evaluation(model, head)
    for warning in examine(study.config):
        print(f"warning: {printable(warning)}", file=sys.stderr if as_json else sys.stdout)
    folder = to or Path("runs") / f"{study.config.name}-evaluate"
    with interruptible(folder), nullcontext() if as_json else terminal(study.config) as listener:
        run = study.run(folder, listener)
    evaluation = next(record for record in run.records if isinstance(record, Evaluation) and record.judgement)
    judgement = evaluation.judgement
    assert judgement is not None  # noqa: S101  others are left out
    page = run.report()
    if as_json:
        print_document({"model": evaluation.model, "sha256": evaluation.sha256, "report": page, "judgement": judgement})
    else:
        console = Console()
        console.print(f"[bold]{escape(evaluation.model)}[/]")
        console.print(_systems(judgement.systems))
        if judgement.unjudged:
            print(f"{judgement.unjudged} frames were not judged: the model has no head for them")
        print(f"report  {page}")
    broken = [system.name for system in judgement.systems if not np.isfinite(system.errors.force_rmse)]
    if broken:
        raise EngineError(f"the predictions of {evaluation.model} are not finite for {', '.join(broken)}")


def _systems(systems: list[SystemErrors]) -> Table:
    magnetic = any(system.errors.magnetic_force_rmse is not None for system in systems)
    table = Table(
        "system", "data", "frames", "force RMSE\neV/Å", "of\neV/Å", "energy RMSE\nmeV/atom", "as it is\nmeV/atom",
        *(["magnetic force RMSE\neV/μB"] if magnetic else []),
    )  # fmt: skip
    for column in table.columns[2:]:
        column.justify = "right"
    for system in systems:
        name = f"{system.head}: {system.name}" if system.head else system.name
        errors = system.errors
        table.add_row(
            escape(printable(name)), system.role, str(errors.frames), f"{errors.force_rmse:.4f}",
            f"{errors.force_size:.3f}", f"{1000 * errors.energy_rmse:.2f}",
            f"{1000 * system.unshifted_energy_rmse:.1f}",
            *([_number(errors.magnetic_force_rmse)] if magnetic else []),
        )  # fmt: skip
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def list_models() -> None:
    """A row a name."""
    from lamflow.driver.pretrained import downloaded, list_file, model_list

    table = Table("name", "head", "where it is")
    for name, model in model_list().items():
        table.add_row(name, model.head or "", escape(printable(str(model.file or model.url or model.s3 or model.name))))
    for name, path in downloaded().items():
        table.add_row(name, "", escape(printable(str(path))))
    if table.row_count:
        Console().print(table)
    print(f"names come from {list_file()} and from `dp pretrained download NAME`")


def show(path: Path) -> None:
    """A row a head."""
    from lamflow.engines.registry import read_card

    card = read_card(path)
    if card is None:
        raise InputError("no engine that is installed here has model files")
    console = Console()
    console.print(
        f"[bold]{escape(printable(str(path)))}[/]: {card.kind}, {card.size / 1e6:.2f} MB\nsha256 {card.sha256}",
        highlight=False,
    )
    table = Table("head", "descriptor", "fitting", "cutoff\nÅ", "sees\nÅ", "parameters", "type map")
    for head in card.heads:
        table.add_row(
            escape(printable(head.name)) or "(only one)", head.descriptor, head.fitting, f"{head.cutoff:g}",
            f"{head.receptive_field:g}", f"{head.parameters:,}", printable(" ".join(head.elements)),
        )  # fmt: skip
    console.print(table)
