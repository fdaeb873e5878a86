"""Codes that relax structures by themselves: write the input, run the program, read where it has come to."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from lamflow.data import Frame
from lamflow.data.frames import Ints
from lamflow.engines import process
from lamflow.engines.own_relaxation import OwnRelaxation
from lamflow.engines.periodic import PeriodicSettings
from lamflow.engines.program.labeler import ProgramLabeler, remove, write
from lamflow.engines.program.matching import belongs, record_input
from lamflow.engines.protocol import LabelFailure
from lamflow.errors import EngineError, LateError

S = TypeVar("S", bound=PeriodicSettings)


class RelaxingLabeler(ProgramLabeler[S]):
    """A ProgramLabeler whose code has optimisers. An engine gives `relaxing_files` and `read_relaxed` as well."""

    @abstractmethod
    def relaxing_files(self, settings: S, frame: Frame, how: OwnRelaxation) -> dict[str, str | Path]:
        """The input of a relaxation; see `files`."""

    @abstractmethod
    def read_relaxed(self, frame: Frame, folder: Path) -> Frame | LabelFailure:
        """The last structure that the program left in `folder`, in the order of `frame`, or why there is none.

        A program that has run out of steps leaves one too: it goes on from there.
        """

    def relax(self, frame: Frame, work: Path, how: OwnRelaxation) -> Frame | LabelFailure:
        """See RelaxesItself. A relaxation that is done is read again."""
        missing = self.settings.missing()
        if missing:
            raise EngineError(missing)
        folder = work / f"{frame.content_hash()}-relax"
        try:
            files = self.relaxing_files(self.settings, frame, how)
        except ValueError as error:
            return LabelFailure(str(error), kind="refused")
        input_hash = self._input_hash(self.settings, frame, files)
        if not belongs(folder, input_hash):
            shutil.rmtree(folder, ignore_errors=True)
            write(folder, files)
            try:
                trouble = self._run(self.settings, frame, folder)
            finally:
                remove(folder, self.temporary_files)
            if isinstance(trouble, LateError):
                log = process.tail(folder / self.output)
                return LabelFailure(str(trouble).split(";", 1)[0], log, "late")
            record_input(folder, input_hash)
        return self._relaxed(frame, folder)

    def _relaxed(self, frame: Frame, folder: Path) -> Frame | LabelFailure:
        """What `read_relaxed` says, whatever a cut-off file does to its parsers."""
        log = process.tail(folder / self.output)
        try:
            found = self.read_relaxed(frame, folder)
        except Exception as error:  # noqa: BLE001  parsers of others raise anything; it is one failed relaxation
            return LabelFailure(f"the output cannot be read: {type(error).__name__}: {error}", log, "incomplete")
        if isinstance(found, LabelFailure):
            return replace(found, log=found.log or log)
        return found if frame.pbc else replace(found, cell=frame.cell, pbc=False)


def in_order(relaxed: Frame, frame: Frame, order: Ints | None = None) -> Frame | LabelFailure:
    """`frame` with the cell and the positions of `relaxed`, whose atoms are those of `frame` in `order` (N,).

    A failure where they are others.
    """
    back = np.argsort(order) if order is not None else np.arange(frame.natoms)
    if relaxed.natoms != frame.natoms or not np.array_equal(relaxed.numbers[back], frame.numbers):
        return LabelFailure("the output is of another structure: its atoms are others", kind="invalid")
    return replace(frame, positions=relaxed.positions[back], cell=relaxed.cell if frame.pbc else frame.cell)
