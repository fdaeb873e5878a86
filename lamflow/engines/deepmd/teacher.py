"""A DeePMD model as the truth that smaller models learn from: loaded once, evaluated in batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lamflow.config.section import expand
from lamflow.data import Frame, Labels
from lamflow.engines.deepmd.card import aliases_of, branches, chosen_head, read_definition
from lamflow.engines.deepmd.model import DeepmdModel
from lamflow.engines.deepmd.settings import DeepmdLabels
from lamflow.engines.protocol import LabelFailure
from lamflow.errors import EngineError, InputError


class DeepmdTeacher(DeepmdModel):
    """Evaluator and Labeler by a trained model."""

    def __init__(self, settings: DeepmdLabels) -> None:
        if settings.model.file is None:
            raise EngineError("label.model: the file of the teacher was not fetched")
        path = expand(settings.model.file)
        try:
            definition = read_definition(path)
            head = chosen_head(path, list(branches(definition)), settings.model.head, aliases=aliases_of(definition))
        except InputError as error:
            raise EngineError(str(error)) from error
        super().__init__(path, head=head)

    def label(self, frames: Sequence[Frame], work: Path) -> list[Labels | LabelFailure]:
        """See Labeler. It needs no files."""
        del work
        reasons = [self._unsupported(frame) for frame in frames]
        good = self.evaluate([frame for frame, reason in zip(frames, reasons, strict=True) if reason is None])
        labels = iter(good)
        return [next(labels) if reason is None else LabelFailure(reason, kind="refused") for reason in reasons]
