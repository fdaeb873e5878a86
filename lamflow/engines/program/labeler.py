"""Codes that label one frame at a time: write the input, run the program, read the output, and try remedies."""

from __future__ import annotations

import re
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import JsonValue

from lamflow.data import Attempt, FailureKind, Frame, Labels
from lamflow.engines import process
from lamflow.engines.program.matching import belongs, hash_of_input, record_input, row_of_atoms
from lamflow.engines.program.settings import ProgramSettings, merged
from lamflow.engines.protocol import LabelFailure
from lamflow.errors import EngineError, KilledError, LateError

S = TypeVar("S", bound=ProgramSettings)
BANNER = 20_000
"""Characters at the beginning of an output in which codes say their version."""


class ProgramLabeler(ABC, Generic[S]):
    """Labeler by a program that treats one frame at a time. An engine gives `files` and `read`.

    output             file that the program's output and errors go into
    results            further files and folders that `read` looks at, removed before the program runs again
    temporary_files    files and folders that are removed when it has run, as patterns
    require_exit_zero  an exit status other than 0 is a failure, whatever the program has written
    version_pattern    what the code says of its version in one of these files, as a regular expression with one group
    """

    output: ClassVar[str]
    results: tuple[str, ...] = ()
    temporary_files: ClassVar[tuple[str, ...]] = ()
    require_exit_zero: ClassVar[bool] = False
    version_pattern: ClassVar[str] = ""

    def __init__(self, settings: S) -> None:
        self.settings = settings
        self._input_hashes: dict[tuple[tuple[str, ...], bool], str] = {}

    @abstractmethod
    def files(self, settings: S, frame: Frame) -> dict[str, str | Path]:
        """The input for `frame`: by name the text of a file, or a file to be linked.

        Raises ValueError when the code, as it is set up, cannot treat such a frame.
        """

    @abstractmethod
    def read(self, settings: S, frame: Frame, folder: Path) -> Labels | LabelFailure:
        """The labels that the program left in `folder`, or why there are none. No exit status is asked."""

    def command(self, settings: S) -> list[str]:
        """How the program is started in its folder."""
        return settings.command

    def environment(self, settings: S, frame: Frame) -> dict[str, str]:
        """Variables that the program needs."""
        del settings, frame
        return {}

    def label(self, frames: Sequence[Frame], work: Path) -> list[Labels | LabelFailure]:
        """See Labeler. Each try of each frame has a folder of its own below `work`; one that is done is read again."""
        missing = self.settings.missing()
        if missing:
            raise EngineError(missing)
        return [self._label(frame, work / frame.content_hash()) for frame in frames]

    def unsupported_reason(self, frame: Frame) -> str | None:
        """See ChecksFrames."""
        try:
            self.files(self.settings, frame)
        except ValueError as error:
            return str(error)
        return None

    def version(self, work: Path) -> str | None:
        """See SaysVersion."""
        if not self.version_pattern:
            return None
        for name in (self.output, *self.results):
            paths = sorted(work.glob(f"*/[0-9]*/{name}"))
            for file in [*paths, *(inner for path in paths for inner in sorted(path.glob("*.log")))]:
                match = re.search(self.version_pattern, _beginning(file))
                if match:
                    return match.group(1)
        return None

    def input_hash(self, frame: Frame) -> str:
        """See HashesInput: what the program is told of one atom of each element in a row."""
        symbols = tuple(sorted(set(frame.symbols)))
        known = self._input_hashes.get((symbols, frame.pbc))
        if known is None:
            row = row_of_atoms(symbols, frame.pbc)
            try:
                known = self._input_hash(self.settings, row, self.files(self.settings, row))
            except ValueError:  # a structure of this size will not do
                return self._input_hash(self.settings, frame, self.files(self.settings, frame))
            self._input_hashes[symbols, frame.pbc] = known
        return known

    def _label(self, frame: Frame, work: Path) -> Labels | LabelFailure:
        attempts: list[Attempt] = []
        taken: dict[FailureKind, int] = {}
        changes: dict[str, JsonValue] = {}
        while True:
            started = time.monotonic()
            answer = self._try(self.settings.remedied(changes), frame, work / str(len(attempts)))
            seconds = time.monotonic() - started
            if isinstance(answer, Labels):
                return replace(answer, attempts=(*attempts, Attempt(changes, seconds)))
            attempts.append(Attempt(changes, seconds, answer.kind, answer.reason))
            ladder, step = self.settings.remedies.get(answer.kind, []), taken.get(answer.kind, 0)
            if step >= len(ladder):
                return replace(answer, attempts=tuple(attempts))
            taken[answer.kind] = step + 1
            changes = merged(changes, ladder[step])

    def _try(self, settings: S, frame: Frame, folder: Path) -> Labels | LabelFailure:
        """One try. Raises NodeError when the machine is at fault."""
        try:
            files = self.files(settings, frame)
        except ValueError as error:
            return LabelFailure(str(error), kind="refused")
        input_hash = self._input_hash(settings, frame, files)
        if belongs(folder, input_hash):
            finished = self._read(settings, frame, folder)
            if _is_final(finished):
                return finished
        shutil.rmtree(folder, ignore_errors=True)
        write(folder, files)
        try:
            trouble = self._run(settings, frame, folder)
        finally:
            remove(folder, self.temporary_files)
        result = self._read(settings, frame, folder)
        if trouble is not None and self.require_exit_zero and isinstance(result, Labels):
            result = LabelFailure("labels are there, but it failed", process.tail(folder / self.output))
        if _is_final(result):
            record_input(folder, input_hash)
        if isinstance(result, Labels) or trouble is None or result.kind == "unconverged":
            return result
        if isinstance(trouble, LateError):
            return LabelFailure(str(trouble).split(";", 1)[0], result.log, "late")
        return LabelFailure(f"{result.reason}; {str(trouble).partition('; the end of')[0]}", result.log, result.kind)

    def _input_hash(self, settings: S, frame: Frame, files: Mapping[str, str | Path]) -> str:
        """Hash of everything that the program is told."""
        told: list[Any] = [self.environment(settings, frame), settings.implementation_hash()]
        if "command" not in settings.nonphysical_keys:
            told.append(self.command(settings))
        return hash_of_input(files, told)

    def _run(self, settings: S, frame: Frame, folder: Path) -> EngineError | KilledError | None:
        """Run the program, and return what went wrong. One that is killed gets a second chance, for memory that others
        took may be free again, and is a failed label then. Raises NodeError when the machine is at fault otherwise."""
        command, environment = self.command(settings), self.environment(settings, frame)
        killed: KilledError | None = None
        for _ in range(2):
            remove(folder, (self.output, *self.results))
            try:
                process.run(
                    command, cwd=folder, log=folder / self.output, timeout=settings.label_timeout,
                    environment=environment,
                )  # fmt: skip
            except KilledError as error:
                killed = error
            except EngineError as error:
                return error
            else:
                return None
        return killed

    def _read(self, settings: S, frame: Frame, folder: Path) -> Labels | LabelFailure:
        """What `read` says, whatever a cut-off file does to its parsers, and the gate that all labels pass."""
        log = process.tail(folder / self.output)
        try:
            answer = self.read(settings, frame, folder)
        except Exception as error:  # noqa: BLE001  parsers of others raise anything; it is one failed label
            reason = f"the output cannot be read: {type(error).__name__}: {error}"
            return LabelFailure(reason, log, "incomplete")
        if isinstance(answer, LabelFailure):
            return replace(answer, log=answer.log or log)
        problem = answer.problem(frame)
        if problem:
            return LabelFailure(problem, log, "invalid")
        if frame.pbc and settings.gives_virial and answer.virial is None:
            return LabelFailure("the output has no stress", log, "incomplete")
        return answer if frame.pbc else replace(answer, virial=None)


def _beginning(file: Path) -> str:
    """The text in which a code says its version; empty for what is no file."""
    if not file.is_file():
        return ""
    with file.open(encoding="utf-8", errors="replace") as stream:
        return stream.read(BANNER)


def remove(folder: Path, patterns: Sequence[str]) -> None:
    """Remove files and folders, given as patterns, from a folder."""
    for path in [path for pattern in patterns for path in folder.glob(pattern)]:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def write(folder: Path, files: Mapping[str, str | Path]) -> None:
    """Write or link the input files into a folder."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        if isinstance(content, Path):
            (folder / name).symlink_to(content.absolute())
        else:
            (folder / name).write_text(content, encoding="utf-8")


def _is_final(answer: Labels | LabelFailure) -> bool:
    """Asking again would bring the same answer."""
    return isinstance(answer, Labels) or answer.kind == "unconverged"
