"""Commands about models."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lamflow.data.results import SystemErrors


def evaluate(file: Path, model: Path | None, head: str | None, to: Path | None) -> None:
    """A table of errors by system, and a page with parity plots."""
    from lamflow.config import load
    from lamflow.config.schema import TrainingStudy
    from lamflow.driver.evaluate import evaluate as judge
    from lamflow.reports.evaluation import write_evaluation

    config = load(file, TrainingStudy)
    evaluated = judge(config, model, head)
    console = Console()
    console.print(f"[bold]{escape(evaluated.found.model)}[/]")
    console.print(_systems(evaluated.found.systems))
    folder = to or Path("runs") / f"{config.name}-evaluate"
    target = write_evaluation(evaluated.found, evaluated.energies, evaluated.forces, folder)
    print(f"report  {target}")


def _systems(systems: list[SystemErrors]) -> Table:
    table = Table(
        "system", "data", "frames", "force RMSE\neV/Å", "of\neV/Å", "energy RMSE\nmeV/atom", "as it is\nmeV/atom"
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for system in systems:
        name = f"{system.task}: {system.name}" if system.task else system.name
        errors = system.errors
        table.add_row(
            escape(name), system.role, str(errors.frames), f"{errors.force_rmse:.4f}", f"{errors.force_size:.3f}",
            f"{1000 * errors.energy_rmse:.2f}", f"{1000 * system.unshifted_energy_rmse:.1f}",
        )  # fmt: skip
    return table


def list_models() -> None:
    """A row a name."""
    from lamflow.driver.pretrained import downloaded, list_file, model_list

    table = Table("name", "head", "where it is")
    for name, model in model_list().items():
        table.add_row(name, model.head or "", escape(str(model.file or model.url or model.s3 or model.name)))
    for name, path in downloaded().items():
        table.add_row(name, "", escape(str(path)))
    if table.row_count:
        Console().print(table)
    print(f"names come from {list_file()} and from `dp pretrained download NAME`")


def show(path: Path) -> None:
    """A row a head."""
    from lamflow.driver.evaluate import card_of

    card = card_of(path)
    console = Console()
    console.print(
        f"[bold]{escape(str(path))}[/]: {card.kind}, {card.size / 1e6:.2f} MB\nsha256 {card.sha256}", highlight=False
    )
    table = Table("head", "descriptor", "fitting", "cutoff\nÅ", "sees\nÅ", "parameters", "type map")
    for head in card.heads:
        table.add_row(
            escape(head.name) or "(only one)", head.descriptor, head.fitting, f"{head.cutoff:g}",
            f"{head.receptive_field:g}", f"{head.parameters:,}", " ".join(head.elements),
        )  # fmt: skip
    console.print(table)
