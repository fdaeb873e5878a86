"""The command that takes over files of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from rich.console import Console
from rich.markup import escape

from lamflow.errors import InputError, printable
from lamflow.migrate.convert import HEADS, TITLES, Source


def migrate(file: Path, machine: Path | None, source: str | None, output: Path | None) -> None:
    """Write the YAML and say what became of every key."""
    from lamflow.migrate import migrate as convert

    if source is not None and source not in TITLES:
        raise InputError(f"--from {source}: known are {', '.join(TITLES)}")
    target = output or file.with_suffix(".yaml")
    if target.exists():
        raise InputError(f"{target} exists already; give another name with --output")
    made = convert(file, target.parent, machine, cast(Source, source) if source else None)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(made.text, encoding="utf-8")
    console = Console(highlight=False, soft_wrap=True)
    for kind, title in HEADS:
        found = made.notes.of(kind)
        if found:
            console.print(f"[bold]{title}[/]")
            for note in found:
                console.print(f"  {escape(printable(str(note)))}")
    if made.missing:
        console.print("[bold]Not here, or not where the file says:[/]")
        for name in made.missing:
            console.print(f"  {escape(printable(name))}")
    more = f" and {', '.join(sorted(made.files))}" if made.files else ""
    console.print(f"{target}{more}: made from {TITLES[made.source]}'s {file.name}")
    files = " --without-files" if made.missing else ""
    console.print(f"next: lamflow check{files} {target}")
