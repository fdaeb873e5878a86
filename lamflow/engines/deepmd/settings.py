"""Settings of DeePMD-kit trainings."""

from __future__ import annotations

import importlib.util
import json
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from lamflow.config.engines import TrainerSettings
from lamflow.config.section import InputFile, Section, expand

MODEL: dict[str, Any] = {
    "descriptor": {
        "type": "se_atten", "sel": 120, "rcut": 6.0, "rcut_smth": 0.5, "neuron": [25, 50, 100], "axis_neuron": 16,
        "attn_layer": 0, "tebd_input_mode": "strip",
    },
    "fitting_net": {"neuron": [240, 240, 240], "resnet_dt": True},
}  # fmt: skip
"""DPA-1 without attention: many elements, fast, and it can be compressed."""
LEARNING_RATE = {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-5}
LOSS = {
    "type": "ener", "start_pref_e": 0.02, "limit_pref_e": 1.0, "start_pref_f": 1000.0, "limit_pref_f": 10.0,
    "start_pref_v": 0.01, "limit_pref_v": 0.1,
}  # fmt: skip


class FromPrevious(Section):
    """How the models of an iteration grow out of those of the one before."""

    steps: int = Field(ge=1)
    """Training steps, usually fewer than the first time."""
    start_lr: float | None = Field(None, gt=0)
    """Learning rate to begin with; that of `input` if absent."""


class DeepmdTraining(TrainerSettings):
    """Train with DeePMD-kit's PyTorch backend (`dp --pt train`)."""

    engine: Literal["deepmd"]
    steps: int = Field(400_000, ge=1)
    """Training steps of a model that starts from nothing."""
    input: dict[str, JsonValue] = Field(default_factory=dict)
    """DeePMD-kit's own input (`model`, `learning_rate`, `loss`, `training`). lamflow adds the type map, the data, the
    seeds, the number of steps and the names of files."""
    input_file: InputFile | None = None
    """The same as a JSON file, `input.json` of DeePMD-kit or of DP-GEN; `input` wins over it section by section."""
    from_previous: FromPrevious | None = None
    """Continue the models of the iteration before (`--init-model`) instead of starting from nothing every time."""
    compress: bool = False
    """Compress the frozen model for exploration, for descriptors that allow it (`dp --pt compress`)."""
    checkpoint_every: int = Field(1000, ge=1)
    """Steps between checkpoints; a training that was killed goes on from the last one."""

    @model_validator(mode="after")
    def _no_data_in_input(self) -> Self:
        for key in ("training_data", "systems", "data_dict"):
            training = self.input.get("training")
            if isinstance(training, dict) and key in training:
                raise ValueError(f"input.training.{key}: lamflow supplies the data; remove this key")
        unknown = sorted(set(self.input) - {"model", "learning_rate", "loss", "training", "optimizer"})
        if unknown:
            raise ValueError(f"input: {', '.join(unknown)} is not a section of DeePMD-kit's input")
        return self

    def missing(self) -> str | None:
        """DeePMD-kit and torch."""
        if importlib.util.find_spec("deepmd") is None or importlib.util.find_spec("torch") is None:
            return 'DeePMD-kit is not installed here; pip install "lamflow[deepmd]"'
        return None

    def seconds(self) -> float:
        """From 0.03 s a step and 10 s to begin, as small models take on one core."""
        return 10 + 0.03 * self.steps

    def merged_input(self) -> dict[str, Any]:
        """The user's input over that of the file over the defaults, section by section."""
        merged: dict[str, Any] = {
            "model": MODEL,
            "learning_rate": LEARNING_RATE,
            "loss": LOSS,
            "training": {},
        }
        if self.input_file is not None:
            given = json.loads(expand(self.input_file).read_text())
            merged |= {key: value for key, value in given.items() if not key.startswith("_")}
        merged |= self.input
        copied: dict[str, Any] = json.loads(json.dumps(merged))
        return copied
