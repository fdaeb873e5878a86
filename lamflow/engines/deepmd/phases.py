"""How DeePMD-kit trainings begin, iteration by iteration, and architectures that are tried side by side."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from lamflow.config.pretrained import PretrainedModel
from lamflow.config.section import Name, Section
from lamflow.units import Fraction, Positive, Steps

StartFrom = Literal["scratch", "init", "finetune", "as_is"]


class Phase(Section):
    """How models are trained from some iteration on. The last phase that fits a model and an iteration holds."""

    from_iteration: int = Field(1, ge=1, le=10_000)
    """The first iteration that this phase is for; the first that trains is 1."""
    members: list[Annotated[int, Field(ge=1, le=10_000)]] = Field(default_factory=list)
    """Numbers of the models that this phase is for, from 1; all of them if empty."""
    start_from: StartFrom = "scratch"
    """`scratch`: random weights. `init`: the weights of the same model one iteration before, or of `pretrained` in the
    first. `finetune`: `pretrained`, with its energies shifted to the new data. `as_is`: `pretrained`, not trained."""
    pretrained: PretrainedModel | None = None
    """Instead of that of `train`."""
    steps: Steps | None = None
    """Instead of those of `train`."""
    epochs: Positive | None = None
    """Instead of those of `train`."""
    start_lr: float | None = Field(None, gt=0, le=1)
    """Learning rate to begin with; that of `input` if absent."""
    loss: dict[str, Annotated[float, Field(ge=-1e9, le=1e9)]] = Field(default_factory=dict)
    """Prefactors of the loss that differ from `input`, like `start_pref_f`."""
    old_data_fraction: Fraction | None = None
    """Fraction of the batches that come from the data of earlier iterations, the rest from what the last one labeled;
    in proportion to the frames if absent."""
    shift_energies: bool = True
    """With `as_is`: fit the energy of each element to the data. Forces stay as they are."""
    freeze_descriptor: bool = False
    """The descriptor (the backbone) keeps the weights that it starts with, and fitting nets alone are trained."""

    @model_validator(mode="after")
    def _has_a_descriptor_to_keep(self) -> Self:
        if self.freeze_descriptor and self.start_from not in ("finetune", "init"):
            why = "random weights are not worth keeping" if self.start_from == "scratch" else "nothing is trained"
            raise ValueError(
                f"freeze_descriptor: with start_from: {self.start_from} {why}; it is for finetune and init"
            )
        return self


class Variant(Section):
    """One of several architectures that are tried side by side."""

    name: Name
    input: dict[str, JsonValue] = Field(default_factory=dict)
    """Sections that replace those of `train.input`."""
    steps: Steps | None = None
    """Instead of those of `train`."""
    compress: bool | None = None
    """Instead of that of `train`: of several architectures some cannot be compressed."""
