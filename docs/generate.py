"""Write the generated pages of the site: keys of the YAML file, commands, and the figure of the layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer.main

from docs import layers
from lamflow.cli.app import app
from lamflow.cli.manual import keys

FOLDER = Path(__file__).parent
HEAD = """\
# Commands

Made from the program itself; `lamflow COMMAND --help` prints the same. A command that cannot do what it should says
why in one message and ends with exit status 2.
"""


def commands() -> str:
    """A chapter for each command as Markdown, a row for each argument and option."""
    return "\n".join([HEAD, *_chapters(typer.main.get_command(app), ["lamflow"])])


def _chapters(command: Any, words: list[str]) -> list[str]:
    if hasattr(command, "commands"):
        return [text for name, inner in command.commands.items() for text in _chapters(inner, [*words, name])]
    usage = " ".join(
        [*words, *(item.metavar or (item.name or "").upper() for item in command.params if _is_argument(item))]
    )
    rows = [_row(item) for item in command.params]
    table = ["| argument or option | meaning |", "| --- | --- |", *rows, ""] if rows else []
    return [f"## {' '.join(words)}\n", f"{command.help}\n", f"```sh\n{usage}\n```\n", *table]


def _is_argument(item: Any) -> bool:
    return bool(item.param_type_name == "argument")


def _row(item: Any) -> str:
    names = [item.metavar or (item.name or "").upper()] if _is_argument(item) else [*item.opts, *item.secondary_opts]
    name = ", ".join(f"`{name}`" for name in names)
    said = (getattr(item, "help", None) or "").replace("|", "\\|")
    default = (
        item.default if isinstance(item.default, str | int | float) and not isinstance(item.default, bool) else None
    )
    return f"| {name} | {said}{f' Default: `{default}`.' if default is not None else ''} |"


def pages() -> dict[str, str]:
    """The text of each generated file, by its name in docs/."""
    return {"keys.md": keys(), "cli.md": commands(), "layers.svg": layers.figure()}


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
