"""The commands `lamflow data …` and `lamflow quarantine …`: what they take and what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

data_app = typer.Typer(help="Labeled data in files: look, check, compare, convert, split.", no_args_is_help=True)
quarantine_app = typer.Typer(help="Frames that cleaning has taken out of the data.", no_args_is_help=True)

Files = Annotated[list[Path], typer.Argument(help="Files or folders of labeled data.", metavar="FILE…")]
Format = Annotated[Optional[str], typer.Option("--format", help="Of files whose name does not tell.")]  # noqa: UP045
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, and nothing else there.")]
To = Annotated[
    Path,
    typer.Option("--to", help="NAME.extxyz, NAME.parquet, NAME.lmdb, or a folder for deepmd/npy/mixed."),
]
RunFolder = Annotated[str, typer.Argument(help="The folder of a run of cleaning.", metavar="RUN")]


@data_app.command()
def show(files: Files, format: Format = None, as_json: Json = False) -> None:
    """Frames, elements and ranges of the labels.

    With --json: frames, unreadable, compositions, methods, elements, and least, median and largest value of each
    quantity.
    """
    from lamflow.cli import data

    data.show(files, format, as_json)


@data_app.command()
def check(files: Files, format: Format = None, as_json: Json = False) -> None:
    """What the checks of cleaning find; exit status 1 where a frame is bad.

    With --json: unreadable (reasons and counts), found (rules and counts), notes, and bad (frame and evidence).
    """
    from lamflow.cli import data

    if data.check(files, format, as_json):
        raise typer.Exit(1)


@data_app.command()
def convert(files: Files, to: To, format: Format = None) -> None:
    """Write labeled frames in another format: files keep their order, folders sort frames by their number of atoms."""
    from lamflow.cli import data

    data.convert(files, to, format)


@data_app.command()
def merge(files: Files, to: To, format: Format = None) -> None:
    """Write the frames of several files as one set; says so where they are of several methods."""
    from lamflow.cli import data

    data.merge(files, to, format)


@data_app.command()
def split(
    files: Files,
    to: Annotated[Path, typer.Option("--to", help="Folder for train and heldout.")],
    fraction: Annotated[float, typer.Option("--heldout", min=0.0, max=0.9, help="Fraction that is held out.")] = 0.1,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 1,
    format: Format = None,
) -> None:
    """Hold a part out: whole compositions, or blocks of a trajectory where there is only one."""
    from lamflow.cli import data

    data.split(files, fraction, to, seed, format)


@data_app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="FIRST")],
    second: Annotated[Path, typer.Argument(metavar="SECOND")],
    format: Format = None,
    as_json: Json = False,
) -> None:
    """Compare two sets by their structures; exit status 1 where they differ.

    With --json: frames that only one has, that both have, that cannot be used, and the largest differences of labels.
    """
    from lamflow.cli import data

    if not data.diff(first, second, format, as_json):
        raise typer.Exit(1)


@quarantine_app.command("list")
def quarantine_list(
    run: RunFolder,
    rule: Annotated[Optional[str], typer.Option("--rule", help="Only those that this rule found.")] = None,  # noqa: UP045
    as_json: Json = False,
) -> None:
    """Frames in quarantine, with what speaks against them.

    With --json: frames (id, source, file, number, head, formula, natoms, evidence, shard, index).
    """
    from lamflow.cli import quarantine

    quarantine.list_frames(run, rule, as_json)


@quarantine_app.command("release")
def quarantine_release(
    run: Annotated[Path, typer.Argument(help="The folder of a run of cleaning.", metavar="RUN")],
    ids: Annotated[list[str], typer.Argument(help="Beginnings of ids.", metavar="ID…")],
) -> None:
    """Put frames back into the data; the last round of RUN is done again."""
    from lamflow.cli import quarantine

    quarantine.release(run, ids)
