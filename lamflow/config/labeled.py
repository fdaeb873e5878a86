"""Labeled data that models are trained on and judged by: start data, held-out data, those of each head."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from lamflow.config.pretrained import RANDOM
from lamflow.config.references import InputData
from lamflow.config.section import Distinct, Name, Section
from lamflow.units import Positive

HEAD_NAME = r"^[A-Za-z0-9][-A-Za-z0-9_]{0,59}$"
HeadName = Annotated[str, StringConstraints(pattern=HEAD_NAME)]
"""Letters, digits, '-' and '_', at most 60: heads of public models are called like `Domains_Alloy`."""
LabelName = Literal["energy", "forces", "virial", "stress", "spin", "force_mag"]


class Start(Section):
    """The labeled data that the first models are trained on."""

    data: InputData = Field(default_factory=list)
    """Labeled data that exist: deepmd/npy folders, extxyz, OUTCAR, ASE databases, any format of dpdata;
    `{run: runs/first, data: train}` takes those of another run."""
    format: str | None = None
    """dpdata's or ASE's name of the format, for files whose name does not tell."""
    keys: dict[LabelName, str] = Field(default_factory=dict)
    """Names under which extended XYZ files and ASE databases have their labels, e.g. `{energy: REF_energy}`, and the
    moments of their atoms, e.g. `{spin: magmoms}`."""
    spins: Literal["read", "ignore"] = "read"
    """`ignore` leaves moments and magnetic forces of the data out, for models without spins."""
    label: Annotated[list[Name], Distinct] = Field(default_factory=list)
    """Structure sets that are labeled before the first iteration."""

    @property
    def is_empty(self) -> bool:
        """Whether no data are named at all."""
        return not (self.data or self.label)


class Heldout(Section):
    """Labeled data that are never trained on. Every model is judged on them before it may explore."""

    data: InputData = Field(default_factory=list)
    """Labeled data that exist, as in `start`."""
    format: str | None = None
    keys: dict[LabelName, str] = Field(default_factory=dict)
    spins: Literal["read", "ignore"] = "read"
    """As in `start`."""
    label: Annotated[list[Name], Distinct] = Field(default_factory=list)
    """Structure sets that are labeled for this purpose before the first iteration."""
    fraction: float = Field(0.0, ge=0, le=0.9)
    """Fraction of the start data that is held out: whole files, and single start structures, so that nothing leaks."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held out at all."""
        return not (self.data or self.label or self.fraction)


def _not_random(name: str) -> str:
    if name == RANDOM:
        raise ValueError(f"{RANDOM} means a new head; give the head a name of its own")
    return name


class LabeledHead(Section):
    """The data of one head of multi-task training."""

    name: Annotated[HeadName, AfterValidator(_not_random)]
    """Called like a head of the pre-trained model, and without `pretrained_head`, it replays that head: its
    data keep the model from forgetting what it knew."""
    start: Start = Start()
    heldout: Heldout = Heldout()
    pretrained_head: str | None = None
    """Head of the pre-trained model that this one starts from, or `RANDOM`."""
    weight: Positive = 1.0
    """How often training draws from the data of this head, relative to the others."""
