"""The commands `lamflow models …`: what they take and what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

models_app = typer.Typer(help="Model files: what can be named, and what is in them.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, and nothing else there.")]


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """Models that can be named instead of a file: public ones, those of installed packages, and yours.

    With --json: by name, what is known (url, mirrors, sha256, size, generation, licence, heads, elements, trained_on,
    mixture, inputs) and here, the file where it is on this machine.
    """
    from lamflow.cli import models

    models.list_models(as_json)


@models_app.command("get")
def models_get(
    name: Annotated[str, typer.Argument(help="A model's name.", metavar="NAME")],
    to: Annotated[
        Optional[str],  # noqa: UP045  typer reads the annotation
        typer.Option("--to", help="A folder, a mounted volume too, or s3://BUCKET/FOLDER/; the cache if not given."),
    ] = None,
    source: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--from", help="A file, or a folder with it, instead of the web; its hash is checked."),
    ] = None,
) -> None:
    """Fetch a model by its name: mirrors are tried in turn, an interrupted download goes on, the hash is checked."""
    from lamflow.cli import models

    models.get(name, to, source)


@models_app.command("heads")
def models_heads(
    model: Annotated[str, typer.Argument(help="A checkpoint (.pt) or a model's name.", metavar="MODEL")],
    heads: Annotated[
        list[str],
        typer.Option("--head", help="A head of the new file: NAME, or NEW=OLD for a copy."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new checkpoint.")],
) -> None:
    """Write a checkpoint with the heads that are named and no others: copied, renamed, left out.

    Of a model with one head, `--head NAME` gives it that name; several make a multi-task model that begins with copies.
    """
    from lamflow.cli import models

    models.rearrange_heads(model, heads, output)


@models_app.command("show")
def models_show(model: Annotated[str, typer.Argument(help="A model file or a model's name.", metavar="MODEL")]) -> None:
    """Heads, elements, descriptor, cutoff, parameters, size and hash of a model file; of a name, what is known."""
    from lamflow.cli import models

    models.show(model)
