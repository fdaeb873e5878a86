"""Commands of machine files as lamflow starts programs: without the arguments that name a program's own files."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Arguments:
    """What a program is told of its files, which lamflow says itself.

    program  pattern of the program's name, without its folder
    options  options that are followed by so many words
    files    pattern of file names that stand alone
    """

    program: str
    options: dict[str, int]
    files: str = r"(?!)"


PROGRAMS = {
    "lammps": Arguments(
        r"lmp(_\w+)?|lammps\S*",
        {"-i": 1, "-in": 1, "-l": 1, "-log": 1, "-sc": 1, "-screen": 1, "-v": 2, "-var": 2},
    ),
    "cp2k": Arguments(r"cp2k(\.\w+)?", {"-i": 1, "-o": 1}, r"\S+\.inp"),
    "qe": Arguments(r"pw\.x", {"-i": 1, "-in": 1, "-inp": 1, "-input": 1}),
    "gaussian": Arguments(r"g(03|09|16|dv)", {}, r"input|output|\S+\.(com|gjf|log)"),
    "vasp": Arguments(r"vasp\S*", {}),
    "abacus": Arguments(r"abacus\S*", {}),
}
"""By engine of lamflow."""
NEEDS_SHELL = re.compile(r"[;&|`$<>(){}]|\bsource\b|\bulimit\b")


def command(text: Any, engine: str = "") -> list[str]:
    """A command as lamflow starts it: a list, or a shell where the text needs one, which passes arguments on.

    engine  the engine whose program it is, for the arguments that are taken away; see PROGRAMS
    """
    text = str(text).strip()
    text = re.sub(r"\s*2>&1|\s*&>>?\s*\S+|\s*[12]?>>?\s*\S+|\s*<\s*\S+|\s*\|\|.*$", "", text).strip()
    if NEEDS_SHELL.search(text):
        return ["bash", "-c", _shell(text, PROGRAMS.get(engine)), "bash"]
    words = shlex.split(text)
    if engine in PROGRAMS:
        words = without_files(words, PROGRAMS[engine])
    return ["env", *words] if words and re.fullmatch(r"\w+=\S*", words[0]) else words


def lammps_command(text: Any) -> list[str]:
    """LAMMPS's command without the arguments that lamflow gives; empty for plain `lmp`, which lamflow finds."""
    words = command(text, "lammps")
    return [] if words in (["lmp"], ["lmp_serial"], []) else words


def without_files(words: list[str], arguments: Arguments) -> list[str]:
    """The words of one command without what its program is told of files."""
    start = next((index for index, word in enumerate(words) if _is_program(word, arguments)), len(words))
    kept, skipped = words[: start + 1], 0
    for word in words[start + 1 :]:
        if skipped:
            skipped -= 1
        elif word in arguments.options:
            skipped = arguments.options[word]
        elif not re.fullmatch(arguments.files, word):
            kept.append(word)
    return kept


def _is_program(word: str, arguments: Arguments) -> bool:
    return re.fullmatch(arguments.program, word.strip("'\"").rsplit("/", 1)[-1]) is not None


def _shell(text: str, arguments: Arguments | None) -> str:
    """A shell's text that passes its own arguments to the program, or to its last command where that is unknown."""
    parts = re.split(r"(&&|\|\||[;|&\n])", text)
    for index, part in enumerate(parts):
        words = part.split()
        if arguments and any(_is_program(word, arguments) for word in words):
            parts[index] = f" {' '.join(without_files(words, arguments))} " + '"$@" '
            return "".join(parts).strip()
    return f'{text} "$@"'
