"""The heads of multi-task training: data, and the engine that labels them."""

from __future__ import annotations

from typing import Annotated

from lamflow.config.engines import LabelerSettings
from lamflow.config.installed import ChosenByEngine
from lamflow.config.labeled import LabeledHead


class Head(LabeledHead):
    """One head of multi-task training, on the shared descriptor, for data of one level of theory."""

    label: Annotated[LabelerSettings, ChosenByEngine("label")] | None = None
    """The engine that labels this head's frames; without one it is trained on what it has and never explored."""
