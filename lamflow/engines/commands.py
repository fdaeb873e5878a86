"""Commands that start programs: the input is named by lamflow alone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lamflow.data.digests import known_hash


@dataclass(frozen=True)
class InputArguments:
    """How a program is told which input it reads.

    program  pattern of the program's name, without its folder
    options  that name a file of input or output
    files    pattern of words that are such files
    """

    program: str
    options: frozenset[str] = frozenset()
    files: str | None = None

    def check(self, command: Sequence[str]) -> None:
        """Raise ValueError when `command` tells the program which input to read: it would get two."""
        rest = self.stated(command)
        if rest:
            raise ValueError(
                f"command: {' '.join(rest)!r}: lamflow writes the input and tells the program its name; leave "
                f"{'these words' if len(rest) > 1 else 'this word'} out"
            )

    def stated(self, command: Sequence[str]) -> list[str]:
        """The words behind the program's name that name an input, an option with its file; empty if there are none."""
        words = [word.strip("'\"") for part in command for word in part.split()]
        start = next((n for n, word in enumerate(words) if re.fullmatch(self.program, Path(word).name)), None)
        for number, word in enumerate(words if start is not None else []):
            if number <= (start or 0):
                continue
            if word in self.options or word == "<":
                return words[number : number + 2]
            if word.startswith("<") or (self.files is not None and re.fullmatch(self.files, Path(word).name)):
                return [word]
        return []


def named_files(words: Iterable[str], path: str | None = None) -> list[str]:
    """SHA-256 of the files that words name: absolute paths, and programs that are found on PATH, or on `path`.

    What such a file calls in its turn, libraries and packages, nobody can tell.
    """
    places = [word if Path(word).is_absolute() else _program(word, path) for word in words]
    return [known_hash(Path(place)) for place in places if place is not None and Path(place).is_file()]


def _program(word: str, path: str | None) -> str | None:
    return shutil.which(word, path=path) if "/" not in word else None


PW = InputArguments(r"pw[-\w.]*\.x|pw", frozenset({"-i", "-in", "-inp", "-input"}), r".+\.(?:in|inp|pwi)")
CP2K = InputArguments(r"cp2k[-\w.]*", frozenset({"-i", "--input", "-o", "--output"}), r".+\.(?:inp|restart)")
ABACUS = InputArguments(r"abacus[-\w.]*", frozenset({"-i", "--input"}), r"INPUT|STRU|KPT")
VASP = InputArguments(r"vasp[-\w.]*", files=r"INCAR|POSCAR|POTCAR|KPOINTS")
GAUSSIAN = InputArguments(r"g(?:03|09|16|dv)", files=r".+\.(?:gjf|com|log|out)")
GPAW = InputArguments(r"python[\d.]*", frozenset({"-c", "-m"}), r".+\.py")
LAMMPS = InputArguments(r"lmp[-\w.]*|lammps", frozenset({"-i", "-in", "-l", "-log", "-sc", "-screen"}))
