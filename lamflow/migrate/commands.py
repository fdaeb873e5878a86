"""Commands of machine files as lamflow starts programs: without the arguments that name a program's own files."""

from __future__ import annotations

import re
import shlex
from typing import Any

from lamflow.engines.commands import PROGRAMS, InputArguments

NEEDS_SHELL = re.compile(r"[;&|`$<>(){}]|\bsource\b|\bulimit\b")


def command(text: Any, engine: str = "") -> list[str]:
    """A command as lamflow starts it: a list, or a shell where the text needs one, which passes arguments on.

    engine  the engine whose program it is, for the arguments that are taken away
    """
    text = str(text).strip()
    text = re.sub(r"\s*2>&1|\s*&>>?\s*\S+|\s*[12]?>>?\s*\S+|\s*<\s*\S+|\s*\|\|.*$", "", text).strip()
    if NEEDS_SHELL.search(text):
        return ["bash", "-c", _shell(text, PROGRAMS.get(engine)), "bash"]
    words = shlex.split(text)
    if engine in PROGRAMS:
        words = PROGRAMS[engine].without(words)
    return ["env", *words] if words and re.fullmatch(r"\w+=\S*", words[0]) else words


def lammps_command(text: Any) -> list[str]:
    """LAMMPS's command without the arguments that lamflow gives; empty for plain `lmp`, which lamflow finds."""
    words = command(text, "lammps")
    return [] if words in (["lmp"], ["lmp_serial"], []) else words


def _shell(text: str, arguments: InputArguments | None) -> str:
    """A shell's text that passes its own arguments to the program, or to its last command where that is unknown."""
    parts = re.split(r"(&&|\|\||[;|&\n])", text)
    for index, part in enumerate(parts):
        words = part.split()
        if arguments and any(arguments.starts(word) for word in words):
            parts[index] = f" {' '.join(arguments.without(words))} " + '"$@" '
            return "".join(parts).strip()
    return f'{text} "$@"'
