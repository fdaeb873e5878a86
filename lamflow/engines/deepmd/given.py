"""DeePMD-kit's input as people give it, and what stands for what they leave out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamflow.config.section import json_of, text_of
from lamflow.errors import InputError

SECTIONS = {"model", "learning_rate", "loss", "training", "optimizer", "validating"}

MODEL: dict[str, Any] = {
    "descriptor": {
        "type": "se_atten", "sel": 120, "rcut": 6.0, "rcut_smth": 0.5, "neuron": [25, 50, 100], "axis_neuron": 16,
        "attn_layer": 0, "tebd_input_mode": "strip",
    },
    "fitting_net": {"neuron": [240, 240, 240], "resnet_dt": True},
}  # fmt: skip
"""DPA-1 without attention: many elements, fast, and it can be compressed."""
SPIN_MODEL = {**MODEL, "descriptor": {**MODEL["descriptor"], "sel": 240}}
"""It has room for virtual atoms."""
LEARNING_RATE = {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-5}
LOSS = {
    "type": "ener", "start_pref_e": 0.02, "limit_pref_e": 1.0, "start_pref_f": 1000.0, "limit_pref_f": 10.0,
    "start_pref_v": 0.01, "limit_pref_v": 0.1,
}  # fmt: skip
STEPS = ("numb_steps", "stop_batch", "num_step", "num_steps", "numb_step")
"""DeePMD-kit's names of `train.steps`."""


def read_input(path: Path) -> dict[str, Any]:
    """An input.json. Raises InputError."""
    try:
        given = json_of(text_of(path))
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    if not isinstance(given, dict):
        raise InputError(f"{path}: not an input of DeePMD-kit: it must be a mapping of sections")
    if flat := not_a_mapping({key: value for key, value in given.items() if not key.startswith("_")}):
        raise InputError(f"{path}: not an input of DeePMD-kit: {flat} must be a mapping")
    return given


INNER = {
    "model": ("descriptor", "fitting_net"),
    "training": ("training_data", "validation_data", "data"),
    "descriptor": ("repinit", "repformer", "repflow"),
}
"""Sections within sections."""


def not_a_mapping(sections: Mapping[str, Any], where: str = "") -> str:
    """The name of the first section, at whatever depth, that is none; "" when all are."""
    for name, section in sections.items():
        here = f"{where}{name}"
        if not isinstance(section, Mapping):
            return here
        kind = "descriptor" if name.startswith("list[") else name
        inner = {key: section[key] for key in INNER.get(kind, ()) if key in section}
        parts = section.get("list", []) if kind == "descriptor" else []
        if not isinstance(parts, list):
            return f"{here}.list"
        inner |= {f"list[{number}]": part for number, part in enumerate(parts)}
        if found := not_a_mapping(inner, f"{here}."):
            return found
    return ""
