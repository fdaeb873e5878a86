"""Commands that start programs: the input is named by lamflow alone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lamflow.data.digests import known_hash


@dataclass(frozen=True)
class InputArguments:
    """How a program is told which input it reads.

    program  pattern of the program's name, without its folder
    options  that name a file of input or output, and are followed by its name
    files    pattern of words that are such files
    values   further options for the sake of an input that is not lamflow's, and how many words follow each
    """

    program: str
    options: frozenset[str] = frozenset()
    files: str = r"(?!)"
    values: Mapping[str, int] = field(default_factory=dict)

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
        for index in range(self._first_argument(words), len(words)):
            word = words[index]
            if word in self.options or word == "<":
                return words[index : index + 2]
            if word.startswith("<") or self._is_file(word):
                return [word]
        return []

    def without(self, words: Sequence[str]) -> list[str]:
        """The words of one command without those that name an input, and without `values`."""
        first, skipped = self._first_argument(words), 0
        kept = list(words[:first])
        for word in words[first:]:
            if skipped:
                skipped -= 1
            elif word in self.options:
                skipped = 1
            elif word in self.values:
                skipped = self.values[word]
            elif not self._is_file(word):
                kept.append(word)
        return kept

    def starts(self, word: str) -> bool:
        """The word is the program."""
        return re.fullmatch(self.program, Path(word.strip("'\"")).name) is not None

    def _first_argument(self, words: Sequence[str]) -> int:
        """Index of the word behind the program; the number of words where it is not among them."""
        return next((index + 1 for index, word in enumerate(words) if self.starts(word)), len(words))

    def _is_file(self, word: str) -> bool:
        return re.fullmatch(self.files, Path(word).name) is not None


def named_files(words: Iterable[str], path: str | None = None) -> list[str]:
    """SHA-256 of the files that words name: absolute paths, and programs that are found on PATH, or on `path`.

    What such a file calls in its turn, libraries and packages, nobody can tell.
    """
    places = [word if Path(word).is_absolute() else _program(word, path) for word in words]
    return [known_hash(Path(place)) for place in places if place is not None and Path(place).is_file()]


def _program(word: str, path: str | None) -> str | None:
    return shutil.which(word, path=path) if "/" not in word else None


PROGRAMS = {
    "abacus": InputArguments(r"abacus[-\w.]*", frozenset({"-i", "--input"}), r"INPUT|STRU|KPT"),
    "cp2k": InputArguments(r"cp2k[-\w.]*", frozenset({"-i", "--input", "-o", "--output"}), r".+\.(?:inp|restart)"),
    "gaussian": InputArguments(r"g(?:03|09|16|dv)", files=r"input|output|.+\.(?:gjf|com|log|out)"),
    "gpaw": InputArguments(r"python[\d.]*", frozenset({"-c", "-m"}), r".+\.py"),
    "lammps": InputArguments(
        r"lmp[-\w.]*|lammps[-\w.]*",
        frozenset({"-i", "-in", "-l", "-log", "-sc", "-screen"}),
        values={"-v": 2, "-var": 2},
    ),
    "qe": InputArguments(r"pw[-\w.]*\.x|pw", frozenset({"-i", "-in", "-inp", "-input"}), r".+\.(?:in|inp|pwi)"),
    "vasp": InputArguments(r"vasp[-\w.]*", files=r"INCAR|POSCAR|POTCAR|KPOINTS"),
}
"""By engine."""
